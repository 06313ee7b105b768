// The page: asks, shows the answer as it comes, opens the sources it names. Plain modules, nothing from elsewhere.

import { answerChunks, getJson, useKey } from "./api.js";
import { Exchange } from "./answer.js";
import { element } from "./dom.js";
import { Panel } from "./panel.js";

const byId = (id) => document.getElementById(id);
const [form, question, send, stop] = ["composer", "question", "send", "stop"].map(byId);
const [thread, empty, welcome, status] = ["thread", "empty", "welcome", "status"].map(byId);
const [collection, strategy, scroller] = ["collection", "strategy", "main"].map(byId);
const [lock, key] = ["lock", "key"].map(byId);
const panel = new Panel(byId("room"));

const STRATEGIES = {
  rag: "Found passages",
  stuffed: "Whole documents",
  extractive: "Verbatim sentences",
  base: "Model alone",
  router: "Passages, else documents",
};

const WELCOME = welcome.textContent;
let running = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(question.value);
});
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
question.addEventListener("input", grow);
stop.addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") panel.close();
});

document.addEventListener("keyneeded", () => {
  lock.hidden = false;
  key.focus();
});
lock.addEventListener("submit", (event) => {
  event.preventDefault();
  if (key.value.trim() === "") return;
  useKey(key.value);
  key.value = "";
  lock.hidden = true;
  welcome.textContent = WELCOME;
  fill();
});

async function ask(words) {
  const text = words.trim();
  if (text === "" || running !== null) return;
  running = new AbortController();
  const { signal } = running;
  const exchange = new Exchange(text, (source, button) => panel.open(source, button), ask);
  empty.hidden = true;
  thread.append(exchange.item);
  question.value = "";
  grow();
  toggle(true);
  exchange.item.scrollIntoView({ block: "start" });
  say("Reading the documents.");
  try {
    const request = { model: strategy.value || undefined, collection: collection.value || undefined };
    const messages = [{ role: "user", content: text }];
    for await (const chunk of answerChunks({ ...request, messages }, signal)) {
      const following = atBottom();
      const choice = chunk.choices[0];
      if (choice?.delta.content) exchange.add(choice.delta.content);
      if (chunk.domainqa) say(exchange.finish(chunk.domainqa, choice.finish_reason));
      if (following) scroller.scrollTop = scroller.scrollHeight;
    }
  } catch (error) {
    say(signal.aborted ? exchange.stopped() : exchange.failed(error.message));
  } finally {
    running = null;
    toggle(false);
    // The pressed button is gone and took the focus along; whoever is elsewhere by now is left there.
    if (document.activeElement === document.body) question.focus({ preventScroll: true });
  }
}

function toggle(busy) {
  send.hidden = busy;
  stop.hidden = !busy;
}

function say(text) {
  status.textContent = text;
}

// Follow the text while it grows, unless the reader has scrolled away from its end.
function atBottom() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
}

function grow() {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight, 200)}px`;
}

async function fill() {
  try {
    const [models, collections] = await Promise.all([getJson("v1/models"), getJson("v1/collections")]);
    strategy.replaceChildren(...models.data.map(({ id }) => element("option", { value: id }, strategyName(id))));
    collection.replaceChildren(...collections.data.map(({ name }) => element("option", { value: name }, name)));
    const names = collections.data.map(({ name }) => name);
    if (names.includes("default")) collection.value = "default";
    if (names.length === 0) {
      welcome.textContent = "There are no documents yet. Add some with “domainqa ingest FOLDER”, then load this page again.";
      collection.append(element("option", { value: "" }, "none yet"));
    }
  } catch (error) {
    welcome.replaceChildren(element("span", { class: "note error", role: "alert" }, error.message));
  }
}

function strategyName(id) {
  const [name, adapter] = id.split("@");
  const words = STRATEGIES[name] ?? name;
  return adapter === undefined ? words : `${words}, ${adapter}`;
}

fill();
