// @ts-check
/**
 * Chats that are about to be deleted: gone from every tab at once, and from the server when nobody has taken it back in
 * time, or when the page goes.
 */

import { api, ApiError } from "./api.js";
import { keep, onKept, recall } from "./kept.js";

/** @typedef {Record<string, { title: string, until: number }>} Doomed */

const NAME = "deleting";
const LATE_MS = 15_000;

/** The deletions under way, of all tabs. */
export class Deletions {
  /** @type {Doomed} */ #doomed = recall(NAME, {});
  /** @type {Set<string>} the ones that this tab sees to */ #own = new Set();
  #onChange;
  #onFailed;

  /** @param {{ onChange: () => void, onFailed: (title: string, why: string) => void }} listeners */
  constructor({ onChange, onFailed }) {
    this.#onChange = onChange;
    this.#onFailed = onFailed;
    onKept(NAME, () => {
      this.#doomed = recall(NAME, {});
      onChange();
    });
    window.addEventListener("pagehide", () => {
      for (const id of this.#own) void this.finish(id, true);
    });
    // What a tab that crashed has left.
    for (const [id, { until }] of Object.entries(this.#doomed)) {
      if (until + LATE_MS < Date.now()) void this.finish(id);
    }
  }

  /** @param {string} id @returns {boolean} */
  has(id) {
    return Object.hasOwn(this.#doomed, id);
  }

  /** @param {string} id @param {string} title @param {number} ms until `finish` will be called */
  begin(id, title, ms) {
    this.#own.add(id);
    this.#set({ ...this.#doomed, [id]: { title, until: Date.now() + ms } });
  }

  /** Take it back, from whichever tab. @param {string} id */
  undo(id) {
    this.#own.delete(id);
    this.#forget(id);
  }

  /** Delete it now, unless it was taken back. @param {string} id @param {boolean} [isLeaving] */
  async finish(id, isLeaving = false) {
    // Another tab may have taken it back a moment ago: storage knows, before its event comes.
    const doomed = recall(NAME, /** @type {Doomed} */ ({}))[id] ?? (this.#own.has(id) && this.#doomed[id]);
    this.#own.delete(id);
    if (!doomed) return;
    try {
      await api.remove(id, isLeaving);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!error.gone) this.#onFailed(doomed.title, error.message);
    }
    this.#forget(id);
  }

  /** @param {string} id */
  #forget(id) {
    const { [id]: _, ...others } = this.#doomed;
    this.#set(others);
  }

  /** @param {Doomed} doomed */
  #set(doomed) {
    this.#doomed = doomed;
    keep(NAME, doomed);
    this.#onChange();
  }
}
