// @ts-check
/**
 * The answers that a person gives to what an agent asks, on their way to the server: on the page, and in the widget.
 */

import { ApiError } from "./client/index.js";
import { fieldsOf, singleChoice, valueOf } from "./asked.js";
import { part } from "./dom.js";

/** @typedef {import("./client/types.js").Pending} Pending */

/** Gives answers, each once. */
export class Replies {
  /** Ids of questions whose answer is on its way. @type {ReadonlySet<string>} */ sending = new Set();
  #chat;
  #onChange;
  #onGiven;

  /**
   * @param {import("./client/index.js").ChatManager} chat
   * @param {{ onChange: (problem: string) => void, onGiven?: () => void }} listeners `problem`: why one was not taken
   */
  constructor(chat, { onChange, onGiven = () => undefined }) {
    this.#chat = chat;
    this.#onChange = onChange;
    this.#onGiven = onGiven;
  }

  /** Do what a button of a question says. @param {HTMLElement} button @returns {boolean} whether it was one */
  clicked(button) {
    const card = /** @type {HTMLElement | null} */ (button.closest("[data-testid=approval]"));
    const question = this.#chat.state.pending?.find(({ id }) => id === card?.dataset.id);
    if (!card || !question) return false;
    const text = /** @type {HTMLTextAreaElement | null} */ (card.querySelector(".reply"));
    const { action, index } = button.dataset;
    if (action === "approve" || action === "decline") void this.#give(question, action === "approve");
    else if (action === "choose") this.#choose(question, Number(index));
    else if (action === "refuse") void this.#give(question, "", text?.value.trim() || "The person could not.");
    else if (action === "reply" && text) this.#reply(question, text);
    else if (action === "reply") this.#fillIn(question, card);
    else return false;
    return true;
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
    this.#onChange("");
    const problem = await this.#chat.sendToolResult(toolCallId ?? id, content, error).then(
      () => "",
      (refusal) => {
        if (!(refusal instanceof ApiError)) throw refusal;
        return `Not answered. ${refusal.message}`;
      },
    );
    // The card goes with its button: who answered writes on.
    if (!problem) this.#onGiven();
    this.sending = new Set([...this.sending].filter((one) => one !== id));
    this.#onChange(problem);
  }
}
