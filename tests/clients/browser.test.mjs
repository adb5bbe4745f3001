// Two windows of a real browser chat on the page that the admin address serves, and see what the hooks do.
//
// The page is driven by what its address says after the "#" and by its ids: #routes, #connect, #state, #message, #send, #log.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { DEADLINE, Node, ROUTES, eventually } from "./node.mjs";

const FLAGS = [
  "--no-sandbox", // there is none to be had for root in a container
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let node, profile, browser;
before(async () => {
  // What the demo's routes have stays; these come before them.
  node = await Node.start(`${ROUTES}\n[hooks]\nwatch = true\n`);
  profile = mkdtempSync(join(tmpdir(), "wsd-chromium-"));
  browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.WSD_CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: FLAGS,
  });
  browser.setDefaultTimeout(DEADLINE);
});
after(async () => {
  await browser?.close();
  if (profile) rmSync(profile, { recursive: true });
  await node?.stop();
});

/** A window that is connected over that route. */
async function open(route, name = "ann") {
  const page = await browser.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.errors.push(message.text()));
  await page.goto(`${node.page}#${new URLSearchParams({ route, name })}`);
  await page.locator("#state[data-state=open]").waitFor();
  return page;
}

async function say(page, text) {
  await page.fill("#message", text);
  await page.click("#send");
}

/** What the server sent, a line each. */
const received = async (page) => (await page.locator("#log li.received").allTextContents()).join("\n");
const sees = (page, text) => eventually(`"${text}" in the log`, async () => (await received(page)).includes(text));

async function close(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.errors, []);
    await page.close();
  }
}

test("browser: the page lists a route for each example and connects over the one that is picked", async () => {
  const page = await open("/echo");
  const routes = await page.locator("#routes label").allTextContents();
  for (const path of ["/echo", "/chat", "/profanity", "/enrich", "/compact", "/batch"]) {
    assert.ok(routes.some((text) => text.startsWith(path)), `${path} is not among ${routes.join(" | ")}`);
  }
  await page.locator("#routes label", { hasText: "/batch" }).click();
  await page.locator("#log", { hasText: "/batch" }).waitFor();
  await page.locator("#state[data-state=open]").waitFor();
  await say(page, "gathered");
  await sees(page, '["gathered"]');
  await close(page);
});

test("browser: a window may leave and come back", async () => {
  const page = await open("/echo");
  await page.click("#connect");
  await page.locator("#state[data-state=closed]").waitFor();
  await page.click("#connect");
  await page.locator("#state[data-state=open]").waitFor();
  await close(page);
});

test("browser: two windows chat", async () => {
  const ann = await open("/chat", "ann");
  const bob = await open("/chat", "bob");
  await say(ann, "hello from ann");
  await sees(bob, "hello from ann");
  await sees(ann, "hello from ann");
  await say(bob, "hello from bob");
  await sees(ann, "hello from bob");
  // The hook adds who it was, as the address of the connection said.
  const line = (await received(ann)).split("\n").find((text) => text.includes("hello from bob"));
  assert.match(line.replace("hello from bob", ""), /bob/);
  await close(ann, bob);
});

test("browser: the echo hook says what was said", async () => {
  const page = await open("/echo");
  await say(page, "is anybody there");
  await sees(page, "You said: is anybody there");
  await close(page);
});

test("browser: bad words do not come through", async () => {
  const ann = await open("/profanity");
  const bob = await open("/profanity");
  await say(ann, "oh darn it");
  await say(ann, "what a nice day");
  await sees(bob, "what a nice day");
  assert.ok(!(await received(bob)).includes("darn"), await received(bob));
  await close(ann, bob);
});

test("browser: text that looks like HTML is shown as text", async () => {
  const ann = await open("/echo");
  await say(ann, "<img src=x onerror=\"document.title='taken'\"><b>bold</b>");
  await sees(ann, "<b>bold</b>");
  assert.notEqual(await ann.title(), "taken");
  assert.equal(await ann.locator("#log img, #log b").count(), 0);
  await close(ann);
});

test("browser: a window stays connected while a hook is edited and sees the change", async () => {
  const page = await open("/echo");
  await say(page, "before");
  await sees(page, "You said: before");
  const connections = (await node.status()).connections;
  const generation = (await node.status()).generation;
  node.writeHook("echo.lua", "function on_message(conn, message) return 'Now I say: ' .. message end\n");
  await eventually("the next generation", async () => (await node.status()).generation > generation);
  await say(page, "after");
  await sees(page, "Now I say: after");
  assert.equal((await node.status()).connections, connections);
  await close(page);
});
