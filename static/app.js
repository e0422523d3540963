// @ts-check
/**
 * Wiring: what a person does on the page, what the server tells, and who of the views and nouns hears of it.
 */

import { attempt, deleteWithUndo, enableImport } from "./actions.js";
import { Activity } from "./activity.js";
import { api } from "./api.js";
import { enableMessageActions } from "./clicks.js";
import { sleep } from "./client/http.js";
import { ChatManager } from "./client/index.js";
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { Deletions } from "./deletions.js";
import { byId } from "./dom.js";
import { enableKeys } from "./keys.js";
import { Lanes } from "./lanes.js";
import { openSession, titleOf } from "./list.js";
import { enableMenu, openMenu } from "./menu.js";
import { chatMenu, settingsMenu } from "./menus.js";
import { watchPace } from "./pace.js";
import { drawFrame, oncePerFrame } from "./page.js";
import { Place } from "./place.js";
import { Queue } from "./queue.js";
import { drawn } from "./rendering.js";
import { Replies } from "./replies.js";
import { Saying } from "./saying.js";
import { SessionList } from "./session_list.js";
import { Setup } from "./setup.js";
import { enableCitations, enableCopying, makeDrawer } from "./shell.js";
import { Sidebar } from "./sidebar.js";
import { editTitle } from "./title.js";
import { complain } from "./toast.js";
import { Transcript } from "./transcript.js";
import { Unread } from "./unread.js";
import { versionOf } from "./versions.js";

/** @typedef {import("./client/types.js").Session} Session */

const TICK_MS = 1000;
/** How long an answer waits for its parser: shown without, it would change under the reader's eyes. */
const PARSER_MS = 2000;
const hasKeyboard = matchMedia("(hover: hover)");

const draw = oncePerFrame(drawPage);
const chat = new ChatManager();
const place = new Place(chat);
const sessions = new SessionList();
const activity = new Activity();
const connection = new Connection();
const transcript = new Transcript();
const unread = new Unread(draw);
const lanes = new Lanes();
const replies = new Replies(chat, {
  onChange: (problem) => {
    if (problem) complain(problem);
    draw();
  },
  onGiven: () => void (hasKeyboard.matches && composer.focus()),
});
const deletions = new Deletions({
  onChange: draw,
  onFailed: (title, why) => complain(`“${title}” was not deleted. ${why}`),
});
const sidebar = new Sidebar({
  onRename: rename,
  onDelete: remove,
  onMenu: (session, button) => {
    const onRename = () => sidebar.rename(session.session_id);
    openMenu(button, titleOf(session), chatMenu(session, { onRename, onDelete: () => remove(session) }));
  },
  isUnread: (session) => unread.has(session),
  isHidden: ({ session_id }) => deletions.has(session_id),
});
const composer = new Composer({
  onSend: (text) => void saying.send(text),
  onResend: (id, text) => saying.resend(id, text),
  onStop: () => saying.stop(),
  onEditLast: () => saying.editLast(),
});
const queue = new Queue({
  onEdit: (id, message) => void saying.change("Not changed", id, { message }),
  onMove: (id, position) => void saying.change("Not moved", id, { position }),
  onRemove: (id) => void saying.unqueue(id),
  onNow: (id) => void saying.sendNow(id),
});
const setup = new Setup({ onAsk: (text) => void saying.send(text), onReady: () => composer.focus() });
const saying = new Saying({ chat, place, composer, setup, onSaid });
const drawer = makeDrawer();
const imports = enableImport((session) => open(session.session_id));

/** Messages whose earlier versions are shown, by the id that the versions share. */
let expanded = /** @type {ReadonlySet<string>} */ (new Set());
let isConnected = false;

function drawPage() {
  const now = Date.now();
  const { view } = chat;
  const { run, queue: waiting } = view.shared;
  const { direct: outgoing, queued } = lanes.part(chat.outgoing, run !== null || waiting.length > 0);
  const isStopping = chat.run?.status === "stopping";
  const isDoomed = deletions.has(place.id);
  const all = activity.of(sessions.all);
  const listed = all?.[place.id] ?? null;
  const session = openedSession(listed);
  const status = place.isDraft ? sessions.connection : chat.connection;
  if (session && listed && !document.hidden) unread.see(session);
  transcript.render({
    sessionId: place.id,
    view,
    outgoing,
    isStopping,
    canEdit: !isDoomed && !chat.problem,
    answering: replies.sending,
    expanded,
    now,
  });
  drawFrame({
    session,
    isKnown: view.shared.session !== null,
    isDraft: place.isDraft,
    isEmpty: view.messages.length === 0 && outgoing.length === 0,
    isLoading: chat.isLoading || !(isConnected || place.isDraft),
    isRunning: run !== null,
    isDoomed,
    problem: chat.problem,
    connection: connection.look(status, now, navigator.onLine),
    now,
  });
  queue.render(waiting, queued, now);
  composer.render({ isRunning: run !== null, isStopping, isEnded: isDoomed || chat.problem !== null });
  const isListed = all !== null && session !== null && chat.problem === null;
  sidebar.render(isListed ? { ...all, [place.id]: session } : all, place.id);
}

