// @ts-check
/**
 * Which chats have something that was not seen in this browser. What is there on the very first visit counts as seen.
 */

import { keep, onKept, recall } from "./kept.js";

/** @typedef {import("./client/types.js").Session} Session */

const NAME = "seen";
const MOST = 500;

/** How many messages of each session were seen. */
export class Unread {
  /** @type {Record<string, number> | null} */ #seen;

  /** @param {() => void} onChange another tab has seen something */
  constructor(onChange) {
    this.#seen = recall(NAME, /** @type {Record<string, number>} */ ({}));
    if (Object.keys(this.#seen).length === 0) this.#seen = null;
    onKept(NAME, () => {
      this.#seen = recall(NAME, /** @type {Record<string, number>} */ ({}));
      onChange();
    });
  }

  /** Take the list as it is; on the first visit all of it is seen. @param {Record<string, Session>} sessions */
  know(sessions) {
    if (this.#seen) return;
    this.#seen = Object.fromEntries(Object.values(sessions).map((one) => [one.session_id, one.message_count ?? 0]));
    this.#save();
  }

  /** @param {Session} session @returns {boolean} */
  has({ session_id, message_count = 0 }) {
    return this.#seen !== null && message_count > (this.#seen[session_id] ?? 0);
  }

  /** @param {Session} session all of it is seen */
  see({ session_id, message_count = 0 }) {
    if (!this.#seen || this.#seen[session_id] === message_count) return;
    // The one just seen goes to the end: those at the front are forgotten first.
    const { [session_id]: _, ...others } = this.#seen;
    this.#seen = { ...others, [session_id]: message_count };
    this.#save();
  }

  #save() {
    const all = Object.entries(this.#seen ?? {});
    if (all.length > MOST) this.#seen = Object.fromEntries(all.slice(-MOST));
    keep(NAME, this.#seen);
  }
}
