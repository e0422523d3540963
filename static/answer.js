// @ts-check
/**
 * An answer as an element: its text, the tools it called, its sources, and how it ended.
 */

import { callItem } from "./calls.js";
import { textOf, withoutSourceList } from "./content.js";
import { h, icon, part } from "./dom.js";
import { renderKeyed } from "./keyed.js";
import { limited, moreButton } from "./limit.js";
import { renderMarkdown } from "./rendering.js";
import { fillSources, known, sourcesElement } from "./sources.js";

export { textOf } from "./content.js";

/** @typedef {import("./client/types.js").Message} Message */
/** @typedef {import("./client/types.js").Pending} Pending */
/** @typedef {import("./keyed.js").Item} Item */
/** @typedef {Map<string, Message>} Results tool call id → the message with its result */

/** What is shown of an answer at first: more than any model says, and no more than a page lays out at once. */
const STEP = 65_536;

/** The text of an answer as it came, for the clipboard. @type {WeakMap<Element, string>} */
export const originals = new WeakMap();

/** @type {readonly Pending[]} */
const NOTHING = [];

/**
 * @param {Message} message
 * @param {boolean} isOpen whether it is still being written
 * @param {Results} results
 * @param {readonly Pending[]} [pending] the questions that wait for the client
 * @returns {Item}
 */
export function answerItem(message, isOpen, results, pending = NOTHING) {
  const calls = (message.toolCalls ?? []).map((call) => callItem(call, results.get(call.id), pending));
  return {
    key: `message ${message.id}`,
    shows: [message, isOpen, ...calls.flatMap(({ shows }) => shows)],
    make: answerElement,
    fill: (element) => fillAnswer(element, message, isOpen, calls),
  };
}

/** @returns {HTMLElement} */
function answerElement() {
  const copy = h(
    "button",
    { type: "button", class: "copy", title: "Copy the answer", "data-copy": "answer" },
    icon("copy"),
    "Copy",
  );
  return h(
    "li",
    { class: "message assistant", "data-testid": "message", "data-role": "assistant" },
    h("span", { class: "visually-hidden", text: "Answer: " }),
    h("div", { class: "body" }),
    moreButton(),
    h("div", { class: "calls" }),
    sourcesElement(),
    h("div", { class: "foot" }, h("span", { class: "tag", hidden: true }), copy),
  );
}

/** @param {HTMLElement} element @param {Message} message @param {boolean} isOpen @param {Item[]} calls */
function fillAnswer(element, message, isOpen, calls) {
  const text = textOf(message.content);
  const sources = known(message.metadata?.sources);
  element.classList.toggle("open", isOpen);
  element.classList.toggle("empty", text === "");
  element.classList.toggle("has-sources", sources.length > 0);
  originals.set(element, text);
  fillText(element, withoutSourceList(text, sources), isOpen, new Set(sources.map(({ n }) => String(n))));
  renderKeyed(part(element, ".calls"), calls);
  fillSources(part(element, ":scope > .sources"), sources);
  fillEnding(element, message.metadata?.sessionstream?.status ?? "", isOpen);
}

/** @param {HTMLElement} element @param {string} text @param {boolean} isOpen @param {Set<string>} cites */
function fillText(element, text, isOpen, cites) {
  const more = part(element, ":scope > .more");
  const show = () => {
    const shown = limited(more, text, STEP, show);
    renderMarkdown(part(element, ".body"), shown, { isOpen: isOpen && shown === text, cites });
  };
  show();
}

/** @param {HTMLElement} element @param {string} status @param {boolean} isOpen */
function fillEnding(element, status, isOpen) {
  const tag = part(element, ".tag");
  tag.textContent = { interrupted: "Stopped", failed: "Failed" }[status] ?? "";
  tag.hidden = tag.textContent === "";
  tag.dataset.status = status;
  element.dataset.status = isOpen ? "streaming" : status || "finished";
}
