// @ts-check
/**
 * Wiring: routes (`#/` a new chat, `#/s/<session_id>` a session), what a person does, and who is told of it.
 */

import { api, ApiError, newId } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { titleOf } from "./list.js";
import { textOf } from "./answer.js";
import { Outbox } from "./outbox.js";
import { arrived, drawFrame, oncePerFrame } from "./page.js";
import { Presence } from "./presence.js";
import { Sessions } from "./sessions.js";
import { confirmDelete, enableCitations, enableCopying, makeDrawer, toast } from "./shell.js";
import { Sidebar } from "./sidebar.js";
import { editTitle } from "./title.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./types.js").Session} Session */

const TICK_MS = 1000;
const hasKeyboard = matchMedia("(hover: hover)");

let currentId = newId();
let isDraft = true;
let stoppingRunId = "";

const draw = oncePerFrame(drawPage);
const chat = new Chat(draw);
const outbox = new Outbox({ onAccepted, onChange: draw });
const sessions = new Sessions({ onChange: draw, onShare: (all) => presence.share(all) });
const sidebar = new Sidebar({ onRename: rename, onDelete: (session) => void remove(session) });
const transcript = new Transcript();
const composer = new Composer({ onSend: send, onStop: () => void stop() });
const drawer = makeDrawer();
const presence = new Presence({
  onWake: () => {
    chat.resume();
    outbox.retryAll();
  },
  onSleep: () => chat.pause(),
  onLead: () => sessions.follow(),
  onFollow: () => sessions.leave(),
  onShared: (all) => sessions.take(all),
});

function drawPage() {
  outbox.remove(arrived(chat, outbox.of(currentId)));
  const outgoing = outbox.of(currentId);
  const now = Date.now();
  const { run } = chat.state.shared;
  if (run?.run_id !== stoppingRunId) stoppingRunId = "";
  transcript.render(chat.state, outgoing, now);
  drawFrame(chat, { isDraft, hasOutgoing: outgoing.length > 0, listed: sessions.all?.[currentId], now });
  composer.render({
    isRunning: run !== null,
    isStopping: stoppingRunId !== "",
    isEnded: chat.problem !== null && outgoing.length === 0,
  });
  sidebar.render(sessions.all, currentId);
}

function route() {
  const match = /^#\/s\/([^/]+)$/.exec(location.hash);
  const id = match ? decodeURIComponent(String(match[1])) : "";
  isDraft = id === "";
  currentId = id || newId();
  drawer.close();
  composer.moveTo(isDraft ? "new" : currentId);
  if (isDraft) chat.leave();
  else void chat.enter(currentId);
  transcript.follow();
  // A title that is being edited (the double click also opens the session) keeps the focus.
  if (hasKeyboard.matches && !document.querySelector(".editing")) composer.focus();
  draw();
}

/** @param {string} text */
function send(text) {
  if (isDraft) {
    // The address at once, the session when the server has it: a reload in between finds the message in the outbox.
    isDraft = false;
    history.replaceState(null, "", `#/s/${currentId}`);
    composer.moveTo(currentId);
  }
  outbox.add(currentId, text);
  transcript.follow();
}

/** @param {import("./types.js").Outgoing} item */
function onAccepted({ session_id, cursor }) {
  if (session_id !== currentId) return;
  if (chat.sessionId === currentId && !chat.problem) chat.expect(cursor);
  else void chat.enter(currentId, cursor);
}

async function stop() {
  const { run } = chat.state.shared;
  if (!run || stoppingRunId) return;
  stoppingRunId = run.run_id;
  draw();
  const isDone = await attempt("Not stopped", () => api.interrupt({ session_id: chat.sessionId, run_id: run.run_id }));
  if (isDone === null) stoppingRunId = "";
  draw();
}

/** @param {Session} session @param {string} title */
function rename(session, title) {
  sessions.put({ ...session, title });
  void attempt("Not renamed", () => api.rename(session.session_id, title)).then((saved) =>
    sessions.put(saved ?? session),
  );
}

/** @param {Session} session */
async function remove(session) {
  const id = session.session_id;
  if (!(await confirmDelete(titleOf(session)))) return;
  if ((await attempt("Not deleted", () => api.remove(id))) === null) return;
  sidebar.searchAgain();
  if (id === currentId) location.hash = "#/";
}

/**
 * Do something that the server may refuse, and say so; null when it did.
 * @template T
 * @param {string} failure
 * @param {() => Promise<T>} action
 * @returns {Promise<T | null>}
 */
async function attempt(failure, action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(`${failure}. ${error.message}`);
    return null;
  }
}

/** @param {MouseEvent} event */
function onMessageAction(event) {
  const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
  if (!(button instanceof HTMLElement)) return;
  const id = button.dataset.id ?? "";
  const outgoing = outbox.of(currentId).find((item) => item.message_id === id);
  const question = chat.state.messages.findLast(({ role }) => role === "user");
  switch (button.dataset.action) {
    case "resend":
      return outbox.retry(id);
    case "edit":
      outbox.remove([id]);
      // It may have arrived after all: then it must not start.
      void api.interrupt({ session_id: currentId, message_id: id }).catch(() => undefined);
      return outgoing && composer.edit(outgoing.text);
    case "unqueue":
      return void attempt("Not removed", () => api.unqueue(currentId, id));
    case "again":
      return question && send(textOf(question.content));
  }
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
  if (!drawer.close()) void stop();
}

function wire() {
  const messages = byId("messages");
  messages.addEventListener("click", onMessageAction);
  enableCopying(messages);
  enableCitations(messages);
  byId("new").addEventListener("click", () => (isDraft ? route() : (location.hash = "#/")));
  byId("problem-new").addEventListener("click", () => (location.hash = "#/"));
  byId("retry").addEventListener("click", () => chat.resume());
  byId("skip").addEventListener("click", () => composer.focus());
  byId("welcome").addEventListener("click", ({ target }) => {
    const example = /** @type {HTMLElement} */ (target).closest("[data-example]");
    if (example) send(example.textContent ?? "");
  });
  byId("rename").addEventListener("click", () => {
    const { session } = chat.state.shared;
    if (session) editTitle(byId("title-place"), titleOf(session), (title) => rename(session, title));
  });
  byId("delete").addEventListener("click", () => chat.state.shared.session && void remove(chat.state.shared.session));
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", route);
  window.addEventListener("offline", () => toast("You are offline. What you send is kept until the network is back."));
  setInterval(draw, TICK_MS);
}

wire();
presence.start();
outbox.restore();
route();
