// wsd with `ws`, the WebSocket library of Node, as client.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import WebSocket from "ws";

import { DEADLINE, Node, ROUTES } from "./node.mjs";

let node;
before(async () => (node = await Node.start(ROUTES)));
after(async () => node.stop());

/** A client that keeps what comes until somebody asks for it. */
class Client {
  static async open(path, ...options) {
    const client = new Client();
    client.socket = new WebSocket(node.url + path, ...options);
    client.received = [];
    client.waiting = [];
    client.socket.on("message", (data, binary) => {
      const message = binary ? data : data.toString();
      const next = client.waiting.shift();
      if (next) next(message);
      else client.received.push(message);
    });
    await once(client.socket, "open", { signal: AbortSignal.timeout(DEADLINE) });
    return client;
  }

  async next() {
    if (this.received.length > 0) return this.received.shift();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no message")), DEADLINE);
      this.waiting.push((message) => (clearTimeout(timer), resolve(message)));
    });
  }

  async close(code, reason) {
    const closed = once(this.socket, "close");
    this.socket.close(code, reason);
    const [got] = await closed;
    return got;
  }
}

test("ws: two clients talk", async () => {
  const a = await Client.open("/t/plain/a");
  const b = await Client.open("/t/plain/a");
  a.socket.send("grüße");
  assert.equal(await a.next(), "grüße");
  assert.equal(await b.next(), "grüße");
  b.socket.send(Buffer.from([0, 255, 1]));
  assert.deepEqual(await a.next(), Buffer.from([0, 255, 1]));
  assert.equal(await a.close(1000, "done"), 1000);
  assert.equal(await b.close(4321), 4321);
});

test("ws: a thousand messages stay in order", async () => {
  const sender = await Client.open("/t/quiet/b");
  const listener = await Client.open("/t/plain/b");
  for (let i = 0; i < 1000; i++) sender.socket.send(String(i));
  for (let i = 0; i < 1000; i++) assert.equal(await listener.next(), String(i));
  await sender.close(1000);
  await listener.close(1000);
});

test("ws: a message of 64 KiB and one in fragments", async () => {
  const client = await Client.open("/t/plain/c");
  const large = "x".repeat(64 * 1024);
  client.socket.send(large);
  assert.equal(await client.next(), large);
  client.socket.send("one ", { fin: false });
  client.socket.send("two ", { fin: false });
  client.socket.send("three", { fin: true });
  assert.equal(await client.next(), "one two three");
  await client.close(1000);
});

test("ws: a message over the limit is closed with 1009", async () => {
  const client = await Client.open("/t/plain/d");
  const closed = once(client.socket, "close");
  client.socket.send("x".repeat(64 * 1024 + 1));
  const [code] = await closed;
  assert.equal(code, 1009);
});

test("ws: a ping is answered with its payload", async () => {
  const client = await Client.open("/t/plain/e");
  const pong = once(client.socket, "pong");
  client.socket.ping("there?");
  const [data] = await pong;
  assert.equal(data.toString(), "there?");
  await client.close(1000);
});

test("ws: a path without a route is answered 404", async () => {
  const socket = new WebSocket(`${node.url}/t/nothing/at/all`);
  const [request, response] = await once(socket, "unexpected-response");
  assert.equal(response.statusCode, 404);
  request.destroy();
});

test("ws: the first offered subprotocol is agreed", async () => {
  const client = await Client.open("/t/plain/f", ["chat.v2", "chat.v1"]);
  assert.equal(client.socket.protocol, "chat.v2");
  await client.close(1000);
});

test("ws: windows of every size are agreed, and messages come through", async () => {
  const text = "compressible ".repeat(1000);
  for (const options of [
    true,
    { serverMaxWindowBits: 9 },
    { serverMaxWindowBits: 15, clientMaxWindowBits: 10 },
    { serverNoContextTakeover: true, clientNoContextTakeover: true },
  ]) {
    const client = await Client.open("/t/plain/g", { perMessageDeflate: options });
    assert.match(client.socket.extensions, /^permessage-deflate/);
    for (let i = 0; i < 3; i++) {
      client.socket.send(text, { compress: true });
      assert.equal(await client.next(), text);
    }
    // In fragments, the first of which says that all are compressed.
    client.socket.send(text.slice(0, 100), { compress: true, fin: false });
    client.socket.send(text.slice(100), { compress: true, fin: true });
    assert.equal(await client.next(), text);
    await client.close(1000);
  }
});

test("ws: a client that is cut off is forgotten", async () => {
  const before = (await node.status()).connections;
  const client = await Client.open("/t/plain/h");
  const stays = await Client.open("/t/plain/h");
  client.socket.terminate();
  stays.socket.send("on");
  assert.equal(await stays.next(), "on");
  await stays.close(1000);
  const end = Date.now() + DEADLINE;
  while ((await node.status()).connections !== before) assert.ok(Date.now() < end, "not forgotten");
});
