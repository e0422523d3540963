// @ts-check
/**
 * The caller's list of sessions, kept by one tab for all: the leading tab follows the stream and shares what it sees.
 */

import { foldList } from "./list.js";
import { EventStream } from "./stream.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").AgUiEvent} AgUiEvent */

/** The list of sessions; `onChange` tells that it changed here, `onShare` that other tabs should know. */
export class Sessions {
  /** @type {Record<string, Session> | null} null until they are known */ all = null;
  #onChange;
  #onShare;
  #stream = new EventStream({
    url: () => "api/sessions/stream",
    onEvent: (event) => this.#received(event),
    onStatus: () => undefined,
    onRefused: () => undefined,
  });

  /** @param {{ onChange: () => void, onShare: (all: Record<string, Session>) => void }} listeners */
  constructor({ onChange, onShare }) {
    this.#onChange = onChange;
    this.#onShare = onShare;
  }

  /** Follow the list. */
  follow() {
    this.#stream.open("");
  }

  /** Leave it to another tab. */
  leave() {
    this.#stream.close();
  }

  /** Take what another tab, or an answer of the server, says. @param {Record<string, Session>} all */
  take(all) {
    this.all = all;
    this.#onChange();
  }

  /** @param {Session} session */
  put(session) {
    if (this.all) this.take({ ...this.all, [session.session_id]: { ...this.all[session.session_id], ...session } });
  }

  /** @param {AgUiEvent} event */
  #received(event) {
    try {
      const { sessions } = foldList({ sessions: this.all ?? {} }, event);
      if (sessions === this.all || (this.all === null && event.type !== "STATE_SNAPSHOT")) return;
      this.take(sessions);
      this.#onShare(sessions);
    } catch (error) {
      // We have lost the thread (an own change ran ahead of the stream, say): a snapshot sets it right.
      if (!(error instanceof TypeError)) throw error;
      this.#stream.open("");
    }
  }
}
