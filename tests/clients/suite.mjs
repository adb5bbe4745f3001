// wsd with clients that other people wrote: Node's `ws` and its own, Python's `websockets` and `aiohttp`, Chromium.
//
// `node suite.mjs` runs them one file after the other, prints a line for each test and the counts, and exits with 1 if one
// failed or none ran. What it needs is installed by scripts/test.

import { join } from "node:path";
import { run } from "node:test";

import { here } from "./node.mjs";

const files = ["ws.test.mjs", "conversation.test.mjs", "python.test.mjs", "wss.test.mjs", "browser.test.mjs"];
let passed = 0;
let failed = 0;
const events = run({ files: files.map((file) => join(here, file)), concurrency: false, timeout: 240_000 });
events.on("test:pass", ({ name, details }) => {
  if (details.type === "suite" || files.some((file) => name.endsWith(file))) return;
  passed += 1;
  console.log(`ok - ${name}`);
});
events.on("test:fail", ({ name, details }) => {
  failed += 1;
  console.log(`FAIL - ${name}`);
  const error = details.error?.cause ?? details.error;
  console.log(String(error?.stack ?? error).replaceAll(/^/gm, "    "));
});
events.on("test:stderr", ({ message }) => process.stderr.write(message));
events.on("end", () => {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
});
events.resume();
