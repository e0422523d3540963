// @ts-check
/**
 * Messages on their way. A text stays here, and in the tab's storage, until the server has taken it and the page
 * shows it from there: a lost network, a restarted server or a reload repeat the POST under the same `message_id`,
 * which the server answers with the same run. Per session one at a time, in order.
 */

import { api, ApiError, newId } from "./api.js";
import { delayMs } from "./stream.js";

/** @typedef {import("./types.js").Outgoing} Outgoing */

const STORAGE_KEY = "sessionstream.outbox";

/** The outbox of this tab. */
export class Outbox {
  /** @type {Outgoing[]} */ #items = [];
  /** @type {Map<string, number>} */ #attempts = new Map();
  /** @type {(item: Outgoing) => void} */ #onAccepted;
  /** @type {() => void} */ #onChange;

  /**
   * @param {{ onAccepted: (item: Outgoing) => void, onChange: () => void }} listeners
   */
  constructor({ onAccepted, onChange }) {
    this.#onAccepted = onAccepted;
    this.#onChange = onChange;
  }

  /** Take up what a reload of the page left. */
  restore() {
    this.#items = stored().map((item) => ({
      ...item,
      phase: item.phase === "accepted" ? "accepted" : "waiting",
      until: 0,
    }));
    for (const { session_id } of this.#items) this.#sendNext(session_id);
  }

  /** @param {string} sessionId @returns {Outgoing[]} */
  of(sessionId) {
    return this.#items.filter((item) => item.session_id === sessionId);
  }

  /** @param {string} sessionId @param {string} text */
  add(sessionId, text) {
    const item = { message_id: newId(), session_id: sessionId, text, detail: "", until: 0, cursor: "" };
    this.#items = [...this.#items, { ...item, phase: "waiting" }];
    this.#changed();
    this.#sendNext(sessionId);
  }

  /** Try a refused or waiting message now. @param {string} messageId */
  retry(messageId) {
    const item = this.#items.find((one) => one.message_id === messageId);
    if (!item || item.phase === "sending" || item.phase === "accepted") return;
    this.#update(messageId, { phase: "waiting", until: 0, detail: "" });
    this.#sendNext(item.session_id);
  }

  /** Try everything that waits now: the network is back. */
  retryAll() {
    for (const { message_id, phase } of this.#items) if (phase === "waiting") this.retry(message_id);
  }

  /** Forget messages, because they are shown from elsewhere or were given up. @param {string[]} messageIds */
  remove(messageIds) {
    const gone = this.#items.filter((item) => messageIds.includes(item.message_id));
    if (gone.length === 0) return;
    this.#items = this.#items.filter((item) => !gone.includes(item));
    this.#changed();
    for (const { session_id } of gone) this.#sendNext(session_id);
  }

  /** @param {string} sessionId */
  #sendNext(sessionId) {
    const next = this.of(sessionId).find((item) => item.phase !== "accepted");
    if (next?.phase === "waiting" && next.until <= Date.now()) void this.#send(next);
  }

  /** @param {Outgoing} item */
  async #send({ message_id, session_id, text }) {
    this.#update(message_id, { phase: "sending" });
    try {
      const { cursor } = await api.chat({ message: text, session_id, message_id });
      const accepted = this.#update(message_id, { phase: "accepted", cursor, detail: "" });
      if (accepted) this.#onAccepted(accepted);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#failed(message_id, session_id, error);
      return;
    }
    this.#sendNext(session_id);
  }

  /** @param {string} messageId @param {string} sessionId @param {ApiError} error */
  #failed(messageId, sessionId, error) {
    if (!error.retryable) {
      this.#update(messageId, { phase: "refused", detail: error.message });
      return;
    }
    const attempt = this.#attempts.get(messageId) ?? 0;
    this.#attempts.set(messageId, attempt + 1);
    const wait = Math.max(delayMs(attempt), error.retryAfterMs);
    this.#update(messageId, { phase: "waiting", detail: error.message, until: Date.now() + wait });
    setTimeout(() => this.#sendNext(sessionId), wait + 1);
  }

  /** @param {string} messageId @param {Partial<Outgoing>} change @returns {Outgoing | undefined} */
  #update(messageId, change) {
    this.#items = this.#items.map((item) => (item.message_id === messageId ? { ...item, ...change } : item));
    this.#changed();
    return this.#items.find((item) => item.message_id === messageId);
  }

  #changed() {
    try {
      sessionStorage.setItem(STORAGE_KEY, JSON.stringify(this.#items));
    } catch {
      // Storage is full or forbidden: the messages still live as long as the page.
    }
    this.#onChange();
  }
}

/** @returns {Outgoing[]} */
function stored() {
  try {
    const items = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "[]");
    return Array.isArray(items) ? items : [];
  } catch {
    return [];
  }
}
