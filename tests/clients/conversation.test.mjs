// The same conversation with three implementations of the browsers' API: Node's `ws`, Node's own (undici), Chromium.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { WebSocket as NodeWebSocket } from "undici";
import WebSocket from "ws";

import { converse } from "./conversation.mjs";
import { Node, ROUTES, eventually } from "./node.mjs";

let node;
before(async () => {
  const larger = ROUTES.replace('message = "64KiB"', 'message = "2MiB"');
  assert.notEqual(larger, ROUTES);
  node = await Node.start(`${larger}\n[delivery]\nqueue = "16MiB"\n`);
});
after(async () => node?.stop());

/** Everybody has gone, and nothing waits for anybody. */
async function gone() {
  await eventually("no connection", async () => (await node.status()).connections === 0);
}

test("ws: a conversation", async () => {
  await converse(WebSocket, node.url, "ws");
  await gone();
});

test("Node's own WebSocket: a conversation", async () => {
  await converse(globalThis.WebSocket ?? NodeWebSocket, node.url, "node");
  await gone();
});

test("Chromium: a conversation", async () => {
  const profile = mkdtempSync(join(tmpdir(), "wsd-chromium-"));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.WSD_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(node.page);
    await page.evaluate(`(${converse})(WebSocket, ${JSON.stringify(node.url)}, "chromium")`);
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true });
  }
  await gone();
});
