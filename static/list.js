// @ts-check
/**
 * The caller's sessions: the fold of the list stream, in the order a person expects.
 * `sessions` is what the stream (or the leading tab) said; searching asks the server and leaves it alone.
 */

import { applyPatch } from "./patch.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").AgUiEvent} AgUiEvent */
/** @typedef {{ sessions: Record<string, Session> }} ListState */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/**
 * Return the list after `event`; events of the housekeeping around a patch change nothing.
 * @param {ListState} state
 * @param {AgUiEvent} event
 * @returns {ListState}
 * @throws {TypeError} a patch does not fit: only a new snapshot helps
 */
export function foldList(state, event) {
  if (event.type === "STATE_SNAPSHOT") return { sessions: event.snapshot.sessions ?? {} };
  if (event.type === "STATE_DELTA") return applyPatch(state, event.delta);
  return state;
}

/**
 * Return the sessions of a list, latest activity first.
 * @param {Record<string, Session>} sessions
 * @returns {Session[]}
 */
export function newestFirst(sessions) {
  const time = (/** @type {Session} */ { last_activity, created_at }) => last_activity ?? created_at ?? "";
  return Object.values(sessions).sort((a, b) => (time(a) < time(b) ? 1 : time(a) > time(b) ? -1 : 0));
}

/**
 * Return how long ago something was, as short as a list needs it: "now", "5 min", "3 h", "Tue", "12 Mar", "2024".
 * @param {string | undefined} time RFC 3339
 * @param {number} [now] ms since the epoch
 * @returns {string}
 */
export function shortAge(time, now = Date.now()) {
  const then = Date.parse(time ?? "");
  if (Number.isNaN(then)) return "";
  const age = now - then;
  if (age < MINUTE_MS) return "now";
  if (age < HOUR_MS) return `${Math.floor(age / MINUTE_MS)} min`;
  if (age < DAY_MS) return `${Math.floor(age / HOUR_MS)} h`;
  const date = new Date(then);
  if (age < 6 * DAY_MS) return date.toLocaleDateString("en", { weekday: "short" });
  if (date.getFullYear() === new Date(now).getFullYear()) {
    return date.toLocaleDateString("en", { day: "numeric", month: "short" });
  }
  return String(date.getFullYear());
}

/**
 * Return what to call a session.
 * @param {Session | null | undefined} session
 * @returns {string}
 */
export function titleOf(session) {
  return session?.title?.trim() || "New chat";
}
