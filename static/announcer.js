// @ts-check
/**
 * Says an answer to screen readers sentence by sentence: a live region that grows by tokens would stutter.
 */

import { textOf } from "./answer.js";
import { h } from "./dom.js";

/** @typedef {import("./client/types.js").ChatState} ChatState */

const ENDS = [". ", ".\n", "? ", "! ", ":\n", "\n\n", "。", "！", "？"];
const KEPT = 4;
const LONGEST = 600;

/** What a screen reader hears of the open session. */
export class Announcer {
  #region;
  #messageId = "";
  #said = 0;
  #wasOpen = false;
  #asked = "";

  /** @param {HTMLElement} region */
  constructor(region) {
    this.#region = region;
  }

  /** @param {ChatState} state */
  hear({ messages, open, ending, shared }) {
    this.#hearQuestion(shared.pending ?? []);
    const message = messages.findLast(({ role }) => role === "assistant");
    if (!message) return;
    const isOpen = open.includes(message.id);
    const text = textOf(message.content);
    if (message.id !== this.#messageId) {
      this.#messageId = message.id;
      // What stood there when the page came is not news.
      this.#said = isOpen ? 0 : text.length;
    }
    const end = isOpen ? endOfSentence(text, this.#said) : text.length;
    if (end > this.#said) this.say(text.slice(this.#said, end));
    if (this.#wasOpen && !isOpen && ending)
      this.say(ending.kind === "stopped" ? "Stopped." : `Failed. ${ending.message}`);
    this.#said = Math.max(this.#said, end);
    this.#wasOpen = isOpen;
  }

  /** @param {string} text */
  say(text) {
    const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)} …` : text;
    this.#region.append(h("p", { text: shown }));
    while (this.#region.children.length > KEPT) this.#region.firstElementChild?.remove();
  }

  /** @param {import("./client/types.js").Pending[]} pending */
  #hearQuestion(pending) {
    const question = pending.find(({ answered }) => !answered);
    if (question && question.id !== this.#asked) this.say(`The agent asks: ${question.message ?? "may it go on?"}`);
    this.#asked = question?.id ?? "";
  }
}

/** @param {string} text @param {number} from @returns {number} */
function endOfSentence(text, from) {
  return Math.max(from, ...ENDS.map((mark) => text.lastIndexOf(mark)).map((at) => (at < 0 ? 0 : at + 1)));
}
