// @ts-check
/**
 * An answer as an element: its text, the tools it called, its sources, and how it ended.
 */

import { h, icon, part, renderMarkdown } from "./dom.js";
import { renderKeyed } from "./keyed.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").Source} Source */
/** @typedef {import("./types.js").ToolCall} ToolCall */
/** @typedef {import("./keyed.js").Item} Item */
/** @typedef {Map<string, Message>} Results tool call id → the message with its result */

/**
 * Return the text of a message's content, which may come in parts.
 * @param {unknown} content
 * @returns {string}
 */
export function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content === undefined || content === null ? "" : JSON.stringify(content, null, 2);
  return content.map((part) => part?.text ?? `[${part?.type ?? "part"}]`).join("\n");
}

/**
 * Return an answer without the list of its sources, when that says what the page shows below the answer anyway.
 * @param {string} text
 * @param {Source[]} sources
 * @returns {string}
 */
export function withoutSourceList(text, sources) {
  const place = (/** @type {Source} */ { file, heading }) => (heading === undefined ? file : `${file} › ${heading}`);
  const list = ["Sources:", ...sources.map((source) => `[${source.n}] ${place(source)}`)].join("\n");
  return sources.length > 0 ? text.replace(`\n\n${list}\n\n`, "\n\n").replace(`\n\n${list}`, "") : text;
}

/** The text of an answer as it came, for the clipboard. @type {WeakMap<Element, string>} */
export const originals = new WeakMap();

/**
 * @param {Message} message
 * @param {boolean} isOpen whether it is still being written
 * @param {Results} results
 * @returns {Item}
 */
export function answerItem(message, isOpen, results) {
  return {
    key: `message ${message.id}`,
    shows: [message, isOpen, ...(message.toolCalls?.map((call) => results.get(call.id)) ?? [])],
    make: answerElement,
    fill: (element) => fillAnswer(element, message, isOpen, results),
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
    { class: "message assistant" },
    h("span", { class: "visually-hidden", text: "Answer: " }),
    h("div", { class: "body" }),
    h("div", { class: "calls" }),
    h("div", { class: "sources", hidden: true }),
    h("div", { class: "foot" }, h("span", { class: "tag", hidden: true }), copy),
  );
}

/** @param {HTMLElement} element @param {Message} message @param {boolean} isOpen @param {Results} results */
function fillAnswer(element, message, isOpen, results) {
  const text = textOf(message.content);
  element.classList.toggle("open", isOpen);
  element.classList.toggle("empty", text === "");
  const sources = message.metadata?.sources ?? [];
  renderMarkdown(part(element, ".body"), withoutSourceList(text, sources));
  originals.set(element, text);
  renderKeyed(
    part(element, ".calls"),
    (message.toolCalls ?? []).map((call) => callItem(call, results.get(call.id))),
  );
  fillSources(part(element, ".sources"), sources);
  element.classList.toggle("has-sources", sources.length > 0);
  const status = message.metadata?.sessionstream?.status ?? "";
  const tag = part(element, ".tag");
  tag.textContent = { interrupted: "Stopped", failed: "Failed" }[status] ?? "";
  tag.hidden = tag.textContent === "";
  tag.dataset.status = status;
}

/** @param {ToolCall} call @param {Message | undefined} result @returns {Item} */
function callItem(call, result) {
  const make = () => {
    const summary = h(
      "summary",
      {},
      icon("tool"),
      h("code", { text: call.function.name }),
      h("span", { class: "state" }),
    );
    return h(
      "details",
      { class: "call" },
      summary,
      h("pre", { class: "arguments", tabindex: "0" }),
      h("pre", { class: "result", tabindex: "0" }),
    );
  };
  const fill = (/** @type {HTMLElement} */ element) => {
    part(element, ".state").textContent = result ? (result.error ? "failed" : "done") : "running …";
    part(element, ".arguments").textContent = pretty(call.function.arguments) || "{}";
    part(element, ".result").textContent = result ? result.error || textOf(result.content) : "";
  };
  return { key: call.id, shows: [call, result], make, fill };
}

/** @param {string} json @returns {string} */
function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // not whole yet
  }
}

/** @param {HTMLElement} element @param {Source[]} sources */
function fillSources(element, sources) {
  element.hidden = sources.length === 0;
  if (element.hidden) return;
  const shown = JSON.stringify(sources);
  if (element.dataset.shown === shown) return;
  element.dataset.shown = shown;
  const items = sources.map(({ n, file, heading }) => {
    const where = heading
      ? [h("span", { class: "file", text: file }), h("span", { class: "heading", text: heading })]
      : [h("span", { class: "file", text: file })];
    return h(
      "li",
      { value: String(n), "data-n": String(n), tabindex: "-1" },
      h("span", { class: "n", text: String(n) }),
      h("span", { class: "where" }, ...where),
    );
  });
  element.replaceChildren(h("h3", { text: sources.length === 1 ? "Source" : "Sources" }), h("ol", {}, ...items));
}
