// @ts-check
/**
 * The answers that a person gives to what an agent asks, on their way to the server.
 */

import { attempt } from "./actions.js";
import { fieldsOf, singleChoice, valueOf } from "./asked.js";
import { part } from "./dom.js";

/** @typedef {import("./client/types.js").Pending} Pending */

/** Gives answers, each once. */
export class Replies {
  /** Ids of questions whose answer is on its way. @type {ReadonlySet<string>} */ sending = new Set();
  #chat;
  #onChange;
  #onGiven;

  /** @param {import("./client/index.js").ChatManager} chat @param {{ onChange: () => void, onGiven: () => void }} listeners */
  constructor(chat, { onChange, onGiven }) {
    this.#chat = chat;
    this.#onChange = onChange;
    this.#onGiven = onGiven;
  }

  /** Do what a button of a question says. @param {HTMLElement} button */
  clicked(button) {
    const card = /** @type {HTMLElement | null} */ (button.closest(".asking"));
    const question = this.#chat.state.pending?.find(({ id }) => id === card?.dataset.id);
    if (!card || !question) return;
    const text = /** @type {HTMLTextAreaElement | null} */ (card.querySelector(".reply"));
    switch (button.dataset.action) {
      case "approve":
        return void this.#give(question, true);
      case "decline":
        return void this.#give(question, false);
      case "choose":
        return this.#choose(question, Number(button.dataset.index));
      case "reply":
        return text ? this.#reply(question, text) : this.#fillIn(question, card);
      case "refuse":
        return void this.#give(question, "", text?.value.trim() || "The person could not.");
    }
  }

  /** @param {Pending} question @param {number} index */
  #choose(question, index) {
    const single = singleChoice(question.responseSchema);
    const choice = single?.choices[index];
    if (single && choice) void this.#give(question, single.name ? { [single.name]: choice.value } : choice.value);
  }

  /** @param {Pending} question @param {HTMLTextAreaElement} text */
  #reply(question, text) {
    const reply = text.value.trim();
    if (reply) void this.#give(question, reply);
    else text.focus();
  }

  /** @param {Pending} question @param {HTMLElement} card */
  #fillIn(question, card) {
    const form = /** @type {HTMLFormElement} */ (part(card, "form"));
    if (form.reportValidity()) void this.#give(question, valueOf(form, fieldsOf(question.responseSchema)));
  }

  /** @param {Pending} question @param {unknown} content @param {string} [error] */
  async #give({ id, toolCallId }, content, error) {
    if (this.sending.has(id)) return;
    this.sending = new Set([...this.sending, id]);
    this.#onChange();
    const given = await attempt("Not answered", () => this.#chat.sendToolResult(toolCallId ?? id, content, error));
    // The card goes with its button: who answered writes on.
    if (given) this.#onGiven();
    this.sending = new Set([...this.sending].filter((one) => one !== id));
    this.#onChange();
  }
}
