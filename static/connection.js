// @ts-check
/**
 * What to say about the connection: nothing for a blink, the truth after two seconds. Pure but for its clock.
 */

/** @typedef {import("./client/types.js").Status} Status */
/** @typedef {{ status: "idle" | "live" | "connecting" | "offline" | "ended", text: string, banner: string }} Shown */

const PATIENCE_MS = 2000;

/** Remembers how long there has been no connection. */
export class Connection {
  #lostAt = 0;
  #wasLive = false;

  /**
   * @param {Status} status
   * @param {number} now
   * @param {boolean} [isOnline] what the browser says of the network
   * @returns {Shown}
   */
  look({ phase, until, reason }, now, isOnline = true) {
    if (phase === "live") this.#wasLive = true;
    if (phase === "live" || phase === "idle" || phase === "ended") {
      this.#lostAt = 0;
      const text = { live: "Live", idle: "", ended: "Ended" }[phase];
      return { status: phase, text, banner: "" };
    }
    this.#lostAt ||= now;
    if (now - this.#lostAt < PATIENCE_MS) {
      // What was live a moment ago most likely is again in a moment.
      return this.#wasLive
        ? { status: "live", text: "Live", banner: "" }
        : { status: "connecting", text: "", banner: "" };
    }
    const why = isOnline ? reason?.detail || "The server cannot be reached." : "You are offline.";
    const seconds = phase === "waiting" ? Math.max(0, Math.ceil(((until ?? now) - now) / 1000)) : 0;
    const next = phase === "failed" ? "" : seconds > 0 ? ` Next attempt in ${seconds} s.` : " Reconnecting …";
    return { status: "offline", text: "Offline", banner: `${why} What you send is kept.${next}` };
  }
}
