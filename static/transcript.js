// @ts-check
/**
 * The column of messages: what is shown in which order, how it scrolls, and what a screen reader hears of it.
 */

import { textOf } from "./answer.js";
import { byId, h } from "./dom.js";
import { renderKeyed } from "./keyed.js";
import { endingItem, messageItem, outgoingItem, queueItem, typingItem } from "./messages.js";

/** @typedef {import("./types.js").ChatState} ChatState */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Outgoing} Outgoing */
/** @typedef {import("./keyed.js").Item} Item */

const NEAR_PX = 48;

/** A run that ended without an answer before the page came: how, the messages do not say. @type {Ending} */
const UNANSWERED = { kind: "stopped", run_id: "", message: "", code: "" };

/** The transcript view. It keeps to the end of the text unless the reader has scrolled up. */
export class Transcript {
  #scroller = byId("transcript");
  #list = byId("messages");
  #jump = byId("jump");
  #announcer = new Announcer(byId("announcer"));
  #follows = true;
  #lastTop = 0;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.#keepToEnd()).observe(this.#scroller);
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#follows = true;
    this.#keepToEnd();
  }

  /**
   * @param {ChatState} state
   * @param {Outgoing[]} outgoing
   * @param {number} now
   */
  render(state, outgoing, now) {
    renderKeyed(this.#list, itemsOf(state, outgoing, now));
    this.#announcer.hear(state);
    this.#keepToEnd();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    // Text that grows moves the end away from us: only a scroll upwards is the reader's own.
    if (isAtEnd) this.#follows = true;
    else if (scrollTop < this.#lastTop) this.#follows = false;
    this.#lastTop = scrollTop;
    this.#jump.hidden = this.#follows;
  }

  #keepToEnd() {
    if (this.#follows) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#jump.hidden = this.#follows;
  }
}

/** @param {ChatState} state @param {Outgoing[]} outgoing @param {number} now @returns {Item[]} */
function itemsOf({ messages, open, shared, ending }, outgoing, now) {
  const results = new Map(
    messages.filter(({ role }) => role === "tool").map((message) => [String(message.toolCallId), message]),
  );
  const shown = messages.filter(({ role }) => role !== "tool" && role !== "activity");
  const items = shown.map((message) => messageItem(message, open.includes(message.id), results));
  const last = shown.at(-1);
  if (shared.run && !(last?.role === "assistant" && open.includes(last.id) && textOf(last.content)))
    items.push(typingItem());
  if (ending && (ending.kind === "failed" || last?.role !== "assistant")) items.push(endingItem(ending));
  const isIdle = !shared.run && shared.queue.length === 0 && outgoing.length === 0;
  if (isIdle && !ending && last?.role === "user") items.push(endingItem(UNANSWERED));
  items.push(...shared.queue.map(queueItem));
  items.push(...outgoing.map((item) => outgoingItem(item, now)));
  return items;
}

/** Says an answer to screen readers sentence by sentence: a live region that grows by tokens would stutter. */
class Announcer {
  #region;
  #messageId = "";
  #said = 0;
  #wasOpen = false;

  /** @param {HTMLElement} region */
  constructor(region) {
    this.#region = region;
  }

  /** @param {ChatState} state */
  hear({ messages, open, ending }) {
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
    if (end > this.#said) this.#say(text.slice(this.#said, end));
    if (this.#wasOpen && !isOpen && ending)
      this.#say(ending.kind === "stopped" ? "Stopped." : `Failed. ${ending.message}`);
    this.#said = Math.max(this.#said, end);
    this.#wasOpen = isOpen;
  }

  /** @param {string} text */
  #say(text) {
    this.#region.append(h("p", { text }));
    while (this.#region.children.length > 4) this.#region.firstElementChild?.remove();
  }
}

/** @param {string} text @param {number} from @returns {number} */
function endOfSentence(text, from) {
  const ends = [". ", ".\n", "? ", "! ", ":\n", "\n\n"].map((mark) => text.lastIndexOf(mark));
  return Math.max(from, ...ends.map((at) => at + 1));
}
