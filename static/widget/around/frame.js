// @ts-check
/**
 * The frame with the conversation, seen from the page around: loaded, greeted, spoken to. What it says is believed only
 * if it comes from that very window and from the server's origin; what it is told, only that origin can read.
 */

import { BASE } from "./offer.js";
import { make } from "./shell.js";

const READY_MS = 15_000;

/**
 * @typedef {object} Listeners
 * @property {() => void} onReady
 * @property {() => void} onSilent it did not come
 * @property {(said: Record<string, unknown> & { sessionstream: string }) => void} onSaid
 */

/** The frame, once it is loaded. */
export class Frame {
  isReady = false;
  /** @type {HTMLIFrameElement | null} */ element = null;
  #place;
  #listeners;
  #timer = 0;

  /** @param {HTMLElement} place where it stands @param {Listeners} listeners */
  constructor(place, listeners) {
    this.#place = place;
    this.#listeners = listeners;
    window.addEventListener("message", (event) => this.#heard(event));
  }

  /** Load it, anew if it is there. @param {string} agent @param {string} title */
  load(agent, title) {
    this.element?.remove();
    this.isReady = false;
    const src = new URL("widget", BASE);
    src.searchParams.set("agent", agent);
    const allowed = { allow: "clipboard-write", referrerpolicy: "origin" };
    this.element = make("iframe", { title, src: src.href, "data-testid": "widget-frame", ...allowed });
    this.#place.append(this.element);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#listeners.onSilent, READY_MS);
  }

  /** @param {string} what @param {object} [more] */
  tell(what, more = {}) {
    if (this.isReady) this.element?.contentWindow?.postMessage({ sessionstream: what, ...more }, BASE.origin);
  }

  /** Put the cursor where the visitor writes. */
  focus() {
    if (!this.isReady) return;
    this.element?.focus();
    this.tell("focus");
  }

  /** @param {MessageEvent} event */
  #heard(event) {
    if (!this.element || event.source !== this.element.contentWindow || event.origin !== BASE.origin) return;
    const said = event.data;
    if (typeof said?.sessionstream !== "string") return;
    if (said.sessionstream !== "ready") {
      this.#listeners.onSaid(said);
      return;
    }
    clearTimeout(this.#timer);
    this.isReady = true;
    this.element.classList.add("ready");
    this.#listeners.onReady();
  }
}
