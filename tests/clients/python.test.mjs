// wsd with Python's `websockets` and `aiohttp` as clients: each scenario of client.py and aio.py is a test.
//
// The interpreter is $WSD_PYTHON, the one of the environment that scripts/test makes.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { DEADLINE, Node, ROUTES, here } from "./node.mjs";

const run = promisify(execFile);
const python = process.env.WSD_PYTHON ?? join(here, "../.venv/bin/python");

let node, larger;
before(async () => {
  node = await Node.start(ROUTES);
  larger = await Node.start(`${ROUTES.replace('"64KiB"', '"2MiB"')}\n[delivery]\nqueue = "8MiB"\n`);
});
after(async () => {
  await node?.stop();
  await larger?.stop();
});

for (const scenario of [
  "talk",
  "order",
  "kinds",
  "fragments",
  "ping",
  "close_codes",
  "too_big",
  "no_route",
  "subprotocol",
  "compression",
  "many",
]) {
  test(`websockets: ${scenario.replaceAll("_", " ")}`, async () => {
    await run(python, ["-B", join(here, "client.py"), scenario, node.url], { timeout: 2 * DEADLINE });
  });
}

test("websockets: a megabyte", async () => {
  await run(python, ["-B", join(here, "client.py"), "megabyte", larger.url], { timeout: 2 * DEADLINE });
});

for (const scenario of ["talk", "megabyte", "small_window", "close_codes", "subprotocol", "hundred"]) {
  test(`aiohttp: ${scenario.replaceAll("_", " ")}`, async () => {
    await run(python, ["-B", join(here, "aio.py"), scenario, larger.url], { timeout: 2 * DEADLINE });
  });
}
