// @ts-check
/**
 * Who of several tabs may hold connections. HTTP/1.1 gives an origin six, and every stream takes one for good.
 *
 * The tab used last *leads*: it alone follows the session list, and tells the others what it sees. A hidden tab
 * *sleeps* (holds nothing) after a minute, or as soon as another tab takes the lead; it wakes when it is seen again.
 * So any number of hidden tabs cost nothing, and a visible one costs one stream, the leader two.
 */

const SLEEP_AFTER_MS = 60_000;
const TICK_MS = 10_000;
const SUSPENDED_MS = 30_000;

/**
 * @typedef {object} PresenceOptions
 * @property {() => void} onSleep give up all connections
 * @property {() => void} onWake take them again, or replace them: what was open may be dead
 * @property {() => void} onLead follow the session list
 * @property {() => void} onFollow leave the session list to another tab
 * @property {(data: any) => void} onShared what the leader shared
 */

/** The presence of this tab among its siblings, from `start` to the end of the page. */
export class Presence {
  /** @type {PresenceOptions} */ #options;
  #channel = new BroadcastChannel("sessionstream");
  #leads = false;
  #sleeps = true;
  #sleepTimer = 0;
  #lastTick = Date.now();

  /** @param {PresenceOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Whether this tab holds no connections. @returns {boolean} */
  get sleeps() {
    return this.#sleeps;
  }

  /** Begin. A tab that was opened in the background sleeps until it is looked at. */
  start() {
    this.#channel.onmessage = ({ data }) => this.#heard(data);
    document.addEventListener("visibilitychange", () => this.#seen(!document.hidden));
    window.addEventListener("focus", () => this.#lead());
    window.addEventListener("online", () => this.#sleeps || this.#options.onWake());
    window.addEventListener("pagehide", () => this.#sleep());
    window.addEventListener("pageshow", ({ persisted }) => persisted && this.#seen(true));
    setInterval(() => this.#tick(), TICK_MS);
    this.#seen(!document.hidden);
  }

  /** Give what the leader knows to the other tabs. @param {unknown} shared */
  share(shared) {
    if (this.#leads) this.#channel.postMessage({ type: "shared", shared });
  }

  /** @param {boolean} isVisible */
  #seen(isVisible) {
    clearTimeout(this.#sleepTimer);
    if (!isVisible) {
      this.#sleepTimer = setTimeout(() => this.#sleep(), SLEEP_AFTER_MS);
      return;
    }
    if (this.#sleeps) {
      this.#sleeps = false;
      this.#options.onWake();
    }
    this.#lead();
  }

  #lead() {
    if (this.#leads || this.#sleeps) return;
    this.#leads = true;
    this.#channel.postMessage({ type: "leads" });
    this.#options.onLead();
  }

  #sleep() {
    if (this.#sleeps) return;
    this.#sleeps = true;
    if (this.#leads) this.#channel.postMessage({ type: "left" });
    this.#follow();
    this.#options.onSleep();
  }

  #follow() {
    if (!this.#leads) return;
    this.#leads = false;
    this.#options.onFollow();
  }

  /** @param {{ type: string, shared?: unknown }} data */
  #heard(data) {
    if (data.type === "shared") {
      if (!this.#leads) this.#options.onShared(data.shared);
    } else if (data.type === "leads") {
      this.#follow();
      if (document.hidden) this.#sleep();
    } else if (!document.hidden) {
      // Several may hear that the leader left: the first to speak up wins, the others hear that in time.
      setTimeout(() => document.hidden || this.#lead(), Math.random() * 300);
    }
  }

  /** A clock that jumped means that the machine was suspended: sockets look open and are not. */
  #tick() {
    const now = Date.now();
    if (now - this.#lastTick > SUSPENDED_MS && !this.#sleeps && !document.hidden) this.#options.onWake();
    this.#lastTick = now;
  }
}
