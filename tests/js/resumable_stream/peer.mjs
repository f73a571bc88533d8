// A process that uses npm's resumable-stream, told what to do: one call per line, one answer each.

import { createInterface } from "node:readline";
import { createClient } from "redis";
import { createResumableStreamContext } from "resumable-stream";

async function connect() {
  const client = createClient({ url: process.env.REDIS_URL });
  client.on("error", () => {}); // without it, a connection that breaks ends the process
  await client.connect();
  return client;
}

const context = createResumableStreamContext({
  waitUntil: null,
  publisher: await connect(),
  subscriber: await connect(),
});

const sources = new Map();
const readers = new Map();

function makeStream(id) {
  return new ReadableStream({
    start(controller) {
      sources.set(id, controller);
    },
  });
}

// Read a stream in the background; what it is instead of a stream is the answer.
function collect(name, stream) {
  if (typeof stream?.getReader !== "function") {
    return stream === undefined ? "undefined" : stream;
  }
  const reader = { text: "", chunks: 0, error: null, wake: () => {} };
  readers.set(name, reader);
  reader.ended = (async () => {
    try {
      for await (const chunk of stream) {
        reader.text += chunk;
        reader.wake();
      }
    } catch (error) {
      reader.error = String(error);
    }
  })();
  return "stream";
}

const calls = {
  async start({ method, id, skip, name }) {
    return collect(name ?? id, await context[method](id, () => makeStream(id), skip));
  },
  async resume({ id, skip, name }) {
    return collect(name, await context.resumeExistingStream(id, skip));
  },
  has({ id }) {
    return context.hasExistingStream(id);
  },
  // Add a chunk, and return when the producer has taken it.
  async chunk({ id, text }) {
    const reader = readers.get(id);
    const length = reader.text.length + text.length;
    sources.get(id).enqueue(text);
    while (reader.text.length < length) {
      await new Promise((resolve) => (reader.wake = resolve));
    }
    return length;
  },
  end({ id }) {
    sources.get(id).close();
  },
  async until({ name, length }) {
    const reader = readers.get(name);
    while (reader.text.length < length) {
      await new Promise((resolve) => (reader.wake = resolve));
    }
    return reader.text;
  },
  async whole({ name }) {
    const reader = readers.get(name);
    await reader.ended;
    readers.delete(name);
    return { text: reader.text, error: reader.error };
  },
};

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  const [name, parameters] = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await calls[name](parameters)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
