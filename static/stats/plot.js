// @ts-check
/**
 * The picture of a chart, by the vendored library: lines, or bars that stand on each other, over time.
 */

import uPlot from "../vendor/uplot/uplot.js";
import { inUnit, timesOf } from "./figures.js";

/** @typedef {import("./figures.js").Chart} Chart */
/** @typedef {import("./figures.js").Columns} Columns */
/** @typedef {import("./figures.js").Line} Line */
/** @typedef {(step: number | null) => void} OnPoint is told which step somebody points at */

const HEIGHT = 190;
/** What an axis shows at least, so that nothing looks like much. */
const LEAST = { count: 4, "per second": 4, ms: 100 };
const WHOLE = [1, 10, 100, 1000, 1e4, 1e5, 1e6].flatMap((tens) => [1, 2, 5].map((one) => one * tens));
const TIMES = [10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 21_600];
/** Whoever points at a time in one chart points at it in all. */
const TOGETHER = "time";

/** A canvas that is kept as long as what it shows is of the same kind, and that follows the width of its place. */
export class Plot {
  #place;
  #onPoint;
  /** @type {uPlot | undefined} */
  #plot;
  #kind = "";

  /**
   * @param {HTMLElement} place
   * @param {OnPoint} onPoint
   */
  constructor(place, onPoint) {
    this.#place = place;
    this.#onPoint = onPoint;
    new ResizeObserver(() => this.#fit()).observe(place);
  }

  /** Have it made anew: the colours are others. */
  forget() {
    this.#plot?.destroy();
    this.#plot = undefined;
  }

  /** @param {Columns} columns @param {Chart} chart */
  draw(columns, chart) {
    const kind = `${chart.id} ${columns.step_seconds}`;
    if (kind !== this.#kind) this.forget();
    this.#kind = kind;
    const lines = chart.kind === "bars" ? stacked(chart.lines) : chart.lines;
    const data = /** @type {any} */ ([timesOf(columns), ...lines.map(({ values }) => values)]);
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot(options(chart, lines, this.#place, this.#onPoint), data, this.#place);
  }

  #fit() {
    const width = this.#place.clientWidth;
    if (this.#plot && width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }
}

/**
 * Say when a step began.
 * @param {number} at
 * @param {number} step
 * @returns {string}
 */
export function clock(at, step) {
  const seconds = step < 60 ? /** @type {const} */ ({ second: "2-digit" }) : {};
  const form = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...seconds });
  return new Date(at * 1000).toLocaleTimeString("en", form);
}

/**
 * Return lines of which each is the sum of those that stand between it and nought, the furthest first: the next is
 * drawn over it. What goes away goes below.
 * @param {Line[]} lines
 * @returns {Line[]}
 */
function stacked(lines) {
  const sums = lines.map((line, index) => {
    const inner = lines.slice(0, index + 1).filter(({ isBelow }) => isBelow === line.isBelow);
    const sum = (/** @type {number} */ at) => inner.reduce((total, { values }) => total + (values[at] ?? 0), 0);
    return { ...line, values: line.values.map((_, at) => (line.isBelow ? -sum(at) : sum(at))) };
  });
  return sums.reverse();
}

/** @param {Chart} chart @param {Line[]} lines @param {HTMLElement} place @param {OnPoint} onPoint @returns {any} */
function options(chart, lines, place, onPoint) {
  const colour = coloursOf(place);
  const { unit } = chart;
  return {
    width: place.clientWidth || 300,
    height: HEIGHT,
    padding: [10, 22, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false }, sync: { key: TOGETHER } },
    hooks: { setCursor: [(/** @type {uPlot} */ plot) => onPoint(plot.cursor.idx ?? null)] },
    legend: { show: false },
    scales: { y: { range: rangeOf(unit, lines.some(({ isBelow }) => isBelow)) } },
    series: [{}, ...lines.map((line) => seriesOf(chart, line, colour))],
    axes: axesOf(unit, colour),
  };
}

/**
 * @param {import("./figures.js").Unit} unit
 * @param {boolean} isBoth whether there is something below nought as well
 * @returns {(plot: any, least: number | null, most: number | null) => [number, number]}
 */
function rangeOf(unit, isBoth) {
  const room = LEAST[unit];
  return (_plot, least, most) => [
    isBoth ? Math.min(-room / 2, (least ?? 0) * 1.1) : 0,
    Math.max(isBoth ? room / 2 : room, (most ?? 0) * 1.1),
  ];
}

/** @param {import("./figures.js").Unit} unit @param {(name: string) => string} colour @returns {any[]} */
function axesOf(unit, colour) {
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: colour("ink-soft"), ticks: { show: false }, font };
  const grid = { stroke: colour("line"), width: 1 };
  const incrs = unit === "ms" ? undefined : WHOLE;
  const names = (/** @type {any} */ _, /** @type {number[]} */ splits) =>
    splits.map((value) => inUnit(Math.abs(value), unit));
  const times = (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((at) => clock(at, 60));
  return [
    { ...axis, values: times, space: 64, size: 30, incrs: TIMES, grid: { show: false } },
    { ...axis, values: names, space: 27, size: 58, grid, incrs },
  ];
}

/**
 * Return what tells the colours of the page by name: a canvas knows no variables.
 * @param {HTMLElement} place
 * @returns {(name: string) => string}
 */
function coloursOf(place) {
  return (name) => {
    const probe = place.appendChild(document.createElement("i"));
    probe.style.color = `var(--${name})`;
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
}

/** @param {Chart} chart @param {Line} line @param {(name: string) => string} colourOf @returns {any} */
function seriesOf(chart, line, colourOf) {
  const colour = colourOf(`chart-${line.colour}`);
  if (chart.kind === "bars") {
    const paths = uPlot.paths.bars?.({ size: [0.8, 24], align: 1 });
    return { label: line.name, stroke: colour, width: 0, fill: colour, points: { show: false }, paths };
  }
  const fill = chart.lines.length === 1 ? colourOf(`chart-${line.colour}-soft`) : undefined;
  const points = { show: true, size: 6, fill: colour, filter: alone };
  return { label: line.name, stroke: colour, width: 2, fill, points };
}

/**
 * Return the values that stand between gaps: a line would not show them.
 * @param {any} plot
 * @param {number} number of the series
 * @returns {number[]}
 */
function alone(plot, number) {
  /** @type {(number | null | undefined)[]} */
  const values = plot.data[number];
  const isGap = (/** @type {number} */ at) => (values[at] ?? null) === null;
  return values.flatMap((_, at) => (!isGap(at) && isGap(at - 1) && isGap(at + 1) ? [at] : []));
}