/** What is known of the open chat, by whoever knows it first. @param {Session | null} listed @returns {Session | null} */
function openedSession(listed) {
  const { session, run } = chat.state;
  if (chat.isLoading || chat.problem) return listed ?? session;
  const text = chat.outgoing.find(({ phase }) => phase !== "refused")?.text ?? "";
  return openSession(place.id, listed, { session, run, count: chat.view.messages.length, text });
}

// --- where we are

function route() {
  drawer.close();
  place.enter();
  composer.moveTo(place.isDraft ? "new" : place.id);
  if (place.isDraft) setup.draw(sessions.all !== null && Object.keys(sessions.all).length === 0);
  expanded = new Set();
  transcript.follow();
  drawPage();
  // A title that is being edited (the double click also opens the session) keeps the focus.
  if (hasKeyboard.matches && !document.querySelector(".editing")) composer.focus();
}

/** @param {string} id empty: a new chat */
function open(id) {
  place.visit(id);
  route();
}

const startNew = () => open("");

/** Go on where this chat ended: as the same persona, with what was typed. */
function goOn() {
  const { session } = chat.state;
  const typed = composer.text;
  setup.prefer(session);
  startNew();
  if (typed) composer.restore(typed);
}

/** @param {1 | -1} step */
function stepTo(step) {
  const id = sidebar.neighbour(step);
  if (id) open(id);
}

/** Whoever says something wants to see it. */
function onSaid() {
  transcript.follow();
  drawPage();
}

// --- what is done to chats

/** @param {Session} session @param {string} title */
function rename(session, title) {
  sessions.put({ ...session, title });
  void attempt("Not renamed", () => api.rename(session.session_id, title)).then((saved) =>
    sessions.put(saved ?? session),
  );
}

/** @param {Session} session */
function remove(session) {
  const { session_id: id } = session;
  const wasOpen = id === place.id;
  deleteWithUndo(deletions, session, () => wasOpen && open(id));
  if (wasOpen) startNew();
}

function openChatMenu() {
  const { session } = chat.state;
  if (!session) return;
  const edit = () => editTitle(byId("title-place"), titleOf(session), (title) => rename(session, title));
  const items = chatMenu(session, { onRename: edit, onDelete: () => remove(session) });
  openMenu(byId("session-menu"), titleOf(session), items);
}

function openSettings() {
  openMenu(byId("more"), "Settings", settingsMenu({ onImport: imports.choose }));
}

// --- what is clicked

/** Show or hide the earlier versions of a message. @param {string} id */
function toggleVersions(id) {
  const { root } = versionOf(id);
  expanded = new Set(expanded.has(root) ? [...expanded].filter((one) => one !== root) : [...expanded, root]);
  draw();
}

/** Close what is open, else stop the answer. */
function onEscape() {
  if (!composer.cancelEdit() && !drawer.close()) saying.stop();
}

function wire() {
  const messages = byId("messages");
  for (const area of [messages, byId("queue")]) {
    enableMessageActions(area, chat, {
      onTakenBack: (text) => composer.restore(text),
      onEdit: (id) => saying.editLast(id),
      onAgain: (id, text) => saying.resend(id, text),
      onVersions: toggleVersions,
      onQuestion: (button) => replies.clicked(button),
    });
  }
  enableCopying(messages);
  enableCitations(messages);
  enableMenu();
  enableKeys({
    onNew: startNew,
    onSearch: () => {
      drawer.open();
      sidebar.focusSearch();
    },
    onFocus: () => composer.focus(),
    onStep: stepTo,
    onEscape,
  });
  const clicks = /** @type {const} */ ([
    ["new", startNew],
    ["new-small", startNew],
    ["more", openSettings],
    ["session-menu", openChatMenu],
    ["retry", () => (chat.wake(), sessions.wake())],
    ["problem-new", goOn],
    ["problem-undo", () => deletions.undo(place.id)],
    ["skip", () => composer.focus()],
  ]);
  for (const [id, listener] of clicks) byId(id).addEventListener("click", listener);
  window.addEventListener("hashchange", route);
  document.addEventListener("visibilitychange", draw);
  setInterval(draw, TICK_MS);
}

function start() {
  watchPace();
  wire();
  chat.on("change", draw);
  sessions.on("connection", draw);
  sessions.on("sessions", (all) => {
    unread.know(all);
    if (place.isDraft) setup.draw(Object.keys(all).length === 0);
    draw();
  });
  place.restore();
  route();
  sessions.connect();
  void Promise.race([drawn(), sleep(PARSER_MS)]).then(() => {
    isConnected = true;
    void chat.connect();
  });
  void setup.load();
}

start();
