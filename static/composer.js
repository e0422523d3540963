// @ts-check
/**
 * Where the next message is written. What is typed survives a reload of the tab, per session.
 */

import { byId } from "./dom.js";

/**
 * @typedef {object} ComposerListeners
 * @property {(text: string) => void} onSend
 * @property {() => void} onStop
 */

/** The composer view. */
export class Composer {
  #form = /** @type {HTMLFormElement} */ (byId("composer"));
  #text = /** @type {HTMLTextAreaElement} */ (byId("message"));
  #send = /** @type {HTMLButtonElement} */ (byId("send"));
  #stop = /** @type {HTMLButtonElement} */ (byId("stop"));
  #hint = byId("hint");
  /** @type {ComposerListeners} */ #listeners;
  #place = "";
  #isRunning = false;

  /** @param {ComposerListeners} listeners */
  constructor(listeners) {
    this.#listeners = listeners;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => {
      // 229: the key that ends a composition in Safari, which reports it after `compositionend`.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("input", () => this.#typed());
    this.#stop.addEventListener("click", () => this.#listeners.onStop());
  }

  /** Take the text of another place, and keep that of this one. @param {string} place */
  moveTo(place) {
    if (place === this.#place) return;
    this.#place = place;
    this.#text.value = drafts.read(place);
    this.#typed();
  }

  /** Put a text back to be changed; what was typed meanwhile stays behind it. @param {string} text */
  edit(text) {
    this.#text.value = [text, this.#text.value].filter(Boolean).join("\n\n");
    this.#typed();
    this.focus();
  }

  /** Let the user type. */
  focus() {
    this.#text.focus();
  }

  /** @param {{ isRunning: boolean, isStopping: boolean, isEnded: boolean }} shown */
  render({ isRunning, isStopping, isEnded }) {
    this.#isRunning = isRunning;
    this.#form.hidden = isEnded;
    this.#stop.hidden = !isRunning;
    this.#stop.disabled = isStopping;
    this.#stop.setAttribute("aria-label", isStopping ? "Stopping" : "Stop the answer");
    this.#draw();
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text) return;
    this.#text.value = "";
    this.#typed();
    this.#listeners.onSend(text);
  }

  #typed() {
    drafts.write(this.#place, this.#text.value);
    this.#draw();
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }

  #draw() {
    const isEmpty = this.#text.value.trim() === "";
    // During a run Stop takes the place of Send, until there is something to queue.
    this.#send.hidden = this.#isRunning && isEmpty;
    this.#send.disabled = isEmpty;
    this.#send.setAttribute("aria-label", this.#isRunning ? "Queue message" : "Send message");
    const wanted = this.#isRunning
      ? "Enter queues your message · Esc stops"
      : "Enter sends · Shift+Enter for a new line";
    if (this.#hint.textContent !== wanted) this.#hint.textContent = wanted;
  }
}

const drafts = {
  /** @param {string} place @returns {string} */
  read(place) {
    try {
      return sessionStorage.getItem(`sessionstream.draft.${place}`) ?? "";
    } catch {
      return "";
    }
  },
  /** @param {string} place @param {string} text */
  write(place, text) {
    try {
      if (text) sessionStorage.setItem(`sessionstream.draft.${place}`, text);
      else sessionStorage.removeItem(`sessionstream.draft.${place}`);
    } catch {
      // Storage is full or forbidden: the draft lives as long as the page.
    }
  },
};
