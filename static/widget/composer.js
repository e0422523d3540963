// @ts-check
/**
 * Where the visitor writes.
 */

import { byId } from "../dom.js";

/** The composer of the panel. */
export class Composer {
  #form = /** @type {HTMLFormElement} */ (byId("composer"));
  #text = /** @type {HTMLTextAreaElement} */ (byId("message"));
  #send = /** @type {HTMLButtonElement} */ (byId("send"));
  #stop = /** @type {HTMLButtonElement} */ (byId("stop"));
  /** @type {(text: string) => void} */ #onSend;
  #isRunning = false;

  /** @param {{ onSend: (text: string) => void, onStop: () => void }} listeners */
  constructor({ onSend, onStop }) {
    this.#onSend = onSend;
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
    this.#stop.addEventListener("click", onStop);
  }

  /** Let the visitor write. */
  show() {
    this.#form.hidden = false;
  }

  /** Put the cursor there. */
  focus() {
    this.#text.focus();
  }

  /** Put a text back that could not be sent; what was typed meanwhile stays behind it. @param {string} text */
  restore(text) {
    this.#text.value = [text, this.#text.value].filter(Boolean).join("\n\n");
    this.#typed();
  }

  /** @param {{ isRunning: boolean, isStopping: boolean }} shown */
  render({ isRunning, isStopping }) {
    const hadFocus = document.activeElement === this.#stop;
    this.#isRunning = isRunning;
    this.#stop.hidden = !isRunning;
    this.#stop.disabled = isStopping;
    this.#draw();
    if (hadFocus && !isRunning) this.focus();
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text) return;
    this.#text.value = "";
    this.#typed();
    this.#onSend(text);
  }

  #typed() {
    this.#draw();
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }

  #draw() {
    const isEmpty = this.#text.value.trim() === "";
    // While an answer is written, Stop takes the place of Send, until there is something to send.
    this.#send.hidden = this.#isRunning && isEmpty;
    this.#send.disabled = isEmpty;
  }
}
