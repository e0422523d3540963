// @ts-check
/** Messages under way, in order, kept over a reload. */

import { ApiError, newId, persist } from "./http.js";

/** @import { Accepted, More, Outgoing, OutboxOptions } from "./types.js" */

export class Outbox {
  /** @type {Outgoing[]} */ items;
  #options;
  /** @type {Map<string, any>} */ #resumes = new Map();
  /** @type {Map<string, any>} */ #senders = new Map();
  #cancelled = new Set();

  /** @param {OutboxOptions} options */
  constructor(options) {
    this.#options = options;
    // What was accepted is in the session.
    const kept = stored(options.key).filter(({ phase }) => phase !== "accepted");
    this.items = kept.map((one) => (one.phase === "sending" ? { ...one, phase: "waiting" } : one));
  }

  resume() {
    for (const { session_id } of this.items) this.#sendNext(session_id);
  }

  /** @param {string} session_id @param {string} text @param {More} more @returns {Promise<Accepted>} */
  add(session_id, text, { message_id = newId(), ...more }) {
    return new Promise((resolve, reject) => {
      this.#senders.set(message_id, { resolve, reject });
      const item = { message_id, session_id, text, more, detail: "", until: 0, cursor: "" };
      this.#set([...this.items, { ...item, phase: "waiting" }]);
      this.#sendNext(session_id);
    });
  }

  retry(messageId = "") {
    const item = this.items.find((one) => one.message_id === messageId);
    if (item?.phase === "refused") {
      this.#update(messageId, { phase: "waiting" });
      this.#sendNext(item.session_id);
    }
    this.#resumes.get(messageId)?.(true);
  }

  retryAll() {
    for (const resume of this.#resumes.values()) resume(true);
  }

  cancel(messageId = "") {
    this.#cancelled.add(messageId);
    this.#resumes.get(messageId)?.(true);
    this.remove(({ message_id }) => message_id === messageId);
  }

  /** @param {(item: Outgoing) => boolean} isGone */
  remove(isGone) {
    const gone = this.items.filter(isGone);
    if (gone.length === 0) return;
    this.#set(this.items.filter((item) => !gone.includes(item)));
    for (const { session_id } of gone) this.#sendNext(session_id);
  }

  #sendNext(sessionId = "") {
    const next = this.items.find((item) => item.session_id === sessionId && /waiting|sending/.test(item.phase));
    if (next?.phase === "waiting" && !this.#resumes.has(next.message_id)) void this.#send(next);
  }

  /** @param {Outgoing} item */
  async #send({ message_id, session_id, text, more }) {
    const { post, onAccepted } = this.#options;
    const sender = this.#senders.get(message_id);
    const ask = () => {
      this.#update(message_id, { phase: "sending" });
      return post({ on_busy: "queue", ...more, message: text, session_id, message_id });
    };
    try {
      const answer = await persist(ask, this.#options, async (ms, { message: detail }) => {
        this.#update(message_id, { phase: "waiting", detail, until: Date.now() + ms });
        await new Promise((resolve) => {
          this.#resumes.set(message_id, resolve);
          setTimeout(resolve, this.#cancelled.has(message_id) ? 0 : ms);
        });
        this.#resumes.delete(message_id);
        return !this.#cancelled.has(message_id);
      });
      const accepted = this.#update(message_id, { phase: "accepted", cursor: answer.cursor, detail: "" });
      sender?.resolve(answer);
      if (accepted) onAccepted(accepted);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#update(message_id, { phase: "refused", detail: error.message });
      sender?.reject(error);
    }
    this.#sendNext(session_id);
  }

  /** @param {string} id @param {Partial<Outgoing>} change */
  #update(id, change) {
    this.#set(this.items.map((item) => (item.message_id === id ? { ...item, ...change } : item)));
    return this.items.find((item) => item.message_id === id);
  }

  /** @param {Outgoing[]} items */
  #set(items) {
    this.items = items;
    try {
      sessionStorage.setItem(this.#options.key, JSON.stringify(items));
    } catch {
      // Full or forbidden: kept as long as the page.
    }
    this.#options.onChange();
  }
}

/** @returns {Outgoing[]} */
function stored(key = "") {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? "[]");
  } catch {
    return [];
  }
}
