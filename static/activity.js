// @ts-check
/**
 * When something was last said in each chat. The server counts it as activity, too, when somebody leaves a chat, so that
 * it does not expire behind them; a list whose order changes because one has looked would be no help.
 */

import { keep, recall } from "./kept.js";

/** @typedef {import("./client/types.js").Session} Session */
/** @typedef {Record<string, Session>} Sessions */
/** @typedef {{ count: number, time: string, isRunning: boolean }} Known */

const NAME = "activity";

/** Remembers, in this browser. */
export class Activity {
  /** @type {Record<string, Known>} */ #known = recall(NAME, {});
  /** @type {Sessions | null} */ #given = null;
  /** @type {Sessions | null} */ #made = null;

  /**
   * Return the list with the times at which something was said.
   * @param {Sessions | null} sessions
   * @returns {Sessions | null}
   */
  of(sessions) {
    if (sessions === this.#given) return this.#made;
    this.#given = sessions;
    this.#made = sessions && this.#timed(sessions);
    return this.#made;
  }

  /** @param {Sessions} sessions @returns {Sessions} */
  #timed(sessions) {
    const all = Object.entries(sessions).map(([id, session]) => [id, this.#look(id, session)]);
    this.#known = Object.fromEntries(all);
    keep(NAME, this.#known);
    const timed = Object.entries(sessions).map(([id, session]) => [
      id,
      { ...session, last_activity: this.#known[id]?.time ?? session.last_activity },
    ]);
    return Object.fromEntries(timed);
  }

  /** @param {string} id @param {Session} session @returns {Known} */
  #look(id, { message_count: count = 0, last_activity, created_at, run }) {
    const time = last_activity ?? created_at ?? "";
    const before = Object.hasOwn(this.#known, id) ? this.#known[id] : undefined;
    const isSame = before?.count === count && !before.isRunning && !run;
    return { count, time: isSame ? before.time : time, isRunning: Boolean(run) };
  }
}
