// @ts-check
/**
 * Long texts: as much is shown as a page takes without a stutter, the rest when somebody asks for it.
 */

import { h } from "./dom.js";

/** @type {WeakMap<Element, { limit: number, again: () => void }>} */
const limits = new WeakMap();

/**
 * Return as much of a text as is to be shown, and have a button tell how much more there is.
 * @param {HTMLElement} button of `moreButton`
 * @param {string} text
 * @param {number} step in characters
 * @param {() => void} again shows the text anew, when more of it is wanted
 * @returns {string}
 */
export function limited(button, text, step, again) {
  const limit = limits.get(button)?.limit ?? step;
  limits.set(button, { limit, again });
  const end = wholeEnd(text, limit);
  const rest = text.length - end;
  const label = `Show more (${rest.toLocaleString("en")} characters)`;
  button.hidden = rest === 0;
  if (rest > 0 && button.textContent !== label) button.textContent = label;
  button.dataset.step = String(step);
  return rest > 0 ? text.slice(0, end) : text;
}

/** @returns {HTMLButtonElement} */
export function moreButton() {
  const onclick = (/** @type {MouseEvent} */ event) => {
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    const known = limits.get(button);
    if (!known) return;
    known.limit += Number(button.dataset.step);
    known.again();
  };
  return h("button", { type: "button", class: "link more", hidden: true, onclick });
}

/** @param {string} text @param {number} limit @returns {number} */
function wholeEnd(text, limit) {
  if (text.length <= limit) return text.length;
  const isPair = (text.charCodeAt(limit - 1) & 0xfc00) === 0xd800;
  return isPair ? limit - 1 : limit;
}
