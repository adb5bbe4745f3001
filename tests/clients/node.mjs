// A wsd for one test file: the real binary with the configuration of scripts/run, in a directory of its own.
//
// The binary is $WSD_BINARY, else target/debug/wsd. Ports come from the kernel; the log is printed when a test fails.

import { execFile, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../..");
const binary = resolve(process.env.WSD_BINARY ?? join(root, process.env.CARGO_TARGET_DIR ?? "target", "debug/wsd"));
const run = promisify(execFile);

/** How long anything may take. */
export const DEADLINE = 20_000;

/** Waits until `condition` gives something; the error says what was awaited. */
export async function eventually(what, condition) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${DEADLINE} ms: ${what}`);
    await new Promise((again) => setTimeout(again, 10));
  }
}

export class Node {
  /** Starts one with TLS; `authority` is the file with the certificate that a client must trust. */
  static async startWithTls(extra = "") {
    return this.start(`${extra}\n[tls]\ncertificate = "../../cert.pem"\nkey = "../../key.pem"\n`, makeCertificate);
  }

  /** Starts one and waits until it listens. `extra` is TOML, merged over the rest; `prepare` is given its directory. */
  static async start(extra = "", prepare = undefined) {
    const node = new Node();
    node.directory = mkdtempSync(join(tmpdir(), "wsd-clients-"));
    cpSync(join(root, "etc"), join(node.directory, "etc"), { recursive: true });
    const dropIns = join(node.directory, "etc/demo.d");
    mkdirSync(dropIns, { recursive: true });
    node.socket = join(node.directory, "control.sock");
    writeFileSync(
      join(dropIns, "90-test.toml"),
      `[listen]\naddresses = ["127.0.0.1:0"]\n[admin]\nhttp = "127.0.0.1:0"\ncontrol = "${node.socket}"\n`,
    );
    writeFileSync(join(dropIns, "95-extra.toml"), extra);
    await prepare?.(node.directory);
    node.authority = join(node.directory, "cert.pem");
    const { WSD_CONFIG, NOTIFY_SOCKET, LISTEN_FDS, JOURNAL_STREAM, ...env } = process.env;
    node.child = spawn(binary, ["run", "-c", "etc/demo.toml"], {
      cwd: node.directory,
      env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    node.log = "";
    node.child.stderr.on("data", (data) => (node.log += data));
    node.child.on("error", (error) => (node.log += `${binary}: ${error.message}`));
    await eventually(`ready: in the log of the node`, () => {
      if (node.child.exitCode !== null || node.child.pid === undefined) throw new Error(node.log);
      return node.log.includes("ready: ");
    });
    const status = await node.status();
    node.url = `${prepare ? "wss" : "ws"}://${status.listeners[0]}`;
    node.page = `http://${status.admin}/`;
    return node;
  }

  /** `wsd status --json` */
  async status() {
    const { stdout } = await run(binary, ["status", "--json", "--socket", this.socket]);
    return JSON.parse(stdout);
  }

  /** Writes a hook, as an editor does. */
  writeHook(name, text) {
    writeFileSync(join(this.directory, "etc/hooks", name), text);
  }

  /** Ends it in the orderly way; anything but exit code 0 is an error. */
  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    if (this.child.exitCode === null) {
      this.child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.directory, { recursive: true });
    if (this.child.exitCode !== 0) throw new Error(`wsd exited with ${this.child.exitCode}:\n${this.log}`);
  }
}

/** A certificate for 127.0.0.1 that signs for itself, and its key. */
async function makeCertificate(directory) {
  const to = ["-keyout", join(directory, "key.pem"), "-out", join(directory, "cert.pem")];
  const names = ["-subj", "/CN=wsd", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
  await run("openssl", ["req", "-x509", ...kind, ...to, ...names]);
}

/** Routes of these tests, before those of the demo. */
export const ROUTES = `
[[route]]
path = "/t/plain/{channel}"
channel = "plain:{channel}"
hooks = []
[[route]]
path = "/t/quiet/{channel}"
channel = "plain:{channel}"
echo = false
hooks = []
[limits]
message = "64KiB"
[drain]
over = "100ms"
`;
