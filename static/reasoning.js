// @ts-check
/**
 * What a model thought before it answered: folded, so that the answer comes first; open, it is Markdown as well.
 */

import { textOf } from "./content.js";
import { h, part } from "./dom.js";
import { limited, moreButton } from "./limit.js";
import { renderMarkdown } from "./rendering.js";

/** @typedef {import("./client/types.js").Message} Message */
/** @typedef {import("./keyed.js").Item} Item */

const STEP = 20_000;

/**
 * @param {Message} message
 * @param {boolean} isOpen whether it is still being written
 * @returns {Item}
 */
export function reasoningItem(message, isOpen) {
  const fill = (/** @type {HTMLElement} */ element) => fillReasoning(element, textOf(message.content), isOpen);
  return { key: `message ${message.id}`, shows: [message, isOpen], make: reasoningElement, fill };
}

/** @returns {HTMLElement} */
function reasoningElement() {
  const details = h(
    "details",
    {},
    h("summary", {}, h("span", { class: "label" })),
    h("div", { class: "text body" }),
    moreButton(),
  );
  return h("li", { class: "reasoning" }, details);
}

/** @param {HTMLElement} element @param {string} text @param {boolean} isOpen */
function fillReasoning(element, text, isOpen) {
  const details = /** @type {HTMLDetailsElement} */ (part(element, "details"));
  part(element, ".label").textContent = isOpen ? "Thinking …" : "Reasoning";
  element.dataset.status = isOpen ? "open" : "done";
  const show = () => {
    // Nothing is made of what nobody looks at.
    if (!details.open) return;
    renderMarkdown(part(element, ".body"), limited(part(element, ".more"), text, STEP, show), { isOpen });
  };
  details.ontoggle = show;
  show();
}
