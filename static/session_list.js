// @ts-check
/** The caller's sessions, live: the fold of the list stream, over one connection for all tabs. */

import { Emitter } from "./client/emitter.js";
import { Feed } from "./client/feed.js";
import { Server } from "./client/http.js";
import { applyPatch } from "./client/patch.js";

/** @import { AgUiEvent, Config, ListEvents, ListState, Session } from "./client/types.js" */

/**
 * The list after `event`; what comes before a snapshot, or stands around a patch, changes nothing.
 * @template {ListState | null} T
 * @param {T} state
 * @param {AgUiEvent} event
 * @returns {T | ListState}
 */
export function foldList(state, event) {
  if (event.type === "STATE_SNAPSHOT") return { sessions: event.snapshot.sessions ?? {} };
  return state && event.type === "STATE_DELTA" ? applyPatch(state, event.delta) : state;
}

/** @extends {Emitter<ListEvents>} */
export class SessionList extends Emitter {
  /** @type {Feed<ListState | null>} */ #feed;
  #told = { state: /** @type {ListState | null} */ (null), status: {} };

  /** @param {Config} [config] */
  constructor(config = {}) {
    super();
    const server = new Server(config);
    this.#feed = new Feed({
      ...config,
      scope: server.base,
      name: "sessions",
      sharesPlaces: false,
      empty: /** @type {ListState | null} */ (null),
      fold: foldList,
      url: () => server.url("sessions/stream"),
      why: () => server.ask("GET", "sessions?limit=1"),
      onChange: () => this.#changed(),
    });
  }

  /** By their ids; null until they are known. */
  get all() {
    return this.#feed.state?.sessions ?? null;
  }

  get connection() {
    return this.#feed.status;
  }

  connect() {
    this.#feed.open();
  }

  disconnect() {
    this.#feed.close();
  }

  wake() {
    this.#feed.wake();
  }

  /** Show an own change before the server tells it. @param {Session} session */
  put(session) {
    const { session_id: id } = session;
    if (this.all) this.#feed.set({ sessions: { ...this.all, [id]: { ...this.all[id], ...session } } });
  }

  /** Show that a session is gone before the server tells it. */
  remove(sessionId = "") {
    const { [sessionId]: _, ...sessions } = this.all ?? {};
    if (this.all) this.#feed.set({ sessions });
  }

  #changed() {
    const told = this.#told;
    const { state, status } = (this.#told = { state: this.#feed.state, status: this.#feed.status });
    if (state && state !== told.state) this.emit("sessions", state.sessions);
    if (status !== told.status) this.emit("connection", this.connection);
  }
}
