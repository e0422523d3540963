// @ts-check
/** What a person says in the open chat: sent, changed, sent again, and what it asked for stopped. */

import { attempt } from "./actions.js";
import { textOf } from "./answer.js";
import { api } from "./api.js";
import { nextVersion } from "./versions.js";

/** @typedef {import("./client/index.js").ChatManager} ChatManager */

/**
 * @typedef {object} Around
 * @property {ChatManager} chat
 * @property {import("./place.js").Place} place
 * @property {import("./composer.js").Composer} composer
 * @property {import("./setup.js").Setup} setup
 * @property {() => void} onSaid
 */

/** The person's side of the conversation. */
export class Saying {
  #chat;
  #place;
  #composer;
  #setup;
  #onSaid;

  /** @param {Around} around */
  constructor({ chat, place, composer, setup, onSaid }) {
    this.#chat = chat;
    this.#place = place;
    this.#composer = composer;
    this.#setup = setup;
    this.#onSaid = onSaid;
  }

  /** @param {string} text */
  async send(text) {
    const { id, isDraft } = this.#place;
    const { title, ...choice } = isDraft ? this.#setup.take() : {};
    if (isDraft) {
      // A name is the session's own, so it is made before anything is said in it.
      const made = title ? await attempt("Not sent", () => api.create({ session_id: id, title, ...choice })) : {};
      if (!made) return this.#composer.restore(text);
      if (this.#place.id !== id) return;
      this.#place.settle();
      this.#composer.moveTo(id);
    }
    this.#post(text, choice);
  }

  /** Send a message again in its own place, changed or not. @param {string} id @param {string} text */
  resend(id, text) {
    this.#post(text, { message_id: nextVersion(id), on_busy: "interrupt" });
  }

  /** Ask for the end of the answer; that it stops is shown before the server hears of it. */
  stop() {
    const { run } = this.#chat.state;
    if (!run || this.#chat.run?.status === "stopping") return;
    void attempt("Not stopped", () => this.#chat.interrupt(run.run_id));
  }

  /** Take the last message back to change it. @param {string} [wanted] only if it is this one */
  editLast(wanted) {
    const asked = this.#chat.view.messages.findLast(({ role }) => role === "user");
    if (asked && (!wanted || asked.id === wanted)) this.#composer.edit(asked.id, textOf(asked.content));
  }

  /** Change a message that waits. @param {string} failure @param {string} id @param {{ message?: string, position?: number }} wanted */
  change(failure, id, wanted) {
    return attempt(failure, () => api.requeue(this.#place.id, id, wanted));
  }

  /** Delete one. @param {string} id */
  unqueue(id) {
    return attempt("Not deleted", () => api.unqueue(this.#place.id, id));
  }

  /** Let one have its turn: the answer that it waits for is stopped. @param {string} id */
  async sendNow(id) {
    if (await this.change("Not sent", id, { position: 0 })) await attempt("Not sent", () => this.#chat.interrupt());
  }

  /** @param {string} text @param {Parameters<ChatManager["sendMessage"]>[1]} more */
  #post(text, more) {
    // What is refused for good stands in the transcript, with what can be done about it.
    void this.#chat.sendMessage(text, more).catch(() => undefined);
    this.#onSaid();
  }
}
