// @ts-check
/**
 * The widget's one line in a page of another site: asks whether the page may, and lets a bubble appear.
 *
 *     <script type="module" src="https://chat.example/static/widget.js" data-agent="support"></script>
 *
 * `data-title`, `data-color`, `data-position`, `data-theme` and `data-persona` may be added. The conversation
 * lives in a frame of the server's: what runs here (this, and `widget/around`) sees nothing of it, and the page around
 * can neither read nor style it. Pages are strange: they patch what is built in, so little of that is used.
 */

import { ask, BASE, Refused, say } from "./widget/around/offer.js";
import { Widget } from "./widget/around/widget.js";

/** @typedef {import("./widget/around/offer.js").Options} Options */

const RETRY_MS = [5_000, 15_000, 60_000];
/** Says to a second script, of whatever version or address, that there is one. */
const THERE = Symbol.for("sessionstream.widget");

/** The element that loaded this file, unless the page has taken it away. @returns {HTMLScriptElement | undefined} */
function ownScript() {
  for (const script of document.querySelectorAll("script")) {
    if (script.src === import.meta.url) return script;
  }
  return undefined;
}

/** What the page around says. @returns {Options} */
function options() {
  const { agent = "", title = "", color = "", position = "", theme = "", persona = "" } = ownScript()?.dataset ?? {};
  const known = CSS.supports("color", color) ? color : "";
  if (color && !known) say("warn", `data-color="${color}" is not a colour; the widget keeps its own.`);
  return {
    agent,
    title: title.trim() || "Chat",
    color: known,
    position: oneOf("position", position, "left", "right"),
    theme: oneOf("theme", theme, "light", "dark"),
    persona,
  };
}

/** @param {string} name @param {string} value @param {string} one @param {string} other @returns {string} */
function oneOf(name, value, one, other) {
  if (value === "" || value === one || value === other) return value;
  say("warn", `data-${name} must be ${one} or ${other}, not "${value}".`);
  return "";
}

/** @param {Options} wanted @param {number} [attempt] */
async function begin(wanted, attempt = 0) {
  let offer;
  try {
    offer = await ask(wanted);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof Refused) {
      say("error", `the widget does not appear: ${why}`);
      return;
    }
    if (attempt === 0) say("warn", `${why} Does this page's policy allow connect-src ${BASE.origin}?`);
    setTimeout(() => void begin(wanted, attempt + 1), RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
    return;
  }
  new Widget(wanted, offer).start();
}

function start() {
  const marks = /** @type {Record<symbol, unknown>} */ (/** @type {unknown} */ (window));
  if (marks[THERE]) {
    say("warn", "this page has the widget already; a second one is left out.");
    return;
  }
  marks[THERE] = true;
  void begin(options());
}

if (document.body) start();
else document.addEventListener("DOMContentLoaded", start, { once: true });
