// The chat: turns questions into answers that are followed, and survives a reload, because the
// address names the last answer and the server knows the rest.

import { Answer } from "./answer.js";
import { render } from "./markdown.js";
import { show } from "./status.js";

const REDRAW = 40; // Milliseconds between two drawings of a growing answer.
const byId = (id) => document.getElementById(id);
const [turns, composer, prompt, send, problem] = ["turns", "composer", "prompt", "send", "problem"].map(byId);
const answerPath = (id) => `api/chats/${encodeURIComponent(id)}`;

let latest = null; // The Answer at the end of the conversation.
let timer = null;
const outdated = new Set();

// For tests and for the curious at the console.
window.demo = {
  get text() { return latest?.text ?? ""; },
  get ids() { return latest?.ids ?? []; },
  get state() { return latest?.state ?? "idle"; },
  get outcome() { return latest?.outcome ?? null; },
  get error() { return latest?.error ?? null; },
  get gaps() { return latest?.gaps ?? []; },
  get resets() { return latest?.resets ?? []; },
  get received() { return latest?.received ?? 0; },
  get reconnects() { return latest?.reconnects ?? 0; },
  get id() { return latest?.id ?? null; },
};

function changed(answer) {
  outdated.add(answer);
  if (answer.state !== "live") draw();
  else timer ??= setTimeout(draw, REDRAW);
}

function draw() {
  clearTimeout(timer);
  timer = null;
  const atBottom = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 60;
  for (const answer of outdated) drawAnswer(answer);
  outdated.clear();
  show(latest);
  send.disabled = Boolean(latest?.running);
  if (atBottom) turns.scrollTop = turns.scrollHeight;
}

function drawAnswer(answer) {
  const { body, foot, article } = answer.view;
  const shown = body.children;
  // One block of text for each part, and a mark wherever something is missing between them.
  answer.parts.forEach(({ missing, text }, index) => {
    if (!shown[2 * index]) {
      if (missing) body.append(gapMark(missing));
      body.append(document.createElement("div"));
    }
    render(shown[2 * index], text);
  });
  while (shown.length > 2 * answer.parts.length - 1) body.lastElementChild.remove();
  article.setAttribute("aria-busy", String(answer.running));
  article.dataset.state = answer.state;
  article.dataset.outcome = answer.outcome ?? "";
  foot.textContent = footnote(answer);
  foot.hidden = !foot.textContent;
}

function gapMark(reason) {
  const mark = document.createElement("p");
  mark.className = "gap";
  mark.dataset.testid = "gap";
  mark.textContent = `A part is missing here (${reason})`;
  return mark;
}

function footnote({ state, outcome, error }) {
  if (state === "gone") return "The answer breaks off: the server no longer knows it.";
  if (outcome === "stopped") return "Stopped here.";
  if (outcome === "lost") return "The answer breaks off: its producer was lost.";
  if (outcome === "failed") return `The answer breaks off: ${error ?? "its source failed"}.`;
  return "";
}

function element(tag, className, testid, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (testid) node.dataset.testid = testid;
  node.append(...children);
  return node;
}

function addTurn(id, question, known) {
  byId("welcome").hidden = true;
  if (latest) for (const node of turns.querySelectorAll("[data-testid]")) delete node.dataset.testid;
  const answer = new Answer(id, known, changed);
  const body = element("div", "answer", "answer");
  const foot = element("p", "foot", "footnote");
  const article = element("article", "reply", null, body, foot);
  article.setAttribute("aria-label", "Answer");
  answer.view = { article, body, foot };
  turns.append(element("p", "question", "question", question), article);
  turns.scrollTop = turns.scrollHeight;
  latest = answer;
  changed(answer);
  answer.follow();
}

async function ask(question) {
  send.disabled = true;
  problem.hidden = true;
  try {
    const response = await fetch("api/chats", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ prompt: question, previous: latest?.id }),
    });
    if (!response.ok) throw new Error(await response.text());
    const { id } = await response.json();
    prompt.value = "";
    fit();
    history.pushState(null, "", `#${id}`);
    byId("second-tab").href = location.href;
    addTurn(id, question, null);
  } catch (error) {
    send.disabled = false;
    complain(error);
  }
}

function complain(error) {
  // A fetch that gets no answer throws a TypeError.
  problem.textContent = error instanceof TypeError ? "The server cannot be reached." : error.message;
  problem.hidden = false;
}

// Walk back from the answer in the address to the conversation's beginning.
async function restore() {
  let id = location.hash.slice(1);
  if (!id) return;
  byId("second-tab").href = location.href;
  const found = [];
  while (id) {
    const response = await fetch(answerPath(id));
    if (!response.ok) {
      if (!found.length) complain(new Error("The server no longer keeps this conversation."));
      break;
    }
    const known = await response.json();
    found.unshift(known);
    id = known.previous;
  }
  for (const known of found) addTurn(known.id, known.prompt, known);
}

function fit() {
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

async function tell(action) {
  const answer = latest;
  try {
    const response = await fetch(`${answerPath(answer.id)}/${action}`, { method: "POST" });
    if (action === "unplug" && response.ok) {
      const { cut } = await response.json();
      answer.note({ kind: "plug", text: `the server cut ${cut} connection${cut === 1 ? "" : "s"}` });
    }
  } catch (error) {
    complain(error);
  }
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const question = prompt.value.trim();
  if (question && !send.disabled) ask(question);
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
prompt.addEventListener("input", fit);
for (const button of document.querySelectorAll(".suggestion")) {
  button.addEventListener("click", () => ask(button.textContent));
}
byId("unplug").addEventListener("click", () => tell("unplug"));
byId("stop").addEventListener("click", () => tell("stop"));
byId("reload").addEventListener("click", () => location.reload());
window.addEventListener("popstate", () => location.reload());

byId("story").open = matchMedia("(min-width: 60rem)").matches;
fetch("api")
  .then((response) => response.json())
  .then(({ answers }) => (byId("about").textContent = answers))
  .catch(() => {});
show(null);
restore().catch(complain);
