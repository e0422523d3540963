// @ts-check
/**
 * Markdown on the page, as soon as its parser and the sanitiser are here: the page does not wait for them to start.
 */

import { h } from "./dom.js";

/** @typedef {import("./blocks.js").How} How */

/** @type {typeof import("./blocks.js") | undefined} */
let blocks;
/** What is to be drawn when they are. @type {Map<Element, { text: string, how: How }>} */
const waiting = new Map();
let loading = load();

/**
 * Show a Markdown text in `parent`, which has no other children.
 * @param {Element} parent
 * @param {string} text
 * @param {How} how
 */
export function renderMarkdown(parent, text, how) {
  if (blocks) return blocks.renderMarkdown(parent, text, how);
  waiting.set(parent, { text, how });
  // What is written can be read all the same: marks are better than nothing.
  if (parent.textContent !== text) parent.replaceChildren(...(text ? [h("p", { dir: "auto", text })] : []));
}

/** @returns {Promise<void>} settles when what was asked for so far is shown as well as it can be */
export function drawn() {
  return loading;
}

async function load() {
  try {
    blocks = await import("./blocks.js");
  } catch {
    // It is tried again when that may help.
    window.addEventListener("online", () => (loading = load()), { once: true });
    return;
  }
  for (const [parent, { text, how }] of waiting) blocks.renderMarkdown(parent, text, how);
  waiting.clear();
}
