// Scenarios with npm `ai`: the transport and the chat that `useChat` consists of, without React.

import assert from "node:assert/strict";
import {
  AbstractChat,
  DefaultChatTransport,
  parseJsonEventStream,
  readUIMessageStream,
  uiMessageChunkSchema,
} from "ai";

const user = (text) => ({ id: "u1", role: "user", parts: [{ type: "text", text }] });
const textOf = (message) =>
  (message?.parts ?? []).filter((part) => part.type === "text").map((part) => part.text).join("");

// Browsers say "network error" where a body breaks off, Node says "terminated".
async function fetchAsBrowsers(...args) {
  const response = await fetch(...args);
  if (!response.body) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        controller.error(error.name === "AbortError" ? error : new TypeError("network error"));
      }
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => (this.messages = this.messages.with(index, message));
  snapshot = (value) => structuredClone(value);
}

class Chat extends AbstractChat {
  constructor(url, id, { messages = [], transport = {}, ...rest } = {}) {
    const finished = [];
    const state = Object.assign(new State(), { messages });
    super({
      id,
      state,
      transport: new DefaultChatTransport({
        api: `${url}/api/chat`,
        fetch: fetchAsBrowsers,
        ...transport,
      }),
      onFinish: ({ isAbort, isDisconnect, isError }) =>
        finished.push({ isAbort, isDisconnect, isError }),
      ...rest,
    });
    this.finished = finished;
  }

  get seen() {
    return {
      status: this.status,
      error: this.error?.message ?? null,
      text: textOf(this.messages.at(-1)),
      roles: this.messages.map((message) => message.role),
      ids: this.messages.map((message) => message.id),
      finished: [...this.finished],
    };
  }
}

async function until(condition, what) {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const look = async (url, id) => (await fetch(`${url}/chats/${id}`)).json();
const started = (url, id) => until(async () => (await look(url, id)).chunks !== null, "it starts");
const post = (url, body) => fetch(url, { method: "POST", body });
const send = (chat, kind, cut) =>
  chat.sendMessage({ text: kind }, cut ? { headers: { "x-cut": String(cut) } } : undefined);

export async function ask(url, id, kind) {
  const chat = new Chat(url, id);
  await send(chat, kind);
  return chat.seen;
}

/** The line breaks twice; the chat resumes as `useChat` does when the page is seen again. */
export async function dropTwice(url, id, cuts) {
  const chat = new Chat(url, id);
  const sending = send(chat, "tap", cuts[0]);
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "one two three four five six seven eight nine ten ");
  await post(`${url}/chats/${id}/give`, "eleven ");
  await sending;
  const dropped = chat.seen;
  const resumed = chat.resumeStream({ headers: { "x-cut": String(cuts[1]) } });
  await post(`${url}/chats/${id}/give`, "twelve ");
  await resumed;
  const again = chat.seen;
  const last = chat["~resumeStreamIfDisconnected"]();
  await until(() => chat.status === "streaming", "it is resumed"); // Over, it would not be.
  await post(`${url}/chats/${id}/give`, "end");
  await post(`${url}/chats/${id}/give`, "");
  await last;
  return { dropped, again, whole: chat.seen };
}

/** The line breaks, and the answer is over before the client comes back. */
export async function finishedMeanwhile(url, id, cursor) {
  const transport = cursor && {
    prepareReconnectToStreamRequest: ({ api, id }) => ({
      api: `${api}/${encodeURIComponent(id)}/stream?startIndex=0`,
    }),
  };
  const chat = new Chat(url, id, { transport: transport ?? {} });
  await send(chat, "story", 400);
  const dropped = chat.seen;
  await until(
    async () => (await look(url, id)).outcome === "done",
    "the answer is done",
  );
  await chat.resumeStream();
  return { dropped, resumed: chat.seen };
}

