// @ts-check
/**
 * The running text of Markdown as nodes: emphasis, code, links, citations. Text is always a text node.
 */

import { h } from "./dom.js";
import { decoded, honest, plainCode, safeHref } from "./safe.js";

/** @typedef {ReadonlySet<string>} Cites the numbers of the sources that the text may cite */

const CITATION = /\[(\d{1,3})\]/;
const ELEMENTS = /** @type {const} */ ({ strong: "strong", em: "em", del: "del" });

/**
 * Return the nodes of the parser's inline tokens.
 * @param {any[]} tokens
 * @param {Cites} cites
 * @returns {(Node | string)[]}
 */
export function inlineNodes(tokens, cites) {
  return tokens.flatMap((token) => nodesOf(token, cites));
}

/** @param {any} token @param {Cites} cites @returns {(Node | string)[]} */
function nodesOf(token, cites) {
  switch (token.type) {
    case "text":
      return token.tokens ? inlineNodes(token.tokens, cites) : cited(decoded(token.text), cites);
    case "escape":
      return [token.text];
    case "codespan":
      return [h("code", { text: plainCode(token.text) })];
    case "strong":
    case "em":
    case "del":
      return [h(ELEMENTS[/** @type {keyof ELEMENTS} */ (token.type)], {}, ...inlineNodes(token.tokens, cites))];
    case "br":
      return [h("br")];
    case "link":
      return linkNodes(token, inlineNodes(token.tokens, IN_LINK));
    case "image":
      // Not fetched: whoever wrote the text would learn who reads it, and when.
      return imageNodes(token, decoded(token.text) || "image", cites);
    case "checkbox":
      return [h("span", { class: "task", role: "img", "aria-label": token.checked ? "Done:" : "To do:" })];
    default:
      return [token.raw];
  }
}

/** Of the text of a link, in which is no button, and no other link. @type {Cites} */
const IN_LINK = new Set();

/** @param {any} token @param {string} label @param {Cites} cites @returns {(Node | string)[]} */
function imageNodes(token, label, cites) {
  return cites === IN_LINK ? [label] : linkNodes(token, [label]);
}

/** @param {any} token @param {(Node | string)[]} label @returns {(Node | string)[]} */
function linkNodes(token, label) {
  const href = safeHref(decoded(token.href));
  if (!href) return [token.raw];
  const link = h("a", { href, rel: "noopener noreferrer nofollow", target: "_blank" }, ...label);
  const text = link.textContent ?? "";
  if (honest(text, href) !== text) link.textContent = honest(text, href);
  return [link];
}

/** @param {string} text @param {Cites} cites @returns {(Node | string)[]} */
function cited(text, cites) {
  if (cites.size === 0 || !text.includes("[")) return [text];
  return text.split(CITATION).map((piece, index) => {
    if (index % 2 === 0) return piece;
    if (!cites.has(piece)) return `[${piece}]`;
    return h("button", {
      type: "button",
      class: "cite",
      "data-n": piece,
      "aria-label": `Source ${piece}`,
      text: `[${piece}]`,
    });
  });
}
