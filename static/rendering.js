// @ts-check
/**
 * Markdown on the page, as soon as its parser and the sanitiser are here: the page does not wait for them to start.
 */

import { h } from "./dom.js";

/** @typedef {import("./blocks.js").How} How */

const AGAIN_MS = 3000;

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
    // It is tried again: a server that was just restarting tells nobody when it is back, as a network does.
    const again = () => {
      clearTimeout(timer);
      window.removeEventListener("online", again);
      loading = load();
    };
    const timer = setTimeout(again, AGAIN_MS);
    window.addEventListener("online", again);
    return;
  }
  for (const [parent, { text, how }] of waiting) blocks.renderMarkdown(parent, text, how);
  waiting.clear();
}
