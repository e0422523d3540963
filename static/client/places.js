// @ts-check
/** What tabs share: locks, a channel, and places (`PlaceOptions` in types.d.ts). */

import { since } from "./http.js";

/** @import { Hold, OpenChannel, PlaceOptions } from "./types.js" */

const PLACES = 3;
const TURN_MS = 1000;
const PATIENCE_MS = 3000;
const HUNG_MS = 10_000;

export class Place {
  name = "";
  #takenAt = 0;
  /** @type {BroadcastChannel | undefined} */ #channel;
  #options;
  /** @type {AbortController[]} */ #claims = [];
  #timer = 0;

  /** @param {PlaceOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Who shows nothing new leaves them to others for a while. */
  take(isUrgent = this.#options.isBusy()) {
    if (this.name || this.#claims.length > 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#claim(), isUrgent ? 0 : PATIENCE_MS);
  }

  leave() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.name = "";
    for (const claim of this.#claims.splice(0)) claim.abort();
  }

  #claim(steal = false) {
    // Who does not answer is suspended.
    this.#timer = setTimeout(() => {
      this.leave();
      this.#claim(!document.hidden);
    }, HUNG_MS);
    this.#channel = channel(`${this.#options.scope} places`, () => this.#asked());
    this.#claims = Array.from({ length: PLACES }, () => new AbortController());
    this.#claims.forEach(({ signal }, at, claims) => {
      const name = `${this.#options.scope} place ${at}`;
      const onHeld = () => {
        if (this.name) return;
        claims.forEach((other) => other.signal === signal || other.abort());
        this.name = name;
        this.#takenAt = Date.now();
        this.#options.onTake();
        this.#asked();
      };
      void hold(name, { signal, steal: steal && at === 0, onHeld, onLost: () => this.#yield() });
    });
    this.#channel?.postMessage("want");
  }

  #asked() {
    if (!this.name) return;
    const turn = document.hidden ? 0 : TURN_MS * (1 + Math.random() / 5);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      async () => {
        if ((await isWanted(this.name)) && this.name) this.#yield();
      },
      turn - since(this.#takenAt),
    );
  }

  #yield() {
    this.#options.onYield();
    this.leave();
    if (!document.hidden) this.take();
  }
}

/** Plain HTTP beyond loopback has no locks. @type {() => LockManager | undefined} */
const native = () => globalThis.BroadcastChannel && navigator.locks;

/** @type {OpenChannel} */
export function channel(name, hear) {
  try {
    const found = new BroadcastChannel(name);
    found.onmessage = ({ data }) => hear(data);
    return found;
  } catch {
    return undefined;
  }
}

/** @type {Hold} */
export async function hold(name, { signal, steal, onHeld, onLost }) {
  const locks = native();
  if (!locks) return onHeld();
  const whileHeld = () =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve(null);
      signal.addEventListener("abort", resolve);
      onHeld();
    });
  await locks.request(name, steal ? { steal } : { signal }, whileHeld).catch(({ name: why }) => {
    if (!signal.aborted) (why === "AbortError" ? onLost : onHeld)();
  });
}

async function isWanted(name = "") {
  const found = await native()?.query();
  return found ? found.pending?.some((one) => one.name === name) : document.hidden;
}
