// wsd with TLS of its own, and clients that verify its certificate: Node's `ws`, Python's `websockets`, Chromium.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import WebSocket from "ws";

import { DEADLINE, Node, ROUTES, here } from "./node.mjs";

const run = promisify(execFile);
const python = process.env.WSD_PYTHON ?? join(here, "../.venv/bin/python");

let node;
before(async () => (node = await Node.startWithTls(ROUTES)));
after(async () => node?.stop());

for (const version of ["TLSv1.2", "TLSv1.3"]) {
  test(`wss: ws over ${version}`, async () => {
    const options = { ca: readFileSync(node.authority), minVersion: version, maxVersion: version };
    const socket = new WebSocket(`${node.url}/t/plain/a`, options);
    await once(socket, "open", { signal: AbortSignal.timeout(DEADLINE) });
    assert.equal(socket._socket.getProtocol(), version);
    for (const text of ["grüße", "x".repeat(64 * 1024)]) {
      socket.send(text);
      const [data] = await once(socket, "message", { signal: AbortSignal.timeout(DEADLINE) });
      assert.equal(data.toString(), text);
    }
    const closed = once(socket, "close");
    socket.close(1000);
    assert.equal((await closed)[0], 1000);
  });
}

test("wss: ws does not get in without trust", async () => {
  const socket = new WebSocket(`${node.url}/t/plain/a`);
  const [error] = await once(socket, "error");
  assert.match(error.code, /SELF_SIGNED/);
});

for (const scenario of ["talk", "order", "fragments", "ping", "close_codes", "too_big", "many"]) {
  test(`wss: websockets: ${scenario.replaceAll("_", " ")}`, async () => {
    const env = { ...process.env, SSL_CERT_FILE: node.authority };
    await run(python, ["-B", join(here, "client.py"), scenario, node.url], { timeout: 2 * DEADLINE, env });
  });
}

test("wss: a window of Chromium", async () => {
  const profile = mkdtempSync(join(tmpdir(), "wsd-chromium-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.WSD_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    // Nobody it knows has signed the certificate.
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(node.page);
    const answers = await page.evaluate(
      (url) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(url);
          const texts = ["hello", "y".repeat(60_000)];
          const got = [];
          socket.onopen = () => texts.forEach((text) => socket.send(text));
          socket.onmessage = ({ data }) => {
            got.push(data.length);
            if (got.length === texts.length) socket.close(1000);
          };
          socket.onclose = ({ code, wasClean }) => resolve([...got, code, wasClean]);
          setTimeout(() => reject(new Error("no answer")), 15_000);
        }),
      `${node.url}/t/plain/chromium`,
    );
    assert.deepEqual(answers, [5, 60_000, 1000, true]);
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true });
  }
});
