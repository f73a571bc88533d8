// Shows what this tab knows of the stream: connection, ids, gaps, and the story so far.

const RECENT = 5;
const part = (name) => document.querySelector(`[data-testid="${name}"]`);
const KINDS = {
  replayed: "replay",
  live: "live",
  plug: "plug",
  broken: "cut",
  gap: "gap",
  reset: "reset",
  gone: "gone",
  end: "end",
};

/** Show an answer in the panel; without one, show that there is none. */
export function show(answer) {
  const state = answer?.state ?? "idle";
  const pill = document.getElementById("state");
  pill.dataset.state = state;
  pill.dataset.outcome = answer?.outcome ?? "";
  write("state", state);
  write("outcome", answer?.outcome ?? "");
  part("outcome").hidden = !answer?.outcome;

  write("last-id", answer?.lastId || "–");
  part("last-id").title = answer?.lastId ?? "";
  write("events", answer?.received ?? 0);
  write("reconnects", answer?.reconnects ?? 0);
  write("gaps", answer?.gaps.length ?? 0);
  write("resets", answer?.resets.length ?? 0);
  part("gaps").classList.toggle("bad", Boolean(answer?.gaps.length));
  part("resets").classList.toggle("bad", Boolean(answer?.resets.length));
  write("recent", (answer?.ids.slice(-RECENT) ?? []).join("\n"));

  const lines = answer?.log ?? [];
  document.getElementById("no-log").hidden = lines.length > 0;
  document.getElementById("log").replaceChildren(...lines.toReversed().map(line));

  document.getElementById("stop").disabled = !answer?.running;
  document.getElementById("unplug").disabled = state !== "live";
}

function write(name, value) {
  const node = part(name);
  const text = String(value);
  // Writing the same again would make a screen reader say it again.
  if (node.textContent !== text) node.textContent = text;
}

function line(entry) {
  const item = document.createElement("li");
  item.dataset.kind = entry.kind;
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = KINDS[entry.kind] ?? entry.kind;
  const text = document.createElement("span");
  if (entry.text === undefined) {
    const range = entry.from === entry.to ? `${entry.from}` : `${entry.from} – ${entry.to}`;
    text.textContent = entry.from === entry.to ? `event ${range}` : `events ${range}`;
  } else {
    text.textContent = entry.text;
  }
  item.append(kind, text);
  return item;
}
