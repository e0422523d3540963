// @ts-check
/** One stream for all tabs: one leads, and tells the others (`Said` in types.d.ts). */

import { ApiError, persist, since, sleep } from "./http.js";
import { channel, hold, Place } from "./places.js";
import { EventStream, isBehind } from "./stream.js";

/** @import { AgUiEvent, FeedOptions, Said, Status } from "./types.js" */

const TICK_MS = 5000;
const SUSPENDED_MS = 30_000;
const SILENCE_MS = 45_000;
const ANSWER_MS = 2000;

/** @template T */
export class Feed {
  /** @type {T} */ state;
  /** @type {Status} */ status = { phase: "idle" };
  isLoaded = false;
  cursor = "";
  /** @type {FeedOptions<T>} */ #options;
  #stream;
  #place;
  /** @type {BroadcastChannel | undefined} */ #channel;
  /** While it is open. @type {AbortController | undefined} */ #life;
  /** In the queue for the lead, or with it. @type {AbortController | undefined} */ #seat;
  #leads = false;
  #heardAt = 0;
  #tickedAt = 0;
  #patience = 0;

  /** @param {FeedOptions<T>} options */
  constructor(options) {
    this.#options = options;
    this.state = options.empty;
    this.#stream = new EventStream({
      ...options,
      url: () => options.url(this.cursor),
      onStatus: (status) => this.#show(status),
      onEvent: (event, id) => {
        const cursor = id || this.cursor;
        this.#say({ type: "event", event, cursor, prev: this.cursor });
        this.#apply(event, cursor);
      },
    });
    this.#place = new Place({
      ...options,
      onTake: () => this.#stream.open(),
      onYield: () => this.#stream.close(),
      isBusy: () => this.#isBusy,
    });
  }

  open() {
    if (this.#life) return;
    const { scope, name } = this.#options;
    this.#channel = channel(`${scope} ${name}`, (said) => this.#heard(said));
    const { signal } = (this.#life = new AbortController());
    const ticker = setInterval(() => this.#tick(), TICK_MS);
    signal.addEventListener("abort", () => clearInterval(ticker));
    for (const type of ["visibilitychange", "online", "freeze", "resume", "pagehide", "pageshow"]) {
      window.addEventListener(type, () => this.#look(type), { signal, capture: true });
    }
    this.#tickedAt = Date.now();
    this.#show({ phase: "connecting" });
    this.#join();
  }

  close() {
    this.#life?.abort();
    this.#leave();
    this.#channel?.close();
    this.#life = this.#channel = undefined;
    this.#show({ phase: "idle" });
  }

  wake() {
    if (!this.#life || document.hidden || this.status.phase === "ended") return;
    this.#stream.close();
    if (this.#leads && this.isLoaded) return this.#connect();
    if (this.#leads) this.#leave();
    this.#join();
  }

  /** What had ended is there again. */
  reload() {
    this.isLoaded = false;
    this.cursor = "";
    this.#show({ phase: "connecting" });
    this.#join();
  }

  /** @param {T} state */
  set(state) {
    this.state = state;
    this.#options.onChange();
  }

  /** Who does not get where the server is has a dead connection. */
  expect(cursor = "") {
    if (!this.#leads) return this.#ask(cursor);
    if (this.#isDown) this.#connect();
    setTimeout(() => {
      if (this.#leads && isBehind(this.cursor, cursor) && this.status.phase === "live") this.wake();
    }, TICK_MS);
  }

  get #isBusy() {
    return this.#options.isBusy?.(this.state) ?? false;
  }

  get #isDown() {
    return /failed|waiting/.test(this.status.phase) || (this.isLoaded && !this.#stream.isOpen);
  }

  #join(steal = false) {
    this.#ask();
    if (document.hidden || this.#seat) return;
    const { signal } = (this.#seat = new AbortController());
    const onLost = () => {
      this.#leave();
      this.#join();
    };
    const { scope, name } = this.#options;
    void hold(`${scope} ${name}`, { signal, steal, onLost, onHeld: () => void this.#lead(signal) });
  }

  #leave() {
    this.#calm();
    this.#leads = false;
    this.#stream.close();
    this.#place.leave();
    this.#seat?.abort();
    this.#seat = undefined;
  }

  /** @param {AbortSignal} signal */
  async #lead(signal) {
    this.#leads = true;
    this.#calm();
    const { load } = this.#options;
    try {
      const loaded =
        load &&
        !this.isLoaded &&
        (await persist(load, this.#options, async (ms, { problem }) => {
          this.#show({ phase: "waiting", until: Date.now() + ms, reason: problem });
          await sleep(ms);
          return !signal.aborted;
        }));
      if (signal.aborted) return;
      if (loaded) this.#take(loaded.state, loaded.cursor);
      this.#tell(Boolean(loaded));
      this.#connect();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!signal.aborted) this.#show({ phase: error.gone ? "ended" : "failed", reason: error.problem });
    }
  }

  #connect() {
    if (!this.#options.sharesPlaces || this.#place.name) this.#stream.open();
    else this.#place.take(true);
  }

  /** @param {Said} said */
  #say(said) {
    this.#channel?.postMessage(said);
  }

  #tell(isAll = false) {
    const { state, cursor, status } = this;
    const whole = isAll && this.isLoaded && { state };
    this.#say({ type: "status", cursor, status, isHidden: document.hidden, ...whole });
  }

  #ask(expected = "") {
    if (this.#leads || (this.#patience && !expected)) return;
    this.#say({ type: "hello", cursor: this.cursor, expected, isVisible: !document.hidden });
    // A leader that does not answer is suspended.
    this.#patience ||= setTimeout(
      () => {
        this.#patience = 0;
        if (!this.#seat) return;
        this.#leave();
        this.#join(true);
      },
      ANSWER_MS * (1 + Math.random() / 2),
    );
  }

  #calm() {
    clearTimeout(this.#patience);
    this.#patience = 0;
  }

  /** @param {Said} said */
  #heard(said) {
    if (said.type === "hello") {
      if (this.#leads) this.#tell(!said.cursor || said.cursor !== this.cursor);
      if (this.#leads && said.expected) this.expect(said.expected);
      return said.isVisible && document.hidden && this.#leave();
    }
    if (this.#leads) return;
    this.#heardAt = Date.now();
    // A leader that was suspended may be behind: it catches up.
    const isNews = said.cursor !== this.cursor && !isBehind(said.cursor, this.cursor);
    if (said.type === "event") {
      if (this.status.phase === "ended") this.reload();
      else if (said.prev === this.cursor) this.#apply(said.event, said.cursor);
      else if (isNews) this.#ask();
      return;
    }
    this.#calm();
    const isWhole = "state" in said;
    if (isWhole && (isNews || !said.cursor)) this.#take(said.state, said.cursor);
    if ((isNews && said.cursor && !isWhole) || (said.isHidden && !document.hidden)) this.#ask();
    if (this.status.phase !== "ended") this.#show(said.status);
  }

  /** @param {AgUiEvent} event @param {string} cursor */
  #apply(event, cursor) {
    const { endOf, fold } = this.#options;
    this.cursor = cursor;
    const reason = endOf?.(event);
    if (reason) return this.#show({ phase: "ended", reason });
    try {
      this.isLoaded = true;
      this.set(fold(this.state, event));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.cursor = "";
      if (this.#leads) this.#stream.open();
      else this.#ask();
    }
  }

  /** @param {T} state @param {string} cursor */
  #take(state, cursor) {
    this.cursor = cursor;
    this.isLoaded = true;
    this.set(state);
  }

  /** @param {Status} status */
  #show(status) {
    // To take a place again is nothing to tell.
    if (status.phase === "connecting" && /live|connecting/.test(this.status.phase)) return;
    this.status = status;
    if (this.#leads) this.#tell();
    if (status.phase === "ended") this.#leave();
    this.#options.onChange();
  }

  #look(type = "") {
    // Put aside, it would keep others from what it does not use.
    if (/freeze|pagehide/.test(type) || (document.hidden && !this.#leads)) this.#leave();
    else if (document.hidden) this.#tell();
    else if (!this.#leads) this.#join();
    else if (type === "online" || this.#isDown || since(this.#stream.heardAt) > SUSPENDED_MS) this.wake();
  }

  /** After a jump of the clock, connections only look open. */
  #tick() {
    const hasJumped = since(this.#tickedAt) > SUSPENDED_MS;
    const isSilent = this.#stream.isOpen && since(this.#stream.heardAt) > SILENCE_MS;
    const isOdd = isSilent && (this.#isBusy || this.status.phase !== "live");
    this.#tickedAt = Date.now();
    if (hasJumped || (this.#leads && isOdd && /live|connecting/.test(this.status.phase))) this.wake();
    else if (!document.hidden && since(this.#heardAt) > (this.#isBusy ? TICK_MS : SUSPENDED_MS)) this.#ask();
  }
}
