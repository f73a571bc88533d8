// An EventSource over fetch for servers that run resumable-io.

import { Parser } from "./parser.js";

const RETRY = 2000; // Milliseconds, until the server says otherwise.
const LONGEST_RETRY = 30_000;
const IDLE = 60_000; // Four heartbeats of the server.
const LONGEST_TIMER = 2 ** 31 - 1;
const SAVE_EVERY = 250; // Milliseconds between two writes to the storage.
const OUTCOMES = new Set(["done", "failed", "stopped", "lost"]);
const CURABLE = new Set([408, 425, 429, 500, 502, 503, 504]); // Statuses after which to try again.

export class StreamSource extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;

  readyState = StreamSource.CONNECTING;
  lastEventId = "";
  /** How it ended, once that is known: `{ outcome, error }`. */
  end = null;
  /** Resolves when nothing more will come, to the same as the `close` event's `detail`. */
  closed;

  #url;
  #options;
  #close;
  #abort = new AbortController(); // Of the source.
  #line; // Another one, of the connection.
  #silence; // A timer.
  #retry = RETRY;
  #failures = 0; // In a row, without any event in between.
  #memory = null;

  constructor(url, options = {}) {
    super();
    this.#url = String(url);
    this.#options = { method: "GET", retries: 10, ...options };
    if (options.key !== undefined) this.#memory = new Memory(options);
    this.closed = new Promise((resolve) => (this.#close = resolve));
    queueMicrotask(() => this.#run()); // So that listeners can be added before.
  }

  get url() {
    return this.#url;
  }

  /** Closes the connection. The server goes on, and another source can resume. */
  close() {
    this.#finish({ reason: "closed", status: null });
  }

  /** Closes, and forgets what was kept for a reload. */
  forget() {
    this.close();
    this.#memory?.clear();
  }

  async #run() {
    this.#restore();
    while (this.readyState !== StreamSource.CLOSED) {
      const pause = await this.#connect();
      if (this.readyState === StreamSource.CLOSED) return;
      this.readyState = StreamSource.CONNECTING;
      if (this.#failures > this.#options.retries) {
        this.#finish({ reason: "unreachable", status: pause.status });
        return;
      }
      this.dispatchEvent(new CustomEvent("reconnecting", { detail: pause }));
      await this.#sleep(pause.delay);
    }
  }

  #restore() {
    for (const { type, data, id } of this.#memory?.load() ?? []) {
      if (this.readyState === StreamSource.CLOSED) return;
      this.lastEventId = id;
      this.#deliver(type, data, true);
    }
  }

  /** Connects once. Returns why and when to try again, unless it has closed. */
  async #connect() {
    this.#line = new AbortController();
    this.#heard();
    try {
      return await this.#ask();
    } finally {
      clearTimeout(this.#silence);
    }
  }

  /** Waits anew for something to come: a line that dies may do so without a word. */
  #heard() {
    clearTimeout(this.#silence);
    const { idle = IDLE } = this.#options;
    const silent = new DOMException("the server was silent", "TimeoutError");
    if (idle <= LONGEST_TIMER) this.#silence = setTimeout(() => this.#line.abort(silent), idle);
  }

  async #ask() {
    let response;
    try {
      response = await fetch(this.#url, this.#request());
    } catch (error) {
      return this.#failed("network", null, error);
    }
    const { status } = response;
    if (status === 204) {
      this.#finish({ reason: this.end ? "end" : "empty", status });
      return null;
    }
    if (CURABLE.has(status)) {
      await response.body?.cancel();
      return this.#failed("refused", response);
    }
    if (status !== 200 || !/^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "")) {
      await response.body?.cancel();
      this.#finish({ reason: status === 404 || status === 410 ? "gone" : "refused", status });
      return null;
    }
    this.readyState = StreamSource.OPEN;
    this.dispatchEvent(new Event("open"));
    return this.#read(response);
  }

  #request() {
    const { method, body, credentials } = this.#options;
    const headers = new Headers(this.#options.headers);
    headers.set("Accept", "text/event-stream");
    if (this.lastEventId) headers.set("Last-Event-ID", this.lastEventId);
    const request = { method, headers, cache: "no-store", signal: this.#line.signal };
    if (body !== undefined) request.body = body;
    if (credentials !== undefined) request.credentials = credentials;
    return request;
  }

  async #read(response) {
    const parser = new Parser(this.lastEventId);
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // The parser takes care of it.
    const reader = response.body.getReader();
    let draining = false;
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        this.#heard();
        for (const block of parser.feed(decoder.decode(value, { stream: true }))) {
          if (block.retry !== null) this.#retry = block.retry;
          // A server that drains says last when to come back.
          draining = block.retry !== null && block.data === null;
          this.#take(block);
          if (this.readyState === StreamSource.CLOSED) return null;
        }
      }
    } catch (error) {
      if (error instanceof RangeError) {
        this.#finish({ reason: "refused", status: response.status });
        return null;
      }
      return this.#failed("network", null, error);
    } finally {
      reader.cancel().catch(() => {});
    }
    if (!draining) return this.#failed("ended", response);
    return { reason: "drain", delay: this.#retry, status: response.status };
  }

  #take({ id, type, data }) {
    this.lastEventId = id;
    if (data === null) return;
    this.#failures = 0;
    if (type === "reset") this.#memory?.clear();
    else this.#memory?.add(type, data, id);
    this.#deliver(type, data, false);
  }

  #deliver(type, data, replayed) {
    const ended = type === "end" ? parseEnd(data) : null;
    if (ended) this.end = ended;
    const event = new MessageEvent(type, { data, lastEventId: this.lastEventId });
    Object.defineProperty(event, "replayed", { value: replayed });
    this.dispatchEvent(event);
    if (ended) this.#finish({ reason: "end", status: 200 });
  }

  #failed(reason, response, error = null) {
    const after = Number(response?.headers.get("retry-after") ?? NaN) * 1000;
    const backoff = Math.min(this.#retry * 2 ** this.#failures, Math.max(LONGEST_RETRY, this.#retry));
    this.#failures += 1;
    const delay = Math.max(backoff * (0.5 + Math.random() / 2), after || 0);
    return { reason, delay, status: response?.status ?? null, error };
  }

  #finish({ reason, status }) {
    if (this.readyState === StreamSource.CLOSED) return;
    this.readyState = StreamSource.CLOSED;
    this.#memory?.save();
    this.#memory?.stop();
    this.#abort.abort();
    this.#line?.abort();
    const detail = { reason, status, outcome: this.end?.outcome ?? null, error: this.end?.error ?? null };
    this.dispatchEvent(new CustomEvent("close", { detail }));
    this.#close(detail);
  }

  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#abort.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      }, { once: true });
    });
  }
}

