// What any client of the browsers' API must be able to do with wsd, whoever wrote it.
//
// One function that needs nothing from outside itself, as it also runs within a page.

/** Goes through all of it over `url`, a node whose messages may have 2 MiB; throws at the first thing that is wrong. */
export async function converse(WebSocket, url, name) {
  const within = (what, promise) =>
    Promise.race([
      promise,
      new Promise((_, reject) => setTimeout(() => reject(new Error(`${what}: nothing came`)), 20_000)),
    ]);
  const check = (what, got, wanted) => {
    if (got !== wanted) throw new Error(`${what}: got ${String(got).slice(0, 200)}, not ${String(wanted).slice(0, 200)}`);
  };

  class Client {
    static async open(path, protocols) {
      const client = new Client();
      client.socket = new WebSocket(url + path, protocols ?? []);
      client.socket.binaryType = "arraybuffer";
      client.received = [];
      client.waiting = [];
      client.socket.addEventListener("message", ({ data }) => {
        const next = client.waiting.shift();
        if (next) next(data);
        else client.received.push(data);
      });
      client.closed = new Promise((resolve) => client.socket.addEventListener("close", resolve));
      await within(
        "open",
        new Promise((resolve, reject) => {
          client.socket.addEventListener("open", resolve);
          client.socket.addEventListener("error", () => reject(new Error(`${path}: not opened`)));
        }),
      );
      return client;
    }

    next() {
      if (this.received.length > 0) return this.received.shift();
      return within("a message", new Promise((resolve) => this.waiting.push(resolve)));
    }

    async close(code, reason) {
      this.socket.close(code, reason);
      return within("the close", this.closed);
    }
  }

  // Subprotocols and compression are agreed.
  const a = await Client.open(`/t/plain/${name}`, ["chat.v2", "chat.v1"]);
  const b = await Client.open(`/t/plain/${name}`);
  check("subprotocol", a.socket.protocol, "chat.v2");
  check("no subprotocol", b.socket.protocol, "");
  check("compression", a.socket.extensions.split(";")[0], "permessage-deflate");

  // Text, binary, nothing, and what gets shorter when it is compressed.
  const texts = ["grüße", "", "\u{1f600}", "compressible ".repeat(1000), JSON.stringify({ a: [1, 2, "three"] })];
  for (const text of texts) {
    a.socket.send(text);
    for (const client of [a, b]) check("text", await client.next(), text);
  }
  const bytes = (data) => Array.from(new Uint8Array(data)).join();
  for (const length of [0, 3, 1000, 70_000]) {
    const data = new Uint8Array(length).map((_, i) => (i * i * 31) >> 3);
    b.socket.send(data);
    for (const client of [a, b]) check("binary", bytes(await client.next()), bytes(data));
  }

  // A megabyte of each kind: with order in it and without.
  const long = "0123456789abcdef".repeat(65_536);
  a.socket.send(long);
  for (const client of [a, b]) check("1 MiB of text", await client.next(), long);
  let state = 1;
  const noise = new Uint8Array(1 << 20).map(() => (state = (state * 1_103_515_245 + 12_345) & 0x7fffffff) >> 16);
  a.socket.send(noise);
  for (const client of [a, b]) {
    const got = new Uint8Array(await client.next());
    check("1 MiB of noise", got.length === noise.length && got.every((byte, i) => byte === noise[i]), true);
  }

  // Many in a row keep their order, whichever of them are compressed.
  const records = Array.from({ length: 300 }, (_, i) => JSON.stringify({ i, text: "again and ".repeat(i % 50) }));
  for (const record of records) a.socket.send(record);
  for (const record of records) for (const client of [a, b]) check("record", await client.next(), record);

  // Closes in both directions.
  for (const [code, reason] of [
    [1000, ""],
    [3000, "bye"],
    [4999, "grüße"],
  ]) {
    const client = await Client.open(`/t/plain/${name}-close`);
    const event = await client.close(code, reason);
    check("close code", event.code, code);
    check("clean", event.wasClean, true);
  }
  const big = await Client.open(`/t/plain/${name}-big`);
  big.socket.send("x".repeat((2 << 20) + 1));
  check("too big", (await within("1009", big.closed)).code, 1009);

  // A hundred at once, of whom each hears everybody in the same order.
  const crowd = await Promise.all(Array.from({ length: 100 }, () => Client.open(`/t/plain/${name}-crowd`)));
  crowd.forEach((client, i) => client.socket.send(`${i} ${"crowd ".repeat(60)}`));
  const heard = await Promise.all(
    crowd.map(async (client) => {
      const all = [];
      while (all.length < crowd.length) all.push(parseInt(await client.next()));
      return all.join();
    }),
  );
  check("all of them", heard[0].split(",").sort((x, y) => x - y).join(), crowd.map((_, i) => i).join());
  for (const other of heard) check("the same order", other, heard[0]);
  await Promise.all([a, b, ...crowd].map((client) => client.close(1000)));
}
