// uWebSockets.js as a peer of the benchmark: a path is a channel, a message goes to all of its connections.
//
// The package is uWebSockets.js 20.30 as npm has it; its main file falls back to a slow server of its own where the binary
// does not load, so the binary is loaded here, or nothing.

import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
const home = dirname(require.resolve("@trufflesuite/uws-js-unofficial/package.json"));
const binary = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
const uws = require(join(home, "dist", binary));

const app = uws.App();
app.ws("/*", {
  compression: 0,
  idleTimeout: 60,
  maxPayloadLength: 2 << 20,
  maxBackpressure: 1 << 20,
  closeOnBackpressureLimit: true,
  upgrade(response, request, context) {
    response.upgrade(
      { channel: request.getUrl() },
      request.getHeader("sec-websocket-key"),
      request.getHeader("sec-websocket-protocol"),
      request.getHeader("sec-websocket-extensions"),
      context,
    );
  },
  open(socket) {
    socket.subscribe(socket.channel);
  },
  message(socket, message, isBinary) {
    app.publish(socket.channel, message, isBinary);
  },
});
app.listen("127.0.0.1", Number(process.argv[2]), (listening) => {
  if (!listening) process.exit(1);
});
