// @ts-check
/**
 * Where the next message is written. What is typed survives a reload of the tab, per session.
 */

import { byId } from "./dom.js";

/**
 * @typedef {object} ComposerListeners
 * @property {(text: string) => void} onSend
 * @property {(id: string, text: string) => void} onResend an earlier message, changed
 * @property {() => void} onStop
 * @property {() => void} onEditLast the last message is wanted back
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
  /** @type {{ id: string, before: string } | null} */ #edited = null;

  /** @param {ComposerListeners} listeners */
  constructor(listeners) {
    this.#listeners = listeners;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => this.#pressed(event));
    this.#text.addEventListener("input", () => this.#typed());
    this.#stop.addEventListener("click", () => this.#listeners.onStop());
    byId("editing-cancel").addEventListener("click", () => this.cancelEdit());
  }

  /** What stands in it. @returns {string} */
  get text() {
    return this.#text.value;
  }

  /** Take the text of another place, and keep that of this one. @param {string} place */
  moveTo(place) {
    if (place === this.#place) return;
    this.cancelEdit();
    this.#place = place;
    this.#set(drafts.read(place));
  }

  /** Put a text back to be changed; what was typed meanwhile stays behind it. @param {string} text */
  restore(text) {
    this.#set([text, this.#text.value].filter(Boolean).join("\n\n"));
    this.focus();
  }

  /** Let a sent message be changed and sent in its own place. @param {string} id @param {string} text */
  edit(id, text) {
    this.#edited = { id, before: this.#edited?.before ?? this.#text.value };
    this.#set(text);
    this.focus();
    this.#text.setSelectionRange(text.length, text.length);
  }

  /** Leave the sent message as it is. @returns {boolean} whether one was being changed */
  cancelEdit() {
    if (!this.#edited) return false;
    const { before } = this.#edited;
    this.#edited = null;
    this.#set(before);
    return true;
  }

  /** Let the user type. */
  focus() {
    this.#text.focus();
  }

  /** @param {{ isRunning: boolean, isStopping: boolean, isEnded: boolean }} shown */
  render({ isRunning, isStopping, isEnded }) {
    this.#isRunning = isRunning;
    byId("composer-place").hidden = isEnded;
    this.#stop.hidden = !isRunning;
    this.#stop.disabled = isStopping;
    this.#stop.setAttribute("aria-label", isStopping ? "Stopping" : "Stop the answer");
    this.#draw();
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    // 229: the key that ends a composition in Safari, which reports it after `compositionend`.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "ArrowUp" && !event.altKey && this.#text.value === "") {
      event.preventDefault();
      this.#listeners.onEditLast();
    } else if (event.key === "Escape" && this.cancelEdit()) event.stopPropagation();
  }

  #submit() {
    const text = this.#text.value.trim();
    if (!text) return;
    const edited = this.#edited;
    this.#edited = null;
    this.#set(edited?.before ?? "");
    if (edited) this.#listeners.onResend(edited.id, text);
    else this.#listeners.onSend(text);
  }

  /** @param {string} text */
  #set(text) {
    this.#text.value = text;
    this.#typed();
  }

  #typed() {
    if (!this.#edited) drafts.write(this.#place, this.#text.value);
    this.#draw();
    if (!CSS.supports("field-sizing", "content")) this.#fit();
  }

  /** As high as its text. */
  #fit() {
    this.#text.style.height = "auto";
    const { scrollHeight } = this.#text;
    if (scrollHeight > 0) this.#text.style.height = `${scrollHeight}px`;
  }

  #draw() {
    const isEmpty = this.#text.value.trim() === "";
    const isEditing = this.#edited !== null;
    // During a run Stop takes the place of Send, until there is something to queue.
    this.#send.hidden = this.#isRunning && isEmpty;
    this.#send.disabled = isEmpty;
    const label = isEditing ? "Send the changed message" : this.#isRunning ? "Queue message" : "Send message";
    this.#send.setAttribute("aria-label", label);
    byId("editing-note").hidden = !isEditing;
    const hint = isEditing
      ? "Enter sends it again in its place · Esc leaves it as it is"
      : this.#isRunning
        ? "Enter queues your message · Esc stops"
        : "Enter sends · Shift+Enter for a new line";
    if (this.#hint.textContent !== hint) this.#hint.textContent = hint;
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
