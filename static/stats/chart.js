// @ts-check
/**
 * One chart: a title, the picture, what it shows in words, and the same figures as a table.
 */

import { h } from "../dom.js";
import { inUnit, inWords, rowsOf, timesOf } from "./figures.js";
import { Plot, clock } from "./plot.js";

/** @typedef {import("./figures.js").Chart} Chart */
/** @typedef {import("./figures.js").Columns} Columns */

const MOST_ROWS = 50;

/** A chart that is drawn anew with new figures, another width or other colours. */
export class ChartView {
  /** What stands on the page. @type {HTMLElement} */
  element;
  #picture = h("div", { class: "picture", role: "img" });
  #keys = h("div", { class: "keys", "aria-hidden": "true" });
  #table = h("table");
  #details = h("details", {}, h("summary", { text: "As a table" }));
  #plot = new Plot(this.#picture, (step) => this.#pointAt(step));
  /** @type {number | null} */
  #step = null;
  /** @type {{ columns: Columns, chart: Chart } | undefined} */
  #shown;

  /** @param {string} title */
  constructor(title) {
    const label = `${title} as a table`;
    const rows = h("div", { class: "rows", tabindex: "0", role: "group", "aria-label": label }, this.#table);
    this.#details.append(rows);
    const head = h("figcaption", {}, h("h2", { text: title }), this.#keys);
    this.element = h("figure", { class: "chart" }, head, this.#picture, this.#details);
    this.#details.addEventListener("toggle", () => this.#fillTable());
  }

  /**
   * @param {Columns} columns
   * @param {Chart} chart
   */
  show(columns, chart) {
    this.#shown = { columns, chart };
    this.#picture.setAttribute("aria-label", inWords(chart));
    this.#plot.draw(columns, chart);
    this.#fillKeys();
    this.#fillTable();
  }

  /** Draw it again in the colours of now. */
  recolour() {
    this.#plot.forget();
    if (this.#shown) this.#plot.draw(this.#shown.columns, this.#shown.chart);
  }

  /** @param {number | null} step */
  #pointAt(step) {
    if (step === this.#step) return;
    this.#step = step;
    this.#fillKeys();
  }

  /** Name the lines, and say what they are at the time that somebody points at. */
  #fillKeys() {
    if (!this.#shown) return;
    const { columns, chart } = this.#shown;
    const at = this.#step === null ? undefined : timesOf(columns)[this.#step];
    const keys = chart.lines.map(({ name, colour, values }) => {
      const value = values[this.#step ?? -1] ?? null;
      const said = at === undefined ? [] : [h("b", { text: value === null ? "–" : inUnit(value, chart.unit) })];
      return h("span", { class: `key is-${colour}` }, name, ...said);
    });
    const time = at === undefined ? [] : [h("span", { class: "at", text: clock(at, columns.step_seconds) })];
    this.#keys.replaceChildren(...time, ...keys);
  }

  #fillTable() {
    if (!this.#details.open || !this.#shown) return;
    const { columns, chart } = this.#shown;
    const rows = rowsOf(columns, chart).slice(0, MOST_ROWS);
    const names = ["Time", ...chart.lines.map(({ name }) => name)];
    const body = rows.map(({ at, values }) =>
      h(
        "tr",
        {},
        h("th", { scope: "row", text: clock(at, columns.step_seconds) }),
        ...values.map((text) => h("td", { text })),
      ),
    );
    const nothing = h("td", { colspan: String(names.length), text: "Nothing in this time" });
    if (rows.length === 0) body.push(h("tr", {}, nothing));
    const head = h("tr", {}, ...names.map((text) => h("th", { scope: "col", text })));
    this.#table.replaceChildren(h("thead", {}, head), h("tbody", {}, ...body));
  }
}
