// Follows one answer with the browser's own EventSource, and keeps what came of it.

const RETRY = 2000; // Milliseconds before trying again what EventSource has given up.
const KEPT = 40; // Lines of the log.

export class Answer {
  /** State as seen from this tab: connecting, live, reconnecting, ended or gone. */
  state = "connecting";
  /** How it ended: done, failed, stopped or lost. */
  outcome = null;
  error = null;
  /** The text in parts; `missing` says why there is a hole before a part. */
  parts = [{ missing: null, text: "" }];
  /** Ids of the events that make up the text. */
  ids = [];
  lastId = "";
  received = 0;
  reconnects = 0;
  gaps = [];
  resets = [];
  log = [];

  #source = null;
  #changed;
  #replayedUpTo;

  /** `known` is the answer's state when the page was loaded: what came before then is a replay. */
  constructor(id, known, changed) {
    this.id = id;
    this.#replayedUpTo = known?.last_seq ?? 0;
    this.#changed = changed;
  }

  get text() {
    return this.parts.map((part) => part.text).join("");
  }

  get running() {
    return this.state !== "ended" && this.state !== "gone";
  }

  follow() {
    const url = new URL(`api/chats/${encodeURIComponent(this.id)}/events`, document.baseURI);
    // A new EventSource cannot send Last-Event-ID; one that reconnects by itself does.
    if (this.lastId) url.searchParams.set("last_event_id", this.lastId);
    const source = new EventSource(url);
    this.#source = source;
    source.onopen = () => this.#become("live");
    source.onerror = () => this.#broken(source);
    source.onmessage = (event) => this.#append(event);
    source.addEventListener("gap", (event) => this.#gap(event));
    source.addEventListener("reset", (event) => this.#reset(event));
    source.addEventListener("end", (event) => this.#end(event));
  }

  /** Add a line to the log. */
  note(line) {
    this.log.push(line);
    if (this.log.length > KEPT) this.log.shift();
    this.#changed(this);
  }

  #append(event) {
    this.parts.at(-1).text += event.data;
    this.ids.push(event.lastEventId);
    this.received += 1;
    this.lastId = event.lastEventId;
    const seq = Number(event.lastEventId.split("-")[1]);
    const kind = seq <= this.#replayedUpTo ? "replayed" : "live";
    const run = this.log.at(-1);
    if (run?.kind === kind && run.to + 1 === seq) {
      run.to = seq; // Events that follow each other share a line.
      this.#changed(this);
    } else {
      this.note({ kind, from: seq, to: seq });
    }
  }

  #gap(event) {
    const { reason } = JSON.parse(event.data);
    this.lastId = event.lastEventId;
    this.gaps.push(reason);
    this.parts.push({ missing: reason, text: "" });
    this.note({ kind: "gap", text: `something is missing here: ${reason}` });
  }

  #reset(event) {
    const { reason } = JSON.parse(event.data);
    this.lastId = event.lastEventId;
    this.resets.push(reason);
    this.parts = [{ missing: null, text: "" }];
    this.ids = [];
    this.note({ kind: "reset", text: `what was shown is void: ${reason}` });
  }

  #end(event) {
    const { outcome, error } = JSON.parse(event.data);
    this.#source.close();
    this.lastId = event.lastEventId;
    this.outcome = outcome;
    this.error = error ?? null;
    this.state = "ended";
    this.note({ kind: "end", text: error ? `${outcome}: ${error}` : outcome });
  }

  #become(state) {
    this.state = state;
    this.#changed(this);
  }

  #broken(source) {
    if (source !== this.#source || !this.running) return;
    if (this.state !== "reconnecting") {
      this.reconnects += 1;
      this.state = "reconnecting";
      this.note({ kind: "broken", text: "connection broke; the browser comes back by itself" });
    }
    if (source.readyState === EventSource.CLOSED) this.#afterRefusal();
  }

  // EventSource gives up when it is answered with anything but an event stream.
  async #afterRefusal() {
    const state = await fetch(`api/chats/${encodeURIComponent(this.id)}`).catch(() => null);
    if (state?.status === 404) {
      this.state = "gone";
      this.note({ kind: "gone", text: "the server no longer knows this answer" });
    } else {
      setTimeout(() => this.follow(), RETRY);
    }
  }
}
