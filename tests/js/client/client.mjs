// Scenarios with the client that the documentation brings along.

import { Parser } from "../../../docs/javascript/parser.js";
import { StreamSource } from "../../../docs/javascript/stream-source.js";

const KINDS = ["message", "gap", "reset", "end"];

/** Notes everything that a source tells. */
function follow(url, options = {}) {
  const source = new StreamSource(url, { retries: 5, ...options });
  const seen = { received: [], replayed: 0, reconnecting: [], opened: 0 };
  for (const type of [...KINDS, ...(options.types ?? [])])
    source.addEventListener(type, ({ data, lastEventId, replayed }) => {
      seen.received.push([lastEventId, type, data]);
      seen.replayed += replayed ? 1 : 0;
    });
  source.addEventListener("open", () => (seen.opened += 1));
  source.addEventListener("reconnecting", ({ detail: { reason, delay, status } }) =>
    seen.reconnecting.push({ reason, delay, status }),
  );
  return { source, seen };
}

class Storage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => this.items.set(key, value);
  removeItem = (key) => this.items.delete(key);
}

async function until(condition) {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("it did not become true in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export async function read(url, options) {
  const { source, seen } = follow(url, options);
  const close = await source.closed;
  return { ...seen, close, end: source.end, readyState: source.readyState };
}

/** A page that is reloaded twice: in the middle of the answer, and after its end. */
export async function reload(url, key, many, keep) {
  const storage = new Storage();
  const pages = [];
  for (const leave of [many, 0, 0]) {
    const { source, seen } = follow(url, { key, storage, keep });
    if (leave) {
      await until(() => seen.received.length >= leave);
      source.close();
    }
    const close = await source.closed;
    pages.push({ ...seen, close });
  }
  return { pages, kept: storage.items.size };
}

export async function damagedStorage(url, value) {
  const storage = new Storage();
  storage.setItem("stream-source:one", value);
  const { source, seen } = follow(url, { key: "one", storage });
  return { ...seen, close: await source.closed };
}

export async function fullStorage(url) {
  const storage = new Storage();
  storage.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  const { source, seen } = follow(url, { key: "one", storage });
  return { ...seen, close: await source.closed };
}

export async function forget(url) {
  const storage = new Storage();
  const { source } = follow(url, { key: "one", storage });
  await source.closed;
  const before = storage.items.size;
  source.forget();
  return { before, after: storage.items.size };
}

export async function closeAtOnce(url) {
  const { source, seen } = follow(url);
  source.close();
  source.close();
  return { ...seen, close: await source.closed };
}

/** Another process takes over on the same address. */
export async function drain(url, pid) {
  const { source, seen } = follow(url, { retries: 0 });
  await until(() => seen.received.length > 0);
  process.kill(pid, "SIGTERM");
  await until(() => seen.reconnecting.length > 0);
  const { readyState } = source;
  source.close();
  return { ...seen, readyState, close: await source.closed };
}

/** What the parser makes of streams, each cut in some way: as base64, in pieces. */
export async function parse(streams) {
  return streams.map((pieces) => {
    const parser = new Parser();
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    const events = [];
    let id = "";
    let retry = null;
    for (const piece of pieces)
      for (const block of parser.feed(decoder.decode(Buffer.from(piece, "base64"), { stream: true }))) {
        id = block.id;
        retry = block.retry ?? retry;
        if (block.data !== null) events.push([block.type, block.data, id]);
      }
    return { events, id, retry };
  });
}

export function tooLarge() {
  const parser = new Parser("", 100);
  const feed = (text) => {
    try {
      parser.feed(text);
      return "fine";
    } catch (error) {
      return error.name;
    }
  };
  return [feed(`data: ${"x".repeat(80)}\n`), feed("data: 0123456789012345678")];
}
