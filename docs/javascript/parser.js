// An incremental parser of event streams: WHATWG HTML, section 9.2.6.

const MAX_RETRY = 2 ** 31 - 1; // Milliseconds: as far as timers go.

/** Parses the text of one response. Each call of `feed` returns the blocks that it completes. */
export class Parser {
  #line = "";
  #afterCR = false;
  #start = true;
  #data = [];
  #type = "";
  #id;
  #retry = null;
  #size = 0;
  #maxSize;

  /** `id` is the one that the response resumes after; `maxSize` bounds an event, in UTF-16 units. */
  constructor(id = "", maxSize = 8 * 1024 * 1024) {
    this.#id = id;
    this.#maxSize = maxSize;
  }

  /** Returns `{ id, retry, type, data }` for each block; `data` is null where it is no event. */
  feed(text) {
    if (this.#start && text) {
      this.#start = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    if (this.#afterCR && text.startsWith("\n")) text = text.slice(1);
    if (text) this.#afterCR = text.endsWith("\r");
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop();
    const blocks = [];
    for (const line of lines) {
      if (line) this.#field(line);
      else blocks.push(this.#dispatch());
    }
    if (this.#size + this.#line.length > this.#maxSize) throw new RangeError("the event is too large");
    return blocks;
  }

  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    this.#size += line.length;
    if (this.#size > this.#maxSize) throw new RangeError("the event is too large");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#retry = Math.min(Number(value), MAX_RETRY);
  }

  #dispatch() {
    const data = this.#data.length ? this.#data.join("\n") : null;
    const block = { id: this.#id, retry: this.#retry, type: this.#type || "message", data };
    this.#data = [];
    this.#type = "";
    this.#retry = null;
    this.#size = 0;
    return block;
  }
}
