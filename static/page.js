// @ts-check
/**
 * What is on the page: draws the chat and its frame from what the controllers hold, at most once per frame.
 */

import { titleOf } from "./list.js";
import { byId } from "./dom.js";
import { isBehind } from "./stream.js";

/** @typedef {import("./chat.js").Chat} Chat */
/** @typedef {import("./types.js").Outgoing} Outgoing */
/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Status} Status */

/**
 * Return a function that calls `draw` before the next paint, however often it is called until then.
 * @param {() => void} draw
 * @returns {() => void}
 */
export function oncePerFrame(draw) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      draw();
    });
  };
}

/**
 * Return the ids of sent messages that the session shows by itself now.
 * @param {Chat} chat
 * @param {Outgoing[]} outgoing
 * @returns {string[]}
 */
export function arrived(chat, outgoing) {
  if (outgoing.length === 0) return [];
  const { messages, shared } = chat.state;
  const known = new Set([...messages.map(({ id }) => id), ...shared.queue.map(({ message_id }) => message_id)]);
  const isPassed = (/** @type {string} */ cursor) => chat.cursor === cursor || isBehind(cursor, chat.cursor);
  return outgoing
    .filter(({ message_id, phase, cursor }) => known.has(message_id) || (phase === "accepted" && isPassed(cursor)))
    .map(({ message_id }) => message_id);
}

/**
 * Return what to say about the connection, and how it looks.
 * @param {Status} status
 * @param {number} now
 * @returns {{ text: string, look: "good" | "busy" | "bad" | "none", canRetry: boolean }}
 */
export function describeStatus(status, now) {
  switch (status.phase) {
    case "live":
      return { text: "Live", look: "good", canRetry: false };
    case "connecting":
      return { text: "Connecting …", look: "busy", canRetry: false };
    case "reconnecting":
      return { text: "Reconnecting …", look: "busy", canRetry: false };
    case "waiting":
      return {
        text: `Reconnecting in ${Math.max(0, Math.ceil((status.until - now) / 1000))} s`,
        look: "bad",
        canRetry: true,
      };
    case "ended":
      return { text: "Ended", look: "none", canRetry: false };
    default:
      return { text: "", look: "none", canRetry: false };
  }
}

/**
 * Draw the header and what stands in the place of a transcript that is not there.
 * @param {Chat} chat
 * @param {{ isDraft: boolean, hasOutgoing: boolean, listed: Session | undefined, now: number }} view
 */
export function drawFrame(chat, { isDraft, hasOutgoing, listed, now }) {
  const { session, run } = chat.state.shared;
  const title = chat.problem && !session ? "No such session" : titleOf(session ?? listed);
  const isEmpty = chat.state.messages.length === 0 && !hasOutgoing;
  setText("title", isDraft ? "New chat" : title);
  document.title = isDraft ? "Sessionstream" : `${run ? "● " : ""}${title} – Sessionstream`;
  byId("session-tools").hidden = isDraft || !session || chat.problem !== null;
  byId("export").setAttribute("href", `api/sessions/${encodeURIComponent(chat.sessionId)}/export?format=markdown`);
  byId("loading").hidden = !(chat.isLoading && isEmpty);
  byId("welcome").hidden = !isEmpty || chat.isLoading || chat.problem !== null;
  byId("problem").hidden = chat.problem === null || hasOutgoing;
  setText("problem-title", isEmpty ? "This session is not here" : "This session has ended");
  setText("problem-detail", chat.problem?.detail ?? "");
  drawStatus(chat.status, now);
}

/** @param {Status} status @param {number} now */
function drawStatus(status, now) {
  const { text, look, canRetry } = describeStatus(status, now);
  setText("status-text", text);
  byId("status").dataset.look = look;
  byId("retry").hidden = !canRetry;
}

/** @param {string} id @param {string} text */
function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
