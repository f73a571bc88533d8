// Scenarios with the EventSources of npm. Each listens until its client stops by itself.

import { fetchEventSource } from "@microsoft/fetch-event-source";
import { EventSource as NpmEventSource } from "eventsource";
import { EventSource as UndiciEventSource } from "undici";

async function listen(EventSource, url) {
  const received = [];
  const ends = [];
  const source = new EventSource(url);
  source.onmessage = ({ data, lastEventId }) => received.push([lastEventId, data]);
  for (const type of ["gap", "reset"])
    source.addEventListener(type, ({ data }) => received.push([type, data]));
  source.addEventListener("end", ({ data, lastEventId }) => ends.push([lastEventId, JSON.parse(data)]));
  await until(() => source.readyState === 2);
  return { received, ends };
}

async function until(condition) {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error("it did not become true in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const eventsource = (url) => listen(NpmEventSource, url);
export const undici = (url) => listen(UndiciEventSource, url);

/** Microsoft's is a function with callbacks; it needs a document, and knows no 204. */
export async function microsoft(url, method = "GET") {
  globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
  globalThis.window = globalThis;
  const received = [];
  const ends = [];
  const over = new Error("204: there is nothing more");
  // It goes on behind an id as soon as it has read that line, even if the event's data never came:
  // so say which event was the last that was handled.
  let last = "";
  const fetchAfterLast = (url, { headers, ...rest }) =>
    fetch(url, { ...rest, headers: last ? { ...headers, "last-event-id": last } : headers });
  await fetchEventSource(url, {
    method,
    fetch: fetchAfterLast,
    async onopen({ status }) {
      if (status === 204) throw over;
      if (status !== 200) throw new Error(String(status));
    },
    onmessage({ id, event, data }) {
      last = id || last;
      if (event === "end") ends.push([id, JSON.parse(data)]);
      else if (data) received.push(event ? [event, data] : [id, data]);
    },
    // It takes a body that ends for the end, unless it is told otherwise.
    onclose() {
      throw new Error("closed");
    },
    // It tries again for ever, unless this throws.
    onerror(error) {
      if (error === over) throw error;
      return 50;
    },
  }).catch((error) => {
    if (error !== over) throw error;
  });
  return { received, ends };
}
