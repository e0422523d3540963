// @ts-check
/**
 * The page of statistics: asks for the figures every few seconds while somebody looks, and shows them.
 */

import { byId, h } from "../dom.js";
import { ChartView } from "./chart.js";
import { chartsOf, tilesOf } from "./figures.js";
import { sharesElement } from "./shares.js";

/** @typedef {import("./figures.js").Stats} Stats */
/** @typedef {import("./figures.js").Tile} Tile */

/** Less than servers keep a connection for: each answer comes from the same process. */
const EVERY_MS = 3000;
const PATIENCE_MS = 20_000;
const LONGEST_WAIT_MS = 60_000;
const THEME = "sessionstream.theme";

/** @type {Map<string, ChartView>} */
const views = new Map();
/** @type {Stats | undefined} */
let stats;
let failures = 0;
let timer = 0;
let shares = "";

async function refresh() {
  clearTimeout(timer);
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const answer = await fetch("api/stats?series=true", { cache: "no-store", signal });
    if (!answer.ok) throw new Error(await reasonOf(answer));
    stats = await answer.json();
    failures = 0;
    say("Live", "good");
    show();
  } catch (error) {
    failures += 1;
    say(`Not up to date: ${error instanceof TypeError ? "the server cannot be reached" : messageOf(error)}`, "bad");
  }
  if (!document.hidden) timer = setTimeout(refresh, Math.min(LONGEST_WAIT_MS, EVERY_MS * 2 ** Math.min(failures, 4)));
}

/** @param {Response} answer @returns {Promise<string>} */
async function reasonOf(answer) {
  try {
    return String((await answer.json()).detail);
  } catch {
    return `the server answered ${answer.status}`;
  }
}

/** @param {unknown} error @returns {string} */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {string} text @param {"good" | "bad"} look */
function say(text, look) {
  const state = byId("state");
  if (state.textContent !== text) state.textContent = text;
  state.dataset.look = look;
}

function show() {
  if (!stats) return;
  const isEmpty = stats.sessions.total === 0;
  byId("empty").hidden = !isEmpty;
  byId("tiles").hidden = isEmpty;
  byId("ranges").hidden = isEmpty;
  byId("charts").hidden = isEmpty;
  byId("shares").hidden = isEmpty;
  byId("scope").textContent = stats.scope === "all" ? "All users" : "Your sessions";
  showTiles(tilesOf(stats));
  if (isEmpty) return;
  showCharts(stats);
  showShares(stats);
}

/** @param {Tile[]} tiles */
function showTiles(tiles) {
  const place = byId("tiles");
  for (const { id, name, value, note } of tiles) {
    const tile = place.querySelector(`[data-tile="${id}"]`) ?? place.appendChild(tileElement(id, name));
    const [, shown, below] = tile.children;
    if (shown && shown.textContent !== value) shown.textContent = value;
    if (below && below.textContent !== note) below.textContent = note;
  }
}

/** @param {string} id @param {string} name @returns {HTMLElement} */
function tileElement(id, name) {
  const inside = [h("dt", { text: name }), h("dd", { class: "value" }), h("dd", { class: "note" })];
  return h("div", { class: "tile", "data-tile": id }, ...inside);
}

/** @param {Stats} given */
function showCharts({ series }) {
  const columns = series[rangeShown()];
  for (const chart of chartsOf(columns)) {
    let view = views.get(chart.id);
    if (!view) {
      view = new ChartView(chart.title);
      views.set(chart.id, view);
      byId("charts").append(view.element);
    }
    view.show(columns, chart);
  }
}

/** @param {Stats} given */
function showShares({ scope, sessions, by_agent: agents, by_site: sites }) {
  const now = JSON.stringify([scope, agents, sites, sessions.by_user]);
  if (now === shares) return;
  shares = now;
  const shown = [sharesElement("Sessions by agent", "Agent", agents), sharesElement("Sessions by site", "Site", sites)];
  if (scope === "all") shown.push(sharesElement("Sessions by user", "User", sessions.by_user));
  byId("shares").replaceChildren(...shown);
}

/** Follow the system, or what another tab has chosen. */
function recolour() {
  let theme = null;
  try {
    theme = JSON.parse(localStorage.getItem(THEME) ?? "null");
  } catch {
    // Nothing was chosen.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  views.forEach((view) => view.recolour());
}

/** @returns {"recent" | "day"} */
function rangeShown() {
  const chosen = document.querySelector('input[name="range"]:checked');
  return chosen instanceof HTMLInputElement && chosen.value === "day" ? "day" : "recent";
}

byId("ranges").addEventListener("change", show);
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : void refresh()));
window.addEventListener("online", () => void refresh());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
window.addEventListener("storage", ({ key }) => {
  if (key === THEME) recolour();
});
void refresh();
