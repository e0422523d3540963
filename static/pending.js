// @ts-check
/**
 * Questions that a run ended by, as cards in the transcript: an approval and a choice have buttons, what has a form has
 * its fields, anything else a field for text.
 */

import { fieldElement, fieldsOf, singleChoice } from "./asked.js";
import { h, icon, part } from "./dom.js";

/** @typedef {import("./client/types.js").Pending} Pending */
/** @typedef {import("./keyed.js").Item} Item */

const LONGEST_TITLE = 300;
const LONGEST_ARGUMENTS = 20_000;

/**
 * Whether yes or no is what is asked.
 * @param {Pending} question
 * @returns {boolean}
 */
export function isApproval({ reason, responseSchema }) {
  const fields = responseSchema?.properties;
  const isObject = typeof fields === "object" && fields !== null;
  return reason === "approval" || reason === "confirmation" || (isObject && Object.hasOwn(fields, "approved"));
}

/**
 * @param {Pending} question
 * @param {boolean} isSending whether an answer is on its way
 * @returns {Item}
 */
export function pendingItem(question, isSending) {
  return {
    key: `asking ${question.id}`,
    shows: [question.answered, isSending],
    make: () => askingElement(question),
    fill: (element) => fillAsking(element, question.answered, isSending),
  };
}

/** @param {Pending} question @returns {HTMLElement} */
function askingElement(question) {
  const title = question.message || (isApproval(question) ? "May the agent go on?" : "The agent asks for an answer.");
  const heading = h("h3", { text: title.slice(0, LONGEST_TITLE) });
  const form = h("form", { class: "card", onsubmit: (/** @type {Event} */ event) => event.preventDefault() });
  form.append(h("div", { class: "asks" }, icon("alert"), heading), ...aboutOf(question), ...answerParts(question));
  form.append(h("p", { class: "answered", text: "Answered. Waiting for the other answers.", hidden: true }));
  return h("li", { class: "asking", "data-testid": "approval", "data-id": question.id }, form);
}

/** What was typed stays: a question never changes, only how it stands. @param {HTMLElement} element @param {boolean} isAnswered @param {boolean} isSending */
function fillAsking(element, isAnswered, isSending) {
  part(element, ".answered").hidden = !isAnswered;
  const controls = /** @type {NodeListOf<HTMLButtonElement | HTMLInputElement>} */ (
    element.querySelectorAll("button, input, select, textarea")
  );
  for (const control of controls) control.disabled = isSending || isAnswered;
  for (const place of element.querySelectorAll(".choices, .fields")) {
    /** @type {HTMLElement} */ (place).hidden = isAnswered;
  }
}

/** @param {Pending} question @returns {HTMLElement[]} */
function aboutOf({ toolCallName, arguments: given, expiresAt }) {
  const parts = [];
  const until = Date.parse(expiresAt ?? "");
  const time = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", weekday: "long" });
  const when = Number.isNaN(until) ? "" : `Open until ${new Date(until).toLocaleString([], time)}; then it counts as no.`;
  if (toolCallName || when) {
    const about = h("p", { class: "about" });
    if (toolCallName) about.append("Tool ", h("code", { text: toolCallName }), ". ");
    about.append(when);
    parts.push(about);
  }
  const shown = pretty(given ?? "").slice(0, LONGEST_ARGUMENTS);
  if (shown) parts.push(h("pre", { tabindex: "0", role: "group", "aria-label": "Arguments", text: shown }));
  return parts;
}

/** @param {string} json @returns {string} */
function pretty(json) {
  try {
    const value = JSON.parse(json);
    if (typeof value !== "object" || value === null) return String(value ?? "");
    return Object.keys(value).length === 0 ? "" : JSON.stringify(value, null, 2);
  } catch {
    return json;
  }
}

/** @param {Pending} question @returns {HTMLElement[]} */
function answerParts(question) {
  const schema = question.responseSchema;
  if (isApproval(question)) {
    return [choices(button("approve", "Approve", "primary", "submit"), button("decline", "Decline"))];
  }
  const single = singleChoice(schema);
  if (single) {
    const all = single.choices.map(({ label }, index) => {
      const one = button("choose", label);
      one.dataset.index = String(index);
      return one;
    });
    const isOpen = schema?.type !== "boolean";
    return [choices(...all, ...(isOpen ? [button("refuse", "None of these", "plain")] : []))];
  }
  const fields = fieldsOf(schema);
  const text = h("textarea", { class: "reply", rows: "2", "aria-label": "Your answer", dir: "auto" });
  const input = fields.length > 0 ? h("div", { class: "fields" }, ...fields.map(fieldElement)) : h("div", { class: "fields" }, text);
  return [input, choices(button("reply", "Answer", "primary", "submit"), button("refuse", "I cannot"))];
}

/** @param {...HTMLElement} buttons @returns {HTMLElement} */
function choices(...buttons) {
  return h("div", { class: "choices" }, ...buttons);
}

/** @param {string} action @param {string} text @param {string} [kind] @param {"button" | "submit"} [type] @returns {HTMLButtonElement} */
function button(action, text, kind = "", type = "button") {
  return h("button", { type, class: `button ${kind}`.trim(), text, "data-action": action, dir: "auto" });
}
