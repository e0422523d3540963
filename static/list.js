// @ts-check
/**
 * The caller's sessions in the order and the words that a person expects. Pure.
 */

/** @typedef {import("./client/types.js").Session} Session */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const TITLE_CHARS = 60;
/** Characters that turn the text after them around: harmless in an element of its own, not in a window's title. */
const BIDI_CONTROLS = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

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

/**
 * Return a text without what would turn the rest of a line around.
 * @param {string} text
 * @returns {string}
 */
export function plain(text) {
  return text.replace(BIDI_CONTROLS, "");
}

/**
 * Return how many messages there are, in words.
 * @param {number | undefined} count
 * @returns {string}
 */
export function countText(count = 0) {
  return count === 1 ? "1 message" : `${count} messages`;
}

/**
 * Return the open chat as its own stream tells it, which is sooner than the list does; null while nobody knows of it.
 * @param {string} id
 * @param {Session | null} listed
 * @param {{ session: Session | null, run: import("./client/types.js").Run | null, count: number, text: string }} told
 *   `text`: the message on its way that the server will name the chat after
 * @returns {Session | null}
 */
export function openSession(id, listed, { session, run, count, text }) {
  if (!listed && !session && !text) return null;
  const title = listed?.title ?? session?.title ?? titleFrom(text);
  const created_at = new Date().toISOString();
  const message_count = Math.max(listed?.message_count ?? 0, count);
  return { session_id: id, created_at, ...session, ...listed, title, message_count, run: run && { status: "running", ...run } };
}

/**
 * Return the title that the server will make of a first message.
 * @param {string} message
 * @returns {string | null}
 */
function titleFrom(message) {
  const letters = [...message.trim().replace(/\s+/g, " ")];
  const isLong = letters.length > TITLE_CHARS;
  return (isLong ? `${letters.slice(0, TITLE_CHARS - 1).join("").trimEnd()}…` : letters.join("")) || null;
}