/** What a page has received, kept where it survives a reload. */
class Memory {
  #storage;
  #key;
  #limit;
  #events = [];
  #size = 0;
  #timer = null;
  #save = () => this.save();

  constructor({ key, storage = globalThis.sessionStorage, keep = 1_000_000 }) {
    this.#storage = storage;
    this.#key = `stream-source:${key}`;
    this.#limit = keep;
    globalThis.addEventListener?.("pagehide", this.#save);
  }

  load() {
    try {
      const events = JSON.parse(this.#storage?.getItem(this.#key) ?? "[]");
      for (const { type, data, id } of events) this.#push(type, data, id);
    } catch {
      this.clear(); // Somebody else's, or damaged: the server has it all.
    }
    return [...this.#events];
  }

  add(type, data, id) {
    this.#push(type, data, id);
    this.#timer ??= setTimeout(this.#save, SAVE_EVERY);
  }

  /** What does not fit is not kept at all: a reloaded page then starts from the beginning. */
  save() {
    clearTimeout(this.#timer);
    this.#timer = null;
    try {
      if (this.#events.length) this.#storage?.setItem(this.#key, JSON.stringify(this.#events));
      else this.#storage?.removeItem(this.#key);
    } catch {
      this.#storage?.removeItem(this.#key); // The storage is full.
    }
  }

  clear() {
    this.#events = [];
    this.#size = 0;
    this.save();
  }

  stop() {
    globalThis.removeEventListener?.("pagehide", this.#save);
  }

  #push(type, data, id) {
    if (![type, data, id].every((each) => typeof each === "string")) throw new TypeError("no event");
    this.#size += type.length + data.length + id.length;
    if (this.#size <= this.#limit) this.#events.push({ type, data, id });
    else this.#events = [];
  }
}

function parseEnd(data) {
  try {
    const { outcome, error } = JSON.parse(data);
    return OUTCOMES.has(outcome) ? { outcome, error: error ?? null } : null;
  } catch {
    return null; // Another server's event of this name.
  }
}
