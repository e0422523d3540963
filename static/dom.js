// @ts-check
/**
 * Elements from data: text goes through `textContent` only, so nothing an agent or user writes becomes markup.
 */

import { parseInline } from "./inline.js";
import { parseBlocks } from "./markdown.js";

/** @typedef {import("./markdown.js").Block} Block */

/**
 * Make an element. `class`, `text` and listeners (`onclick`) are set as properties, the rest as attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/**
 * Return an element of the page that is known to be there.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * Return a part of an element of ours that is known to be there.
 * @param {HTMLElement} element
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}

/**
 * Return a copy of an icon from the page's templates.
 * @param {string} name
 * @returns {Node}
 */
export function icon(name) {
  const template = /** @type {HTMLTemplateElement} */ (byId(`icon-${name}`));
  return template.content.cloneNode(true);
}

/**
 * Make a button with an icon and a name for those who do not see it.
 * @param {string} name of the icon
 * @param {string} label
 * @param {(event: MouseEvent) => void} onclick
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, label, onclick) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick }, icon(name));
}

/** @type {WeakMap<Element, Block[]>} */
const rendered = new WeakMap();

/**
 * Show a Markdown text in `parent`. Blocks that are as they were stay as they are; a growing block of code keeps
 * its element, so that it keeps its scroll position and selection.
 * @param {Element} parent
 * @param {string} text
 */
export function renderMarkdown(parent, text) {
  const blocks = parseBlocks(text);
  const before = rendered.get(parent) ?? [];
  blocks.forEach((block, index) => {
    const old = before[index];
    const node = parent.children[index];
    if (!old || !node) parent.append(blockElement(block));
    else if (old.kind === "code" && block.kind === "code" && old.language === block.language)
      updateCode(node, block.text);
    else if (old.kind !== block.kind || old.source !== block.source) node.replaceWith(blockElement(block));
  });
  while (parent.children.length > blocks.length) parent.lastElementChild?.remove();
  rendered.set(parent, blocks);
}

/** @param {Element} node @param {string} text */
function updateCode(node, text) {
  const code = node.querySelector("code");
  if (code && code.textContent !== text) code.textContent = text;
}

/** @param {Block} block @returns {HTMLElement} */
function blockElement(block) {
  switch (block.kind) {
    case "code":
      return codeElement(block.text, block.language);
    case "heading":
      // The page's own headings are levels 1 and 2: those of an answer come below.
      return h(/** @type {"h3"} */ (`h${Math.min(6, block.level + 2)}`), {}, ...inline(block.text));
    case "quote":
      return h("blockquote", {}, ...block.blocks.map(blockElement));
    case "list":
      return h(
        block.ordered ? "ol" : "ul",
        { start: block.start > 1 && String(block.start) },
        ...block.items.map(itemElement),
      );
    case "table":
      return tableElement(block.rows);
    case "rule":
      return h("hr");
    default:
      return h("p", {}, ...inline(block.text));
  }
}

/** @param {string} text @param {string} language @returns {HTMLElement} */
function codeElement(text, language) {
  const code = h("code", { text });
  const copy = h("button", { type: "button", class: "copy", text: "Copy", "data-copy": "code" });
  const pre = h("pre", { tabindex: "0", "aria-label": language ? `Code, ${language}` : "Code" }, code);
  return h(
    "div",
    { class: "code" },
    h("div", { class: "code-head" }, h("span", { text: language || "text" }), copy),
    pre,
  );
}

/** @param {Block[]} blocks @returns {HTMLElement} */
function itemElement(blocks) {
  const [first, ...rest] = blocks;
  if (first?.kind !== "paragraph") return h("li", {}, ...blocks.map(blockElement));
  return h("li", {}, ...inline(first.text), ...rest.map(blockElement));
}

/** @param {string[][]} rows @returns {HTMLElement} */
function tableElement([head = [], ...rows]) {
  const cells = (/** @type {"th" | "td"} */ tag, /** @type {string[]} */ row) =>
    h("tr", {}, ...row.map((text) => h(tag, {}, ...inline(text))));
  const table = h(
    "table",
    {},
    h("thead", {}, cells("th", head)),
    h("tbody", {}, ...rows.map((row) => cells("td", row))),
  );
  return h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

/** @param {string} text @returns {(Node | string)[]} */
function inline(text) {
  return parseInline(text).map((span) => {
    switch (span.kind) {
      case "code":
      case "strong":
      case "em":
        return h(span.kind, { text: span.text });
      case "link":
        return h("a", { href: span.href, rel: "noopener noreferrer nofollow", target: "_blank", text: span.text });
      case "cite":
        return h("span", { class: "cite", "data-n": span.text, text: `[${span.text}]` });
      default:
        return span.text;
    }
  });
}
