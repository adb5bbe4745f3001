// Node's `ws` as a peer of the benchmark: a path is a channel, a message goes to all of its connections. As its own
// examples have it: a loop over the clients.

import { WebSocketServer } from "ws";

const waitsAtMost = 1 << 20;
const channels = new Map();
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
  maxPayload: 2 << 20,
});
server.on("connection", (socket, request) => {
  let members = channels.get(request.url);
  if (!members) channels.set(request.url, (members = new Set()));
  members.add(socket);
  socket.on("message", (data, isBinary) => {
    for (const member of members) {
      member.send(data, { binary: isBinary });
      if (member.bufferedAmount > waitsAtMost) member.terminate();
    }
  });
  socket.on("error", () => {});
  socket.on("close", () => {
    members.delete(socket);
    if (members.size === 0) channels.delete(request.url);
  });
});
