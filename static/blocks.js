// @ts-check
/**
 * Markdown on the page: blocks as elements. A text that grows touches its last blocks only.
 */

import { codeElement, enliven, updateCode } from "./code.js";
import { h } from "./dom.js";
import { inlineNodes } from "./inline.js";
import { parse, parseInside } from "./markdown.js";
import { mended } from "./mended.js";
import { become } from "./morph.js";
import { purify } from "./purified.js";

/** @typedef {import("./markdown.js").Block} Block */
/** @typedef {import("./markdown.js").Parsed} Parsed */
/** @typedef {import("./inline.js").Cites} Cites */
/** @typedef {{ isOpen?: boolean, cites?: Cites }} How */
/** @typedef {{ parsed: Parsed, keys: string[], isWhole: boolean }} Rendered */
/** @typedef {{ rest: number, timer: number }} Pause until when, in ms of the page's clock */

/** What is felt by nobody. A text that takes longer is drawn less often while it grows. */
const SWIFT_MS = 12;
const REST = 4;

/** How many elements are made in one turn, and for how many of them a block counts beside its own. */
const MOST_AT_ONCE = 2500;
const BLOCK_COUNTS = 10;

/** @type {WeakMap<Element, Rendered>} */
const rendered = new WeakMap();
/** @type {Cites} */
const NO_CITES = new Set();

/** @type {WeakMap<Element, Pause>} */
const pauses = new WeakMap();

/**
 * Show a Markdown text in `parent`, which has no other children. Blocks that are as they were keep their elements.
 * @param {Element} parent
 * @param {string} text
 * @param {How} [how] `isOpen`: more is to come; `cites`: sources that it may cite
 */
export function renderMarkdown(parent, text, how = {}) {
  const before = performance.now();
  const pause = pauses.get(parent);
  clearTimeout(pause?.timer);
  if (how.isOpen && pause && before < pause.rest) {
    pause.timer = setTimeout(() => renderMarkdown(parent, text, how), pause.rest - before);
    return;
  }
  const isAll = draw(parent, text, how);
  const now = performance.now();
  // The page goes on between two turns.
  const timer = isAll ? 0 : setTimeout(() => renderMarkdown(parent, text, how));
  const rest = isAll && now - before > SWIFT_MS ? now + REST * (now - before) : 0;
  if (timer || rest) pauses.set(parent, { rest, timer });
}

/** @param {Element} parent @param {string} text @param {How} how @returns {boolean} whether all of it is shown */
function draw(parent, text, { isOpen = false, cites = NO_CITES }) {
  const before = rendered.get(parent);
  // Only a whole text is parsed from its beginning: what came later may have changed what came before.
  const parsed = parse(text, isOpen || before?.isWhole ? before?.parsed : undefined);
  const version = [Object.entries(parsed.links).map(([name, { href }]) => [name, href]), ...cites].join(" ");
  const blocks = isOpen ? withMendedEnd(parsed) : parsed.blocks;
  const keys = blocks.map(({ source }) => (source.includes("[") ? `${version}\n${source}` : `\n${source}`));
  const drawn = update(parent, blocks, keys, before?.keys ?? [], cites);
  for (let extra = parent.childElementCount; extra > keys.length; extra -= 1) parent.lastElementChild?.remove();
  rendered.set(parent, { parsed, keys: keys.slice(0, drawn), isWhole: !isOpen });
  return drawn === keys.length;
}

/**
 * Make or change the elements of blocks that are not as they were, as many as one turn may.
 * @param {Element} parent
 * @param {Block[]} blocks
 * @param {string[]} keys
 * @param {string[]} before
 * @param {Cites} cites
 * @returns {number} how many blocks are shown now
 */
function update(parent, blocks, keys, before, cites) {
  let made = 0;
  for (const [index, { token }] of blocks.entries()) {
    if (keys[index] === before[index]) continue;
    const shown = parent.children[index];
    if (!shown && made >= MOST_AT_ONCE) return index;
    const fresh = freshBlock(token, cites);
    made += BLOCK_COUNTS + fresh.getElementsByTagName("*").length;
    place(parent, shown, fresh);
  }
  return blocks.length;
}