/** A page that is opened for a chat in some state. */
export async function open(url, id, messages = []) {
  const chat = new Chat(url, id, { messages });
  await chat.resumeStream();
  return chat.seen;
}

export async function twoTabs(url, id) {
  const first = new Chat(url, id);
  const sending = send(first, "tap");
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "grüße, ");
  await until(() => textOf(first.lastMessage) === "grüße, ", "the first tab has a part");
  const second = new Chat(url, id, { messages: first.messages.slice(0, 1) });
  const resuming = second.resumeStream();
  await until(() => textOf(second.lastMessage) === "grüße, ", "the second tab has it, too");
  await post(`${url}/chats/${id}/give`, "東京 👩‍🚀");
  await post(`${url}/chats/${id}/give`, "");
  await Promise.all([sending, resuming]);
  return [first.seen, second.seen];
}

/** Two processes share a store; the one that produces is killed. */
export async function killed(url, id, other, pid) {
  const first = new Chat(url, id);
  const second = new Chat(other, id);
  const sending = send(first, "tap");
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "half an ");
  await until(() => textOf(first.lastMessage) === "half an ", "the first page has a part");
  const resuming = second.resumeStream();
  await until(() => textOf(second.lastMessage) === "half an ", "the second page has it, too");
  process.kill(pid, "SIGKILL");
  await Promise.all([sending, resuming]);
  const later = new Chat(other, id, { messages: second.messages });
  await later.resumeStream();
  await send(later, "story"); // The chat goes on.
  return { first: first.seen, second: second.seen, later: later.seen };
}

/** `stop()` only closes the connection; the answer is stopped by the application's own request. */
export async function stop(url, id) {
  const chat = new Chat(url, id);
  const other = new Chat(url, id);
  const sending = send(chat, "tap");
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "some");
  await until(() => textOf(chat.lastMessage) === "some", "a part is there");
  const chunks = readChunks(await fetch(`${url}/api/chat/${id}/stream`));
  await chat.stop();
  await sending;
  const left = await look(url, id);
  await post(`${url}/chats/${id}/stop`);
  await other.resumeStream();
  return { chat: chat.seen, left, chunks: await chunks, other: other.seen };
}

/** A question while the answer to the one before still goes on. */
export async function askAgain(url, id) {
  const first = new Chat(url, id);
  const sending = send(first, "tap");
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "some");
  await until(() => textOf(first.lastMessage) === "some", "a part is there");
  const second = new Chat(url, id);
  await send(second, "story");
  await sending;
  return { first: first.seen, second: second.seen };
}

async function readChunks(response) {
  const stream = parseJsonEventStream({ stream: response.body, schema: uiMessageChunkSchema });
  const chunks = [];
  for await (const chunk of stream) {
    if (!chunk.success) throw chunk.error;
    chunks.push(chunk.value);
  }
  return chunks;
}

/** Every chunk passes the schema, and makes a message. */
export async function everything(url, id) {
  const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
  const stream = await transport.sendMessages({ chatId: id, messages: [user("everything")], trigger: "submit-message" });
  let message;
  for await (const next of readUIMessageStream({ stream, terminateOnError: true })) message = next;
  const replay = await fetch(`${url}/api/chat/${id}/stream?startIndex=0`);
  return { message, chunks: await readChunks(replay) };
}

export { look as lookAt };

/** What the transport is told, without a chat around it. */
export async function reconnect(url, id) {
  const transport = new DefaultChatTransport({ api: `${url}/api/chat` });
  return (await transport.reconnectToStream({ chatId: id })) === null ? "nothing" : "a stream";
}

/** The server is told to stop while an answer goes on. */
export async function drain(url, id, pid) {
  const chat = new Chat(url, id);
  const sending = send(chat, "tap");
  await started(url, id);
  await post(`${url}/chats/${id}/give`, "some");
  await until(() => textOf(chat.lastMessage) === "some", "a part is there");
  process.kill(pid, "SIGTERM");
  await sending;
  return chat.seen;
}
