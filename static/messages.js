// @ts-check
/**
 * The entries of a transcript: what was said, what waits, and how the last run ended.
 */

import { answerItem, textOf } from "./answer.js";
import { h, icon, part } from "./dom.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Outgoing} Outgoing */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").QueueEntry} QueueEntry */
/** @typedef {import("./keyed.js").Item} Item */
/** @typedef {import("./answer.js").Results} Results */

/**
 * @param {Message} message
 * @param {boolean} isOpen whether it is still being written
 * @param {Results} results
 * @returns {Item}
 */
export function messageItem(message, isOpen, results) {
  if (message.role === "assistant") return answerItem(message, isOpen, results);
  const text = textOf(message.content);
  const make = { user: questionElement, reasoning: reasoningElement }[message.role] ?? noteElement;
  return { key: `message ${message.id}`, shows: [text], make, fill: (element) => fillText(element, text) };
}

/** @returns {HTMLElement} */
function questionElement() {
  return h("li", { class: "message user" }, bubble());
}

/** @returns {HTMLElement} */
function noteElement() {
  return h("li", { class: "note" }, h("div", { class: "text" }));
}

/** @returns {HTMLElement} */
function bubble() {
  return h(
    "div",
    { class: "bubble" },
    h("span", { class: "visually-hidden", text: "You: " }),
    h("span", { class: "text" }),
  );
}

/** @param {HTMLElement} element @param {string} text */
function fillText(element, text) {
  part(element, ".text").textContent = text;
}

/** @returns {HTMLElement} */
function reasoningElement() {
  const details = h("details", {}, h("summary", { text: "Reasoning" }), h("div", { class: "text" }));
  return h("li", { class: "reasoning" }, details);
}

/** @returns {Item} */
export function typingItem() {
  const make = () => h("li", { class: "typing", "aria-label": "Working on the answer" }, h("i"), h("i"), h("i"));
  return { key: "typing", shows: [], make, fill: () => undefined };
}

/** @param {Ending} ending @returns {Item} */
export function endingItem(ending) {
  const make = () => h("li", { class: "ending" });
  const fill = (/** @type {HTMLElement} */ element) => {
    element.dataset.kind = ending.kind;
    const retry = h("button", { type: "button", class: "button", text: "Try again", "data-action": "again" });
    if (ending.kind === "stopped") {
      element.replaceChildren(
        h("span", { text: ending.run_id ? "Stopped before an answer." : "There is no answer to this." }),
        retry,
      );
      return;
    }
    const why = h("p", {}, ending.message || "The server did not keep why.", " ");
    if (ending.code) why.append(h("code", { text: ending.code }));
    element.replaceChildren(icon("alert"), h("div", {}, h("strong", { text: "The answer failed" }), why), retry);
  };
  return { key: "ending", shows: [ending], make, fill };
}

/** @param {QueueEntry} entry @param {number} place @returns {Item} */
export function queueItem(entry, place) {
  const make = () => {
    const remove = h("button", {
      type: "button",
      class: "link",
      text: "Remove",
      "data-action": "unqueue",
      "data-id": entry.message_id,
    });
    return h(
      "li",
      { class: "message user queued" },
      bubble(),
      h("div", { class: "progress" }, h("span", { class: "what" }), remove),
    );
  };
  const fill = (/** @type {HTMLElement} */ element) => {
    fillText(element, entry.message);
    part(element, ".what").textContent = place === 0 ? "Queued, next" : `Queued, number ${place + 1}`;
  };
  return { key: `queue ${entry.message_id}`, shows: [entry, place], make, fill };
}

/** @param {Outgoing} item @param {number} now @returns {Item} */
export function outgoingItem(item, now) {
  const seconds = Math.max(0, Math.ceil((item.until - now) / 1000));
  const make = () => h("li", { class: "message user outgoing" }, bubble(), h("div", { class: "progress" }));
  const fill = (/** @type {HTMLElement} */ element) => {
    fillText(element, item.text);
    element.dataset.phase = item.phase;
    part(element, ".progress").replaceChildren(...progressOf(item, seconds));
  };
  return { key: `outgoing ${item.message_id}`, shows: [item, seconds], make, fill };
}

/** @param {Outgoing} item @param {number} seconds @returns {Node[]} */
function progressOf({ phase, detail, message_id }, seconds) {
  const action = (/** @type {string} */ name, /** @type {string} */ text) =>
    h("button", { type: "button", class: "link", text, "data-action": name, "data-id": message_id });
  const what = (/** @type {string} */ text) => h("span", { class: "what", text });
  if (phase === "accepted") return [what("Sent")];
  if (phase === "refused") return [what(`Not sent. ${detail}`), action("resend", "Try again"), action("edit", "Edit")];
  if (phase === "waiting" && detail) {
    return [what(`${detail} Next attempt in ${seconds}\u00a0s.`), action("resend", "Try now"), action("edit", "Edit")];
  }
  return [what("Sending …")];
}