/** @param {Parsed} parsed @returns {Block[]} */
function withMendedEnd({ text, blocks, links }) {
  const last = blocks.at(-1);
  // Behind it may be the address of a name, which is no block: then it is over.
  if (!last || text.slice(last.at + last.source.length).trim()) return blocks;
  const source = mended(last.source, last.token.type, last.at === 0);
  return source === last.source ? blocks : [...blocks.slice(0, -1), ...parseInside(source, links)];
}

/** @param {any} token @param {Cites} cites @returns {HTMLElement} */
function freshBlock(token, cites) {
  const element = blockElement(token, cites);
  // Of the whole block, not of what is in it: a list's numbers, a quote's line, a table's columns go the way it reads.
  if (!hasNoDirection(token)) element.dir = "auto";
  // Each by itself: the sanitiser leaves iterators behind that make it dear to take an element out of another.
  purify(element);
  return element;
}

/** @param {Element} parent @param {Element | undefined} shown @param {Element} fresh */
function place(parent, shown, fresh) {
  if (!shown) {
    parent.append(fresh);
    enliven(fresh);
    return;
  }
  if (become(shown, fresh, updateCode)) return enliven(shown);
  shown.replaceWith(fresh);
  enliven(fresh);
}

/** @param {any} token @returns {boolean} */
function hasNoDirection({ type }) {
  return type === "code" || type === "hr";
}

/** @param {any} token @param {Cites} cites @returns {HTMLElement} */
function blockElement(token, cites) {
  switch (token.type) {
    case "code":
      return codeElement(token.text, token.lang ?? "");
    case "heading":
      // The page's own headings are levels 1 and 2: those of an answer come below.
      return h(/** @type {"h3"} */ (`h${Math.min(6, token.depth + 2)}`), {}, ...inside(token, cites));
    case "blockquote":
      return h("blockquote", {}, ...blocksIn(token.tokens, cites));
    case "list":
      return listElement(token, cites);
    case "table":
      return tableElement(token, cites);
    case "hr":
      return h("hr");
    default:
      return h("p", {}, ...inside(token, cites));
  }
}

/** @param {any} token @param {Cites} cites @returns {(Node | string)[]} */
function inside(token, cites) {
  return inlineNodes(token.tokens ?? [{ type: "text", text: token.text ?? token.raw }], cites);
}

/** @param {any[]} tokens @param {Cites} cites @returns {HTMLElement[]} */
function blocksIn(tokens, cites) {
  return tokens.filter(isShown).map((token) => blockElement(token, cites));
}

/** @param {any} token @returns {boolean} */
function isShown({ type }) {
  return type !== "space" && type !== "def";
}

/** @param {any} list @param {Cites} cites @returns {HTMLElement} */
function listElement(list, cites) {
  const start = list.ordered && Number.isInteger(list.start) && list.start !== 1 && String(list.start);
  const items = list.items.map((/** @type {any} */ item) => h("li", {}, ...itemNodes(item, cites)));
  return h(list.ordered ? "ol" : "ul", { start }, ...items);
}

/** @param {any} item @param {Cites} cites @returns {(Node | string)[]} */
function itemNodes(item, cites) {
  return item.tokens.filter(isShown).flatMap((/** @type {any} */ token) => {
    if (token.type === "text") return inside(token, cites);
    if (token.type === "checkbox") return inlineNodes([token], cites);
    return [blockElement(token, cites)];
  });
}

/** @param {any} table @param {Cites} cites @returns {HTMLElement} */
function tableElement({ header, rows }, cites) {
  const row = (/** @type {"th" | "td"} */ tag, /** @type {any[]} */ cells) =>
    h("tr", {}, ...cells.map((cell) => h(tag, { class: aligned(cell) }, ...inside(cell, cites))));
  const body = rows.map((/** @type {any[]} */ cells) => row("td", cells));
  const table = h("table", {}, h("thead", {}, row("th", header)), h("tbody", {}, ...body));
  return h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

/** @param {{ align?: string | null }} cell @returns {string | false} */
function aligned({ align }) {
  return align === "right" || align === "center" ? `to-${align}` : false;
}
