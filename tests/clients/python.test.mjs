// wsd with Python's `websockets` as client: each scenario of client.py is a test.
//
// The interpreter is $WSD_PYTHON, the one of the environment that scripts/test makes.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { DEADLINE, Node, ROUTES, here } from "./node.mjs";

const run = promisify(execFile);
const python = process.env.WSD_PYTHON ?? join(here, "../.venv/bin/python");
const script = join(here, "client.py");

let node;
before(async () => (node = await Node.start(ROUTES)));
after(async () => node.stop());

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
  "compression_offered",
  "many",
]) {
  test(`websockets: ${scenario.replaceAll("_", " ")}`, async () => {
    await run(python, ["-B", script, scenario, node.url], { timeout: 2 * DEADLINE });
  });
}
