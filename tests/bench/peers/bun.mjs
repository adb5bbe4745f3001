// Bun's own WebSocket server as a peer of the benchmark: a path is a channel, a message goes to all of its connections.

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const channel = new URL(request.url).pathname;
    if (!server.upgrade(request, { data: { channel } })) return new Response("a WebSocket, please", { status: 426 });
  },
  websocket: {
    idleTimeout: 60,
    maxPayloadLength: 2 << 20,
    backpressureLimit: 1 << 20,
    closeOnBackpressureLimit: true,
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(socket.data.channel);
    },
    message(socket, message) {
      server.publish(socket.data.channel, message);
    },
  },
});
