// @ts-check
/**
 * The second look: what the views made of somebody's text is gone through once more before it is shown, by the
 * vendored sanitiser. It works on elements: no text is parsed as markup for it.
 */

import DOMPurify from "./vendor/dompurify/purify.js";

const TAGS = [
  ...["a", "blockquote", "br", "button", "code", "del", "div", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li"],
  ...["ol", "p", "pre", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
];
/** None of them holds an address, or runs. */
const HARMLESS = [
  ...["aria-label", "class", "data-copy", "data-language", "data-n", "dir", "rel", "role", "start"],
  ...["tabindex", "target", "type"],
];
const RULES = {
  IN_PLACE: true,
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: [...HARMLESS, "href"],
  ADD_URI_SAFE_ATTR: HARMLESS,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

/** @type {import("./vendor/dompurify/purify.js").DOMPurify | undefined} */
let sanitiser;

/**
 * Take from an element, which is on no page yet, whatever may not be in an answer.
 * @param {HTMLElement} element
 */
export function purify(element) {
  if (!sanitiser) {
    sanitiser = DOMPurify(/** @type {any} */ (window)); // its type wants Trusted Types declared
    sanitiser.setConfig(RULES);
  }
  sanitiser.sanitize(element);
}
