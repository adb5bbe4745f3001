// The page of wsd's admin address: a plain WebSocket client with a view of what goes out and what comes in.
// No library and nothing from elsewhere. What came over the wire is only ever shown as text.
"use strict";

const $ = (id) => document.getElementById(id);

// What the example hooks do, and what to send to see it.
const EXAMPLES = {
  "echo.lua": {
    says: "on_message answers: what comes back is not what you sent, so a hook was asked.",
    samples: ["hello"],
  },
  "chat.lua": {
    says: "on_connect takes the name from the address, on_message adds it to each line. Open a second window and talk to yourself.",
    samples: ["hello", "how are you?"],
  },
  "profanity.lua": {
    says: "on_message puts stars over the words in hooks.settings.bad_words. Who does not stop is closed by the hook, with a code of its own.",
    samples: ["what a nice day", "darn it"],
  },
  "ratelimit.lua": {
    says: "Ten messages a second for each address, with bursts of 20, over all workers; then chat.lua is asked. Send many: the rest is dropped.",
    samples: ["hello"],
    burst: "messages",
  },
  "auth.lua": {
    says: "on_connect refuses whoever has no valid token: that is the 401 you get. With one in the address (/auth?token=…) it goes on.",
    samples: ["hello"],
  },
  "enrich.lua": {
    says: "on_message lets only well-formed orders through and adds what only the server knows. To anything else it answers what is wrong; nobody else sees that.",
    samples: ['{"side":"buy","qty":10,"symbol":"ACME"}', '{"side":"steal","qty":10,"symbol":"ACME"}', "no JSON"],
  },
  "compact.lua": {
    says: "on_batch sees what a publish window gathered and keeps the last quote of each symbol: send many, get few.",
    samples: ['{"symbol":"ACME","price":100}'],
    burst: "quotes",
  },
};
const BATCH = {
  says: "No hook. What the delivery window gathered comes as one frame with a JSON array.",
  samples: ["one", '{"two":2}'],
  burst: "messages",
};
const PLAIN = { says: "What you send is published as it is.", samples: ["hello"] };
const MOST_ROWS = 500;
const BURST = 20;

let routes = [];
let socket = null;
let counts = { sent: 0, received: 0 };

function exampleOf(route) {
  const hook = (route.hooks ?? []).find((name) => EXAMPLES[name]);
  if (hook) return EXAMPLES[hook];
  if (route.format === "json-array") return BATCH;
  if (route.hooks === null) return { says: "Every script of the hooks' directory sees what you send.", samples: ["hello"] };
  if (route.hooks.length > 0) return { says: `What you send goes through ${route.hooks.join(", then ")}.`, samples: ["hello"] };
  return PLAIN;
}

// "/rooms/{room}" as a path that one can connect to.
function concrete(path) {
  return path.replace(/\{[^}]*\}/g, "lobby");
}

function facts(route) {
  const list = [route.channel === "" ? "no channel of its own" : `channel ${route.channel}`];
  if (route.hooks === null) list.push("all hooks");
  else list.push(route.hooks.length ? `hooks ${route.hooks.join(", ")}` : "no hooks");
  if (!route.publish) list.push("clients may not publish");
  if (!route.echo) list.push("no echo to the sender");
  if (route.format !== "message") list.push(`delivered as ${route.format}`);
  if (route.window > 0) list.push(`every ${route.window} s`);
  return list.join(" · ");
}

function defaultServer(listeners) {
  if (location.protocol === "https:") return `wss://${location.host}`;
  const listener = listeners.find((one) => one.any || one.loopback) ?? listeners[0];
  if (!listener) return `ws://${location.hostname}:8080`;
  const literal = listener.host.includes(":") ? `[${listener.host}]` : listener.host;
  const host = listener.any || listener.loopback ? location.hostname : literal;
  return `ws://${host}:${listener.port}`;
}

// What a link to this page says after its "#": the route and the name.
function remembered() {
  return new URLSearchParams(location.hash.slice(1));
}

function remember() {
  const name = $("name").value;
  const route = current()?.path ?? "";
  history.replaceState(null, "", `#${new URLSearchParams({ route, name })}`);
  const other = name === "ann" ? "bob" : "ann";
  $("second").href = `#${new URLSearchParams({ route, name: other })}`;
}

function current() {
  const checked = document.querySelector("#routes input:checked");
  return checked ? routes[Number(checked.value)] : undefined;
}

function showRoutes() {
  $("no-routes").hidden = routes.length > 0;
  const wanted = remembered().get("route");
  const index = Math.max(0, routes.findIndex((route) => route.path === wanted));
  routes.forEach((route, at) => {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = "route";
    input.value = String(at);
    input.checked = at === index;
    input.addEventListener("change", () => pick(route));
    const path = document.createElement("b");
    path.textContent = route.path;
    const what = document.createElement("span");
    what.textContent = route.hooks === null ? "all hooks" : route.hooks.join(", ") || route.format;
    label.append(input, path, what);
    $("routes").append(label);
  });
  if (routes[index]) pick(routes[index]);
}

