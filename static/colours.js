// @ts-check
/**
 * Colours for code, by the vendored library: loaded with the first block that wants them, asked between frames, one
 * block at a time, about nothing so long that a reader would feel it. What it says becomes elements, not markup.
 */

import { h } from "./dom.js";

/** @typedef {{ scope?: string, children: (Scope | string)[] }} Scope a piece of code and what it is */
/** @typedef {(nodes: (Node | string)[]) => void} Apply */
/** @typedef {{ text: string, language: string, apply: Apply }} Wish */

const LIBRARY = "./vendor/highlight/highlight.js";
const LONGEST = 12_000;
/** Of the time that passes, colours take a tenth at most: code that is still being written is gone over many times. */
const SHARE = 10;
const SHORTEST_PAUSE_MS = 40;
const PLAIN = new Set(["", "text", "txt", "plain", "plaintext", "output", "console", "log"]);

/** @type {Map<Element, Wish>} */
const waiting = new Map();
let isWorking = false;
/** @type {Promise<any> | undefined} */
let library;

/**
 * Say whether code may get colours, as far as can be said without the library.
 * @param {string} language
 * @param {string} text
 * @returns {boolean}
 */
export function mayHaveColours(language, text) {
  return text.length <= LONGEST && !PLAIN.has(language);
}

/**
 * Ask for the colours of a block; a later wish for the same block replaces an earlier one.
 * @param {Element} element
 * @param {string} text
 * @param {string} language
 * @param {Apply} apply is called when they are known, or never
 */
export function colour(element, text, language, apply) {
  waiting.set(element, { text, language, apply });
  if (isWorking) return;
  isWorking = true;
  void work().finally(() => (isWorking = false));
}

async function work() {
  library ??= import(LIBRARY).then((module) => module.default);
  let highlighter;
  try {
    highlighter = await library;
  } catch {
    library = undefined; // the network may be back for the next block
    waiting.clear();
    return;
  }
  let tookMs = 0;
  while (waiting.size > 0) {
    await aQuietMoment(Math.max(SHORTEST_PAUSE_MS, tookMs * SHARE));
    const before = performance.now();
    for (const [element, wish] of waiting) {
      waiting.delete(element);
      if (element.isConnected && paint(highlighter, wish)) break;
    }
    tookMs = performance.now() - before;
  }
}

/** @param {any} highlighter @param {Wish} wish @returns {boolean} whether there was anything to do */
function paint(highlighter, { text, language, apply }) {
  if (!highlighter.getLanguage(language)) return false;
  const result = highlighter.highlight(text, { language, ignoreIllegals: true });
  apply(nodesOf(result._emitter.rootNode));
  return true;
}

/** @param {number} pauseMs @returns {Promise<unknown>} */
function aQuietMoment(pauseMs) {
  return new Promise((resolve) => {
    setTimeout(() => {
      if ("requestIdleCallback" in window) requestIdleCallback(resolve, { timeout: 1000 });
      else resolve(undefined);
    }, pauseMs);
  });
}

/** @param {Scope} scope @returns {(Node | string)[]} */
function nodesOf({ children }) {
  return children.map((child) => {
    if (typeof child === "string") return child;
    // A scope may be `title.function`: its first word has the colour.
    const name = /^[\w-]+/.exec(child.scope ?? "")?.[0];
    return h("span", { class: name && `hl-${name}` }, ...nodesOf(child));
  });
}
