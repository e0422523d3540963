// @ts-check
/**
 * One SSE stream that comes back. The only place that knows `EventSource`, cursors and attempts.
 *
 * The browser reconnects by itself after a cut, with `Last-Event-ID`, as the server's `retry:` says. It gives up
 * for good on any answer but 200, and it never slows down; then this class closes it and opens a new one from the
 * last cursor, later each time. `onRefused` is the moment to find out whether there is anything to come back to.
 */

/** @typedef {import("./types.js").Status} Status */
/** @typedef {import("./types.js").AgUiEvent} AgUiEvent */

/**
 * @typedef {object} StreamOptions
 * @property {(cursor: string) => string} url
 * @property {(event: AgUiEvent) => void} onEvent
 * @property {(status: Status) => void} onStatus
 * @property {() => void} onRefused the stream did not open, or not again; it will try unless it is closed
 */

const NATIVE_ATTEMPTS = 3;
const STABLE_MS = 5000;
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;

/**
 * Return the wait before attempt `attempt` (0, 1, …): doubling, with jitter, so that tabs do not come in step.
 * @param {number} attempt
 * @param {number} [random] in [0, 1)
 * @returns {number} milliseconds
 */
export function delayMs(attempt, random = Math.random()) {
  const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return Math.round(ceiling * (0.5 + random / 2));
}

/**
 * Return the address of a session's stream, from `cursor` on ("" for a snapshot).
 * @param {string} sessionId
 * @param {string} cursor
 * @returns {string}
 */
export function sessionStreamUrl(sessionId, cursor) {
  const query = new URLSearchParams({ session_id: sessionId });
  if (cursor) query.set("last_event_id", cursor);
  return `api/chat/stream?${query}`;
}

/**
 * Say whether position `cursor` is known to stand before `other`. Positions of different logs have no order.
 * @param {string} cursor
 * @param {string} other
 * @returns {boolean}
 */
export function isBehind(cursor, other) {
  const [epoch, seq] = splitCursor(cursor);
  const [otherEpoch, otherSeq] = splitCursor(other);
  return epoch !== "" && epoch === otherEpoch && seq < otherSeq;
}

/** @param {string} cursor @returns {[string, number]} */
function splitCursor(cursor) {
  const match = /^([a-z0-9]+)-(\d+)$/.exec(cursor);
  return match ? [String(match[1]), Number(match[2])] : ["", 0];
}

/** One stream and its comings back; `close` ends it for good until the next `open`. */
export class EventStream {
  /** @type {StreamOptions} */ #options;
  /** @type {EventSource | null} */ #source = null;
  #timer = 0;
  #cursor = "";
  #attempt = 0;
  #openedAt = 0;
  #heardAt = 0;

  /** @param {StreamOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** The last position that arrived whole. @returns {string} */
  get cursor() {
    return this.#cursor;
  }

  /** When the last event arrived or the stream opened, in ms since the epoch. @returns {number} */
  get heardAt() {
    return this.#heardAt;
  }

  /** Open, or open again, now. @param {string} [cursor] from where; by default from where it stands */
  open(cursor = this.#cursor) {
    this.#drop();
    this.#cursor = cursor;
    this.#heardAt = Date.now();
    this.#options.onStatus({ phase: this.#attempt > 0 ? "reconnecting" : "connecting" });
    const source = new EventSource(this.#options.url(cursor));
    source.onopen = () => this.#opened();
    source.onmessage = (message) => this.#received(message);
    source.onerror = () => this.#failed(source);
    this.#source = source;
  }

  /** End it, now. Idempotent. @param {string} [cursor] where the next `open` begins; by default where it stands */
  close(cursor = this.#cursor) {
    this.#drop();
    this.#cursor = cursor;
    this.#attempt = 0;
    this.#options.onStatus({ phase: "idle" });
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
    this.#openedAt = 0;
  }

  #opened() {
    this.#openedAt = this.#heardAt = Date.now();
    this.#options.onStatus({ phase: "live" });
  }

  /** @param {MessageEvent<string>} message */
  #received(message) {
    this.#heardAt = Date.now();
    // Frames of a snapshot but the last have no id: the position stays where it was until it is whole.
    if (message.lastEventId) this.#cursor = message.lastEventId;
    this.#options.onEvent(JSON.parse(message.data));
  }

  /** @param {EventSource} source */
  #failed(source) {
    if (source !== this.#source) return;
    if (this.#openedAt > 0 && Date.now() - this.#openedAt > STABLE_MS) this.#attempt = 0;
    this.#openedAt = 0;
    this.#attempt += 1;
    if (source.readyState === EventSource.CONNECTING && this.#attempt <= NATIVE_ATTEMPTS) {
      this.#options.onStatus({ phase: "reconnecting" });
      return;
    }
    this.#drop();
    const wait = delayMs(this.#attempt - 1);
    this.#timer = setTimeout(() => this.open(), wait);
    this.#options.onStatus({ phase: "waiting", until: Date.now() + wait });
    this.#options.onRefused();
  }
}
