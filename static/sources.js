// @ts-check
/**
 * What an answer or a tool's result rests on: a numbered list of files, each with its place and its words.
 */

import { h } from "./dom.js";
import { plainName } from "./safe.js";

/** @typedef {import("./client/types.js").Source} Source */

const LONGEST_PASSAGE = 600;
const MOST = 100;

/** @returns {HTMLElement} */
export function sourcesElement() {
  return h("div", { class: "sources", hidden: true });
}

/**
 * Return the sources that are of the form we know; metadata may come from any agent.
 * @param {unknown} sources
 * @returns {Source[]}
 */
export function known(sources) {
  if (!Array.isArray(sources)) return [];
  return sources.filter((one) => Number.isInteger(one?.n) && typeof one.file === "string").slice(0, MOST);
}

/**
 * @param {HTMLElement} element of `sourcesElement`
 * @param {unknown} given
 */
export function fillSources(element, given) {
  const sources = known(given);
  element.hidden = sources.length === 0;
  const shown = JSON.stringify(sources);
  if (element.hidden || shownBy.get(element) === shown) return;
  shownBy.set(element, shown);
  const title = h("h4", { text: sources.length === 1 ? "Source" : "Sources" });
  element.replaceChildren(title, h("ol", {}, ...sources.map(sourceElement)));
}

/** @type {WeakMap<Element, string>} */
const shownBy = new WeakMap();

/** @param {Source} source @returns {HTMLElement} */
function sourceElement(source) {
  const { n, file, heading } = source;
  const passage = passageOf(source);
  // Isolated from each other: the letters of a name must not turn round what stands beside it.
  const where = h("span", { class: "where" }, h("bdi", { class: "file", text: plainName(file) }));
  if (typeof heading === "string" && heading) where.append(h("bdi", { class: "heading", text: plainName(heading) }));
  const item = h(
    "li",
    { value: String(n), "data-n": String(n), tabindex: "-1" },
    h("span", { class: "n", text: String(n) }),
    h("div", { class: "what" }, where),
  );
  if (passage) item.lastElementChild?.append(h("p", { class: "passage", dir: "auto", text: passage }));
  return item;
}

/** @param {Source} source @returns {string} */
function passageOf(source) {
  const { passage, text, quote } = /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (source));
  const found = [passage, text, quote].find((one) => typeof one === "string" && one !== "");
  if (typeof found !== "string") return "";
  return found.length > LONGEST_PASSAGE ? `${[...found.slice(0, LONGEST_PASSAGE)].slice(0, -1).join("")}…` : found;
}
