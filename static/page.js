// @ts-check
/**
 * The frame of a conversation: its title, the connection, and what stands in the place of messages.
 */

import { byId } from "./dom.js";
import { plain, titleOf } from "./list.js";
import { worded } from "./setup.js";

/** @typedef {import("./client/types.js").Problem} Problem */
/** @typedef {import("./client/types.js").Session} Session */
/** @typedef {import("./connection.js").Shown} Shown */

/**
 * @typedef {object} Frame
 * @property {Session | null} session
 * @property {boolean} isKnown the server knows of it
 * @property {boolean} isDraft nobody knows of the session yet
 * @property {boolean} isEmpty nothing is said in it, and nothing on its way
 * @property {boolean} isLoading
 * @property {boolean} isRunning
 * @property {boolean} isDoomed it is about to be deleted, and that can be taken back
 * @property {Problem | null} problem
 * @property {Shown} connection
 * @property {number} now
 */

const SOON_MS = 10 * 60_000;
const MINUTE_MS = 60_000;

/**
 * Return a function that calls `draw` before the next paint, however often it is called until then.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function oncePerFrame(draw) {
  let isWaiting = false;
  const now = () => {
    if (!isWaiting) return;
    isWaiting = false;
    draw();
  };
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(now);
    // A hidden page has no frames: it is drawn now and then, for its title and for who comes back to it.
    if (document.hidden) setTimeout(now, 500);
  };
}

/** @param {Frame} frame */
export function drawFrame(frame) {
  drawTitle(frame);
  drawConnection(frame.connection);
  const { isKnown, isEmpty, isLoading, isDraft, isDoomed, problem } = frame;
  const hasProblem = problem !== null || isDoomed;
  byId("session-menu").hidden = isDraft || hasProblem || !isKnown;
  byId("loading").hidden = !(isLoading && isEmpty) || hasProblem;
  byId("welcome").hidden = !isEmpty || isLoading || hasProblem;
  byId("setup").hidden = !isDraft;
  byId("problem").hidden = !hasProblem;
  byId("messages").classList.toggle("gone", isDoomed);
  drawProblem(frame);
}

/** @param {Frame} frame */
function drawTitle({ session, isDraft, isRunning, problem, now }) {
  const title = isDraft ? "New chat" : problem && !session ? "No such chat" : titleOf(session);
  setText("title", title);
  document.title = isDraft ? "Sessionstream" : `${isRunning ? "● " : ""}${plain(title)} – Sessionstream`;
  const about = [session?.agent, session?.persona].filter(Boolean).map((name) => worded(String(name)));
  const subtitle = byId("subtitle");
  subtitle.hidden = isDraft || about.length === 0;
  setText("subtitle", about.join(" · "));
  const left = Date.parse(session?.expires_at ?? "") - now;
  const isSoon = !isDraft && !problem && !isRunning && left < SOON_MS;
  byId("expiry").hidden = !isSoon;
  if (isSoon) setText("expiry", expiryText(left));
}

/**
 * Say when a chat expires.
 * @param {number} left ms
 * @returns {string}
 */
export function expiryText(left) {
  const minutes = Math.ceil(left / MINUTE_MS);
  if (minutes <= 1) return "Expires within a minute: write to keep it";
  return `Expires in ${minutes} min: write to keep it`;
}

/** @param {Shown} shown */
function drawConnection({ status, text, banner }) {
  byId("connection").dataset.status = status;
  setText("connection-text", text);
  byId("banner").hidden = banner === "";
  setText("banner-text", banner);
}

/** @param {Frame} frame */
function drawProblem({ problem, isDoomed, isEmpty }) {
  byId("problem-undo").hidden = !isDoomed;
  if (isDoomed) {
    setText("problem-title", "This chat was deleted");
    return setText("problem-detail", "It can be taken back for a few seconds.");
  }
  if (!problem) return;
  const [title, detail] = WORDS[problem.code] ?? ["This chat cannot be opened", problem.detail];
  setText("problem-title", title);
  setText("problem-new", isEmpty ? "Start a new chat" : "Go on in a new chat");
  setText("problem-detail", isEmpty ? detail : `${detail} What you see is still yours to read and copy.`);
}

/** What became of a session, by code. @type {Record<string, [string, string]>} */
const WORDS = {
  session_expired: [
    "This chat has expired",
    "Nothing was said in it for longer than this server keeps a conversation.",
  ],
  session_deleted: ["This chat was deleted", "It was deleted here or on another device."],
  session_not_found: ["This chat is not here", "It may have been deleted long ago, or it belongs to somebody else."],
};

/** @param {string} id @param {string} text */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
