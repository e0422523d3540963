// @ts-check
/**
 * A block of code: its language, a button that copies it, and colours that come when there is time for them.
 */

import { colour, mayHaveColours } from "./colours.js";
import { h } from "./dom.js";
import { become } from "./morph.js";
import { plainCode } from "./safe.js";

/**
 * @typedef {object} Shown
 * @property {string} text
 * @property {string} coloured as much of the text as has its colours
 * @property {Text} tail where what comes next is added
 */

/** @type {WeakMap<Element, Shown>} */
const shown = new WeakMap();

/**
 * @param {string} text
 * @param {string} info what stands behind the opening fence
 * @returns {HTMLElement}
 */
export function codeElement(text, info) {
  const language = (/^[\w#+.-]{1,30}/.exec(info)?.[0] ?? "").toLowerCase();
  const copy = h("button", { type: "button", class: "copy", "data-copy": "code", text: "Copy" });
  const label = language ? `Code, ${language}` : "Code";
  return h(
    "div",
    { class: "code", "data-language": language },
    h("div", { class: "code-head" }, h("span", { class: "language", text: language || "text" }), copy),
    h("pre", { tabindex: "0", role: "group", dir: "ltr", "aria-label": label }, h("code", { text: plainCode(text) })),
  );
}

/**
 * Make a block of code that is shown like a fresh one, adding what is new.
 * @param {Element} element
 * @param {Element} fresh
 * @returns {boolean | undefined} whether it could: not for another language; undefined for what is no code
 */
export function updateCode(element, fresh) {
  if (!isCode(element)) return undefined;
  if (languageOf(element) !== languageOf(fresh)) return false;
  const known = shownOf(element);
  const text = codeOf(fresh).textContent ?? "";
  if (text.startsWith(known.text)) {
    if (text !== known.text) known.tail.appendData(text.slice(known.text.length));
  } else {
    known.tail = document.createTextNode(text);
    known.coloured = "";
    codeOf(element).replaceChildren(known.tail);
  }
  known.text = text;
  return true;
}

/**
 * Colour the blocks of code in an element that is on the page now, where they are not yet.
 * @param {Element} element
 */
export function enliven(element) {
  for (const block of isCode(element) ? [element] : element.querySelectorAll("div.code")) colourLater(block);
}

/** @param {Element} element */
function colourLater(element) {
  const known = shownOf(element);
  const language = languageOf(element);
  if (known.text === known.coloured || !mayHaveColours(language, known.text)) return;
  const { text } = known;
  colour(element, text, language, (nodes) => {
    if (!known.text.startsWith(text)) return;
    const code = codeOf(element);
    become(code, h("code", {}, ...nodes));
    // What has come meanwhile stays plain until the next time.
    known.tail = document.createTextNode(known.text.slice(text.length));
    known.coloured = text;
    code.append(known.tail);
  });
}

/** @param {Element} element @returns {Shown} */
function shownOf(element) {
  const known = shown.get(element);
  if (known) return known;
  const code = codeOf(element);
  const fresh = { text: code.textContent ?? "", coloured: "", tail: document.createTextNode("") };
  code.append(fresh.tail);
  shown.set(element, fresh);
  return fresh;
}

/** @param {Element} element @returns {boolean} */
function isCode(element) {
  return element.nodeName === "DIV" && element.className === "code";
}

/** @param {Element} element @returns {Element} */
function codeOf(element) {
  return /** @type {Element} */ (element.querySelector("pre > code"));
}

/** @param {Element} element @returns {string} */
function languageOf(element) {
  return element.getAttribute("data-language") ?? "";
}
