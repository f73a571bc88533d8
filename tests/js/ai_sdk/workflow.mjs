// Scenarios with npm `@ai-sdk/workflow`, whose transport counts the chunks that it has.

import { WorkflowChatTransport } from "@ai-sdk/workflow/client";

const user = (text) => ({ id: "u1", role: "user", parts: [{ type: "text", text }] });

const textOf = (chunks) =>
  chunks.filter(({ type }) => type === "text-delta").map(({ delta }) => delta).join("");

/** The transport reconnects by itself; each connection breaks after some bytes. */
function transportOver(url, id, cuts, seen) {
  return new WorkflowChatTransport({
    api: `${url}/api/chat`,
    maxConsecutiveErrors: 3,
    prepareSendMessagesRequest: ({ api, messages }) => ({ api, body: { id, messages } }),
    fetch(address, options = {}) {
      const headers = new Headers(options.headers);
      if (cuts[seen.length]) headers.set("x-cut", cuts[seen.length]);
      seen.push(new URL(address).search);
      return fetch(address, { ...options, headers });
    },
  });
}

export const nameOf = (url, id) => id;

async function read(stream) {
  const chunks = [];
  try {
    for await (const chunk of stream) chunks.push(chunk);
  } catch (error) {
    return { chunks, text: textOf(chunks), error: error.message };
  }
  return { chunks, text: textOf(chunks), error: null };
}

export async function send(url, id, kind, cuts = []) {
  console.error = () => {}; // It logs every connection that breaks.
  const requests = [];
  const transport = transportOver(url, id, cuts, requests);
  const options = { chatId: id, messages: [user(kind)], trigger: "submit-message" };
  return { ...(await read(await transport.sendMessages(options))), requests };
}

export async function resume(url, id, startIndex, cuts = []) {
  console.error = () => {};
  const requests = [];
  const transport = transportOver(url, id, cuts, requests);
  return { ...(await read(await transport.reconnectToStream({ chatId: id, startIndex }))), requests };
}
