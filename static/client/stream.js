// @ts-check
/** An `EventSource` that asks why it was refused, and comes back, later each time. */

import { delayMs, since } from "./http.js";

/** @import { StreamOptions } from "./types.js" */

const NATIVE_ATTEMPTS = 3;
const STABLE_MS = 5000;

/** Those of different logs have no order. */
export function isBehind(cursor = "", other = "") {
  const [epoch, seq] = cursor.split("-");
  const [otherEpoch, otherSeq] = other.split("-");
  return epoch !== "" && epoch === otherEpoch && Number(seq) < Number(otherSeq);
}

export class EventStream {
  heardAt = 0;
  #options;
  /** @type {EventSource | undefined} */ #source;
  #timer = 0;
  #attempt = 0;
  #openedAt = 0;

  /** @param {StreamOptions} options */
  constructor(options) {
    this.#options = options;
  }

  get isOpen() {
    return this.#source !== undefined;
  }

  open() {
    const { url, onStatus, onEvent } = this.#options;
    this.#drop();
    this.heardAt = Date.now();
    onStatus({ phase: this.#attempt > 0 ? "reconnecting" : "connecting" });
    const source = (this.#source = new EventSource(url(), { withCredentials: true }));
    source.onopen = () => {
      this.#openedAt = this.heardAt = Date.now();
      onStatus({ phase: "live" });
    };
    source.onmessage = ({ data, lastEventId }) => {
      this.heardAt = Date.now();
      onEvent(JSON.parse(data), lastEventId);
    };
    source.onerror = () => this.#failed(source);
  }

  close() {
    this.#drop();
    this.#attempt = 0;
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
    this.#openedAt = 0;
  }

  /** @param {EventSource} source */
  async #failed(source) {
    if (source !== this.#source) return;
    const { why, onStatus, reconnectAttempts = Infinity, reconnectDelay } = this.#options;
    if (this.#openedAt > 0 && since(this.#openedAt) > STABLE_MS) this.#attempt = 0;
    this.#openedAt = 0;
    this.#attempt += 1;
    onStatus({ phase: "reconnecting" });
    const isTrying = source.readyState === EventSource.CONNECTING;
    if (isTrying && this.#attempt <= Math.min(NATIVE_ATTEMPTS, reconnectAttempts)) return;
    source.close();
    const error = await why().then(
      () => null,
      (reason) => reason,
    );
    if (source !== this.#source) return;
    const reason = error?.problem;
    if (error && !error.retryable) return onStatus({ phase: error.gone ? "ended" : "failed", reason });
    if (this.#attempt >= reconnectAttempts) return onStatus({ phase: "failed", reason });
    const wait = Math.max(delayMs(this.#attempt - 1, reconnectDelay), error?.retryAfterMs ?? 0);
    this.#timer = setTimeout(() => this.open(), wait);
    onStatus({ phase: "waiting", until: Date.now() + wait, reason });
  }
}
