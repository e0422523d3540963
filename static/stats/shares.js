// @ts-check
/**
 * Who has how many: a table with a bar behind each number.
 */

import { h } from "../dom.js";
import { sharesOf } from "./figures.js";

/**
 * @param {string} title
 * @param {string} column what is named
 * @param {Record<string, number>} counts
 * @returns {HTMLElement}
 */
export function sharesElement(title, column, counts) {
  const shares = sharesOf(counts);
  const most = Math.max(1, ...shares.map(({ value }) => value));
  const rows = shares.map(({ name, value }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("bdi", { text: name, title: name })),
      h("td", { class: "bar" }, h("progress", { max: String(most), value: String(value), "aria-hidden": "true" })),
      h("td", { class: "number", text: value.toLocaleString("en") }),
    ),
  );
  const head = h(
    "tr",
    {},
    h("th", { scope: "col", text: column }),
    h("td"),
    h("th", { scope: "col", class: "number", text: "Sessions" }),
  );
  const columns = h("colgroup", {}, h("col", { class: "for-name" }), h("col"), h("col", { class: "for-number" }));
  const table = h("table", {}, columns, h("thead", { class: "visually-hidden" }, head), h("tbody", {}, ...rows));
  const shown = rows.length > 0 ? table : h("p", { text: "None yet." });
  return h("section", { class: "share" }, h("h2", { text: title }), shown);
}
