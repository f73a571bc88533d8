// A channel in the browser's own EventSource. A tab remembers who it is, what it has shown and the
// id of the last event: so a reload goes on there, and gets what it missed.

const CHANNEL = "api/channels/lobby";
const LOOK = 2000; // Milliseconds between two looks at who is there.
const RETRY = 2000; // Milliseconds before trying again what EventSource has given up.
const KEPT = 100; // Messages that are shown.
const ANIMALS = ["otter", "heron", "lynx", "badger", "puffin", "ibex", "marten", "plover"];
const byId = (id) => document.getElementById(id);
const part = (name) => document.querySelector(`[data-testid="${name}"]`);

const tab = JSON.parse(sessionStorage.getItem("lobby")) ?? {
  name: `${ANIMALS[Math.floor(Math.random() * ANIMALS.length)]}-${10 + Math.floor(Math.random() * 90)}`,
  lastId: "",
  messages: [],
};
const counts = { replayed: 0, gaps: 0, resets: 0 };
let source = null;
let since = 0; // Since when it is connected: what was sent before is a replay.

// For tests and for the curious at the console.
window.lobby = {
  get name() { return tab.name; },
  get messages() { return tab.messages; },
  get lastId() { return tab.lastId; },
  get state() { return byId("state").dataset.state; },
  get counts() { return counts; },
};

function url() {
  const url = new URL(CHANNEL, document.baseURI);
  url.searchParams.set("as", tab.name);
  return url;
}

function listen() {
  source?.close();
  const place = url();
  // A new EventSource cannot send Last-Event-ID; one that reconnects by itself does.
  if (tab.lastId) place.searchParams.set("last_event_id", tab.lastId);
  const own = (source = new EventSource(place));
  become("connecting");
  source.onopen = () => { since = Date.now(); become("live"); look(); };
  source.onmessage = receive;
  source.onerror = () => {
    become("reconnecting");
    if (own.readyState === EventSource.CLOSED) setTimeout(() => own === source && listen(), RETRY);
  };
  source.addEventListener("gap", ({ data, lastEventId }) => {
    counts.gaps += 1;
    add(lastEventId, { missing: JSON.parse(data).reason });
  });
  source.addEventListener("reset", ({ lastEventId }) => {
    counts.resets += 1;
    tab.messages = []; // What was shown is of a channel that is gone.
    tab.lastId = lastEventId;
    draw();
  });
}

function receive({ data, lastEventId }) {
  const { from, to, text, at } = JSON.parse(data);
  const replayed = at < since;
  counts.replayed += replayed;
  add(lastEventId, { from, to, text, replayed });
}

function add(id, message) {
  tab.lastId = id;
  tab.messages.push({ id, ...message });
  tab.messages.splice(0, tab.messages.length - KEPT);
  draw();
}

function become(state) {
  byId("state").dataset.state = state;
  part("state").textContent = state;
  byId("offline").textContent = state === "offline" ? "Go online" : "Go offline";
}

function draw() {
  sessionStorage.setItem("lobby", JSON.stringify(tab));
  const turns = byId("turns");
  byId("messages").replaceChildren(...tab.messages.map(entry));
  byId("welcome").hidden = tab.messages.length > 0;
  turns.scrollTop = turns.scrollHeight;
  part("last-id").textContent = tab.lastId || "–";
  for (const [name, count] of Object.entries(counts)) part(name).textContent = count;
  const others = new Set(tab.messages.map(({ from }) => from).filter((from) => from && from !== tab.name));
  byId("names").replaceChildren(...[...others].map((name) => new Option(name)));
}

function entry({ id, missing, from, to, text, replayed }) {
  if (missing) return element("li", "gap", `Messages are missing here (${missing})`);
  const marks = [element("span", "from", from)];
  marks.push(element("span", "mark", to ? `to ${to} alone` : "to everybody"));
  if (replayed) marks.push(element("span", "mark replay", "replayed"));
  marks.push(element("span", "id mono", id));
  const item = element("li", "message", element("p", "head", ...marks), element("p", "text", text));
  item.dataset.own = from === tab.name;
  item.dataset.private = Boolean(to);
  return item;
}

/** Make an element; text goes in as text, never as HTML. */
function element(tag, className, ...children) {
  const node = document.createElement(tag);
  node.className = className;
  node.append(...children);
  return node;
}

async function send(to) {
  const text = byId("text").value.trim();
  if (!text) return byId("text").focus();
  const message = { data: { from: tab.name, to, text, at: Date.now() }, to };
  try {
    const response = await fetch(url(), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(message),
    });
    if (!response.ok) throw new Error(await response.text());
    const { id } = await response.json();
    byId("text").value = "";
    byId("sent").textContent = `Sent to ${to ?? "everybody"} as ${id}`;
    byId("problem").hidden = true;
  } catch (error) {
    // A fetch that gets no answer throws a TypeError.
    byId("problem").textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
    byId("problem").hidden = false;
  }
}

async function look() {
  const answer = await fetch(`${CHANNEL}/presence`).catch(() => null);
  part("presence").textContent = answer?.ok ? (await answer.json()).subscriptions : "–";
}

byId("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
byId("target").addEventListener("click", () => {
  const name = byId("recipient").value.trim();
  name ? send(name) : byId("recipient").focus();
});
byId("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
byId("naming").addEventListener("submit", (event) => { event.preventDefault(); byId("name").blur(); });
byId("name").addEventListener("change", () => {
  // Somebody else sees something else, from the start.
  Object.assign(tab, { name: byId("name").value.trim() || tab.name, lastId: "", messages: [] });
  byId("name").value = tab.name;
  draw();
  if (source) listen();
});
byId("offline").addEventListener("click", () => {
  if (!source) return listen();
  source.close();
  source = null;
  become("offline");
});
byId("reload").addEventListener("click", () => location.reload());

byId("name").value = tab.name;
draw();
listen();
setInterval(look, LOOK);
