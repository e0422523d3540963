// @ts-check
/**
 * The conversation in the panel: which entries there are, how it scrolls, and what a screen reader hears of it.
 */

import { Announcer } from "../announcer.js";
import { answerItem, textOf } from "../answer.js";
import { byId, h, part } from "../dom.js";
import { renderKeyed } from "../keyed.js";
import { pendingItem } from "../pending.js";

/** @typedef {import("../client/types.js").Message} Message */
/** @typedef {import("../client/types.js").ChatState} ChatState */
/** @typedef {import("../client/types.js").QueueEntry} QueueEntry */
/** @typedef {import("../keyed.js").Item} Item */
/**
 * @typedef {object} Shown
 * @property {string} greeting
 * @property {ChatState} view
 * @property {Message[]} messages those under way too
 * @property {ReadonlySet<string>} answering questions whose answer is on its way
 */

const NEAR_PX = 48;
const ON_ITS_WAY = new Set(["sending", "waiting", "refused"]);

/**
 * Return the answers that are not written on any more. One that was under way when the page came may not be `open`
 * until its next word.
 * @param {ChatState} view
 * @returns {Message[]}
 */
export function wholeAnswers({ messages, open, shared }) {
  const asked = shared.run ? messages.findLastIndex(({ role }) => role === "user") : messages.length;
  return messages.filter(({ role, id }, at) => role === "assistant" && at < asked && !open.includes(id));
}

/** The transcript. It keeps to the end of the text unless the reader has scrolled up. */
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

  /** @param {Shown} shown */
  render(shown) {
    renderKeyed(this.#list, itemsOf(shown));
    this.#announcer.hear(shown.view);
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

/** @param {Shown} shown @returns {Item[]} */
function itemsOf({ greeting, view, messages, answering }) {
  const { shared, open, ending } = view;
  const results = new Map(
    messages.filter(({ role }) => role === "tool").map((message) => [String(message.toolCallId), message]),
  );
  const shown = messages.filter(({ role }) => role === "assistant" || role === "user");
  const said = shown.filter((message) => !isOnItsWay(message));
  const items = said.map((message) =>
    message.role === "user"
      ? questionItem(message)
      : answerItem(message, open.includes(message.id), results, shared.pending),
  );
  const last = said.at(-1);
  const isWriting = last?.role === "assistant" && open.includes(last.id) && textOf(last.content) !== "";
  if (shared.run && !isWriting) items.push(typingItem());
  if (ending && (ending.kind === "failed" || last?.role !== "assistant")) items.push(endingItem(ending.kind));
  items.push(...(shared.pending ?? []).map((question) => pendingItem(question, answering.has(question.id))));
  items.push(...shared.queue.map(queuedItem), ...shown.filter(isOnItsWay).map(questionItem));
  return [greetingItem(greeting), ...items];
}

/** @param {Message} message @returns {boolean} */
function isOnItsWay({ role, metadata }) {
  return role === "user" && ON_ITS_WAY.has(metadata?.sessionstream?.status ?? "");
}

/** @param {string} text @returns {Item} */
function greetingItem(text) {
  const make = () => h("li", { class: "widget-greeting", dir: "auto" });
  return { key: "greeting", shows: [text], make, fill: (element) => (element.textContent = text) };
}

/** @param {Message} message @returns {Item} */
function questionItem(message) {
  const { status = "", detail = "" } = /** @type {{ status?: string, detail?: string }} */ (
    message.metadata?.sessionstream ?? {}
  );
  return {
    key: `message ${message.id}`,
    shows: [message],
    make: questionElement,
    fill: (element) => fillQuestion(element, message.id, textOf(message.content), status, detail),
  };
}

/** @param {QueueEntry} entry @returns {Item} */
function queuedItem(entry) {
  return {
    key: `message ${entry.message_id}`,
    shows: [entry],
    make: questionElement,
    fill: (element) => fillQuestion(element, entry.message_id, entry.message, "queued", ""),
  };
}

/** @returns {HTMLElement} */
function questionElement() {
  return h(
    "li",
    { class: "widget-question", "data-testid": "message", "data-role": "user" },
    h(
      "div",
      { class: "widget-bubble", dir: "auto" },
      h("span", { class: "visually-hidden", text: "You: " }),
      h("span", { class: "text" }),
    ),
    h("div", { class: "widget-progress" }),
  );
}

/**
 * @param {HTMLElement} element
 * @param {string} id
 * @param {string} text
 * @param {string} status
 * @param {string} detail
 */
function fillQuestion(element, id, text, status, detail) {
  part(element, ".text").textContent = text;
  element.dataset.status = status;
  const act = (/** @type {string} */ action, /** @type {string} */ label) =>
    h("button", { type: "button", class: "link", text: label, "data-action": action, "data-id": id });
  // Together, so that they go to the next line together.
  const acts = (/** @type {string} */ retry) =>
    h("span", { class: "acts" }, ...(retry ? [act("retry", retry)] : []), act("cancel", "Remove"));
  const words = {
    sending: ["Sending …"],
    queued: ["Waits for its turn", acts("")],
    waiting: [`Not sent yet. ${detail}`, acts("Try now")],
    refused: [`Not sent. ${detail}`, acts("Try again")],
  }[status];
  part(element, ".widget-progress").replaceChildren(...(words ?? []));
}

/** @returns {Item} */
function typingItem() {
  const words = h("span", { class: "visually-hidden", text: "Working on the answer" });
  const make = () => h("li", { class: "typing", "data-testid": "typing" }, words, h("i"), h("i"), h("i"));
  return { key: "typing", shows: [], make, fill: () => undefined };
}

/** @param {"stopped" | "failed"} kind @returns {Item} */
function endingItem(kind) {
  const make = () => h("li", { class: "widget-ending" });
  const fill = (/** @type {HTMLElement} */ element) => {
    const again = h("button", { type: "button", class: "link", text: "Ask again", "data-action": "again" });
    element.replaceChildren(kind === "stopped" ? "Stopped before an answer." : "Something went wrong.", " ", again);
  };
  return { key: "ending", shows: [kind], make, fill };
}