function pick(route) {
  const example = exampleOf(route);
  $("title").textContent = route.path;
  $("explanation").textContent = example.says;
  $("facts").textContent = facts(route);
  $("path").value = concrete(route.path);
  $("samples").replaceChildren(
    ...example.samples.map((text) => sample(text, () => send(text))),
    ...(example.burst ? [sample(`${BURST} ${example.burst} at once`, () => burst(example.burst))] : []),
  );
  remember();
  clear();
  connect();
}

function sample(text, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.title = `send ${text}`;
  button.disabled = true;
  button.addEventListener("click", act);
  return button;
}

function burst(kind) {
  for (let i = 1; i <= BURST; i++) {
    const symbol = ["ACME", "WIDGET"][i % 2];
    send(kind === "quotes" ? JSON.stringify({ symbol, price: 100 + i }) : `${i} of ${BURST}`);
  }
}

function address() {
  const url = new URL($("path").value, $("server").value);
  if ($("name").value !== "" && !url.searchParams.has("name")) url.searchParams.set("name", $("name").value);
  return url.href;
}

function connect() {
  if (socket) socket.close(1000);
  if (!$("connection").reportValidity()) return;
  let opened;
  try {
    opened = new WebSocket(address());
  } catch (error) {
    note(String(error.message));
    return;
  }
  const mine = opened;
  let wasOpen = false;
  mine.binaryType = "arraybuffer";
  socket = mine;
  state("connecting", "connecting …");
  // Events of a connection that has been replaced are nobody's.
  mine.onopen = () => {
    if (socket !== mine) return;
    wasOpen = true;
    state("open", "open");
    note(`connected to ${mine.url}`);
    // Not while somebody walks through the routes with the arrow keys.
    if (!document.activeElement?.matches("#routes input:focus-visible")) $("message").focus({ preventScroll: true });
  };
  mine.onmessage = (event) => {
    if (socket === mine) received(event.data);
  };
  mine.onclose = (event) => {
    if (socket !== mine) return;
    socket = null;
    if (wasOpen) {
      const reason = event.reason ? `: ${event.reason}` : "";
      state("closed", "closed");
      note(`closed with ${event.code}${reason}`);
    } else {
      state("refused", "not connected");
      note(`no connection to ${mine.url}: nobody listens there, or the handshake was refused`);
    }
  };
}

function state(name, text) {
  $("state").dataset.state = name;
  $("state").value = text;
  $("connect").textContent = name === "open" ? "Disconnect" : "Connect";
  for (const one of [$("message"), $("send"), ...$("samples").children]) one.disabled = name !== "open";
}

function send(text) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  socket.send(text);
  counts.sent += 1;
  row("sent", text, "text");
}

function received(data) {
  counts.received += 1;
  if (typeof data !== "string") {
    const bytes = new Uint8Array(data);
    const shown = Array.from(bytes.subarray(0, 200), (byte) => byte.toString(16).padStart(2, "0"));
    row("received", shown.join(" ") + (bytes.length > 200 ? " …" : ""), `binary, ${bytes.length} bytes`);
    return;
  }
  row("received", data, kind(data));
}

function kind(text) {
  try {
    const value = JSON.parse(text);
    if (Array.isArray(value)) return `JSON array: ${value.length} in one frame`;
    return typeof value === "object" ? "JSON" : "text";
  } catch {
    return "text";
  }
}

function note(text) {
  row("note", text);
}

function row(side, text, what) {
  const log = $("log");
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const item = document.createElement("li");
  item.className = side;
  item.textContent = text;
  if (what) {
    const small = document.createElement("small");
    small.textContent = `${new Date().toLocaleTimeString()} · ${what}`;
    item.append(small);
  }
  log.append(item);
  while (log.children.length > MOST_ROWS) log.firstElementChild.remove();
  if (isAtEnd || side === "sent") log.scrollTop = log.scrollHeight;
  show();
}

function clear() {
  counts = { sent: 0, received: 0 };
  $("log").replaceChildren();
  show();
}

function show() {
  $("empty").hidden = $("log").children.length > 0;
  $("counts").textContent = `${counts.sent} sent, ${counts.received} received`;
}

$("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket?.readyState === WebSocket.OPEN) socket.close(1000);
  else connect();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send($("message").value);
  $("message").value = "";
});
$("name").addEventListener("change", () => {
  remember();
  connect();
});
$("clear").addEventListener("click", clear);

async function start() {
  $("name").value = remembered().get("name") || "ann";
  $("server").value = defaultServer([]);
  show();
  try {
    const answer = await fetch("demo.json");
    if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
    const node = await answer.json();
    $("version").textContent = node.version;
    $("server").value = defaultServer(node.listeners);
    routes = node.routes;
  } catch (error) {
    note(`demo.json: ${error.message}`);
  }
  showRoutes();
}

start();
