// @ts-check
/**
 * The session that the page shows: loads it, follows its stream, and keeps what is shown.
 *
 * Loading asks `GET /api/state` first: a missing session is then a plain answer, and the stream starts exactly
 * behind it. A stream that the server refuses asks again, to tell an ended session from a busy server.
 */

import { api, ApiError } from "./api.js";
import { EMPTY, fold, fromAnswer } from "./fold.js";
import { EventStream, isBehind, sessionStreamUrl } from "./stream.js";

/** @typedef {import("./types.js").ChatState} ChatState */
/** @typedef {import("./types.js").Status} Status */
/** @typedef {import("./types.js").AgUiEvent} AgUiEvent */

/** @typedef {{ code: string, detail: string }} Problem */

const SILENCE_MS = 45_000;
const LATE_MS = 5000;
const RELOAD_MS = 3000;

/** At most one open session, followed after the first `resume`; `onChange` tells that something to show has changed. */
export class Chat {
  sessionId = "";
  /** @type {ChatState} */ state = EMPTY;
  /** @type {Status} */ status = { phase: "idle" };
  /** @type {Problem | null} Why there is nothing to follow (any more). */ problem = null;
  isLoading = false;
  /** @type {() => void} */ #onChange;
  /** @type {EventStream} */ #stream;
  #isPaused = true;
  #loadTimer = 0;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#stream = new EventStream({
      url: (cursor) => sessionStreamUrl(this.sessionId, cursor),
      onEvent: (event) => this.#received(event),
      onStatus: (status) => this.#show({ status }),
      onRefused: () => void this.#probe(),
    });
    setInterval(() => this.#watch(), LATE_MS);
  }

  /** The position up to which everything is shown. @returns {string} */
  get cursor() {
    return this.#stream.cursor;
  }

  /** Leave the session. */
  leave() {
    clearTimeout(this.#loadTimer);
    this.sessionId = "";
    this.#stream.close("");
    this.#show({ state: EMPTY, problem: null, isLoading: false });
  }

  /**
   * Show a session and follow it.
   * @param {string} sessionId
   * @param {string} [asked] where the question stands that brought us here
   */
  async enter(sessionId, asked = "") {
    if (this.sessionId !== sessionId) this.leave();
    clearTimeout(this.#loadTimer);
    this.sessionId = sessionId;
    this.#show({ problem: null, isLoading: true, status: { phase: "connecting" } });
    try {
      const answer = await api.state(sessionId);
      if (this.sessionId !== sessionId) return;
      const state = fromAnswer(answer);
      this.#show({ state, isLoading: false });
      // A run that ended at once, without a word: how it ended is only in the log, behind the question.
      const isUnanswered = !state.shared.run && state.messages.at(-1)?.role === "user";
      const cursor = asked && isUnanswered ? asked : answer.cursor;
      if (this.#isPaused) this.#stream.close(cursor);
      else this.#stream.open(cursor);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (this.sessionId === sessionId) this.#refused(error);
    }
  }

  /** Hold no connection until `resume`. */
  pause() {
    this.#isPaused = true;
    this.#stream.close();
  }

  /** Connect again from where it stopped, also if the connection looks alive: it may not be. */
  resume() {
    this.#isPaused = false;
    if (!this.sessionId || this.problem) return;
    if (this.#stream.cursor && !this.isLoading) this.#stream.open();
    else void this.enter(this.sessionId);
  }

  /** Say that the server is at `cursor`: a stream that does not get there soon is dead. @param {string} cursor */
  expect(cursor) {
    setTimeout(() => {
      if (isBehind(this.cursor, cursor) && this.status.phase === "live") this.resume();
    }, LATE_MS);
  }

  /** @param {Partial<Pick<Chat, "state" | "status" | "problem" | "isLoading">>} change */
  #show(change) {
    Object.assign(this, change);
    this.#onChange();
  }

  /** @param {AgUiEvent} event */
  #received(event) {
    if (event.type === "CUSTOM" && event.name === "sessionstream.session_ended") {
      const reason = event.value?.reason === "expired" ? "expired" : "deleted";
      this.#end({
        code: `session_${reason}`,
        detail: `This session ${reason === "expired" ? "has expired" : "was deleted"}.`,
      });
      return;
    }
    try {
      this.#show({ state: fold(this.state, event) });
    } catch (error) {
      // The page and the log have parted: begin again from a snapshot.
      if (!(error instanceof TypeError)) throw error;
      this.#stream.open("");
    }
  }

  /** @param {ApiError} error */
  #refused(error) {
    if (error.retryable) {
      this.#show({ status: { phase: "waiting", until: Date.now() + RELOAD_MS } });
      this.#loadTimer = setTimeout(() => void this.enter(this.sessionId), RELOAD_MS);
    } else {
      this.#end({ code: error.code, detail: error.message });
    }
  }

  /** @param {Problem} problem */
  #end(problem) {
    this.#stream.close();
    const shared = { ...this.state.shared, run: null, queue: [] };
    const phase = shared.session ? "ended" : "idle";
    this.#show({ problem, isLoading: false, status: { phase }, state: { ...this.state, shared, open: [] } });
  }

  /** Find out why the stream was refused: `EventSource` does not say. */
  async #probe() {
    const sessionId = this.sessionId;
    try {
      await api.state(sessionId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!error.retryable && this.sessionId === sessionId) this.#end({ code: error.code, detail: error.message });
    }
  }

  /** An active run that is silent for long is likely a dead connection; to ask again costs nothing. */
  #watch() {
    const isSilent = Date.now() - this.#stream.heardAt > SILENCE_MS;
    if (this.state.shared.run && this.status.phase === "live" && isSilent) this.resume();
  }
}
