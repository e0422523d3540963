// @ts-check
/**
 * The keyboard: what works everywhere on the page, and the sheet that tells.
 */

import { byId, h } from "./dom.js";

/**
 * @typedef {object} KeyListeners
 * @property {() => void} onNew
 * @property {() => void} onSearch
 * @property {() => void} onFocus
 * @property {(step: 1 | -1) => void} onStep to the chat below or above
 * @property {() => void} onEscape what is open closes, else the answer stops
 */

const IS_MAC = /Mac|iPhone|iPad/.test(navigator.platform);

/** What the sheet tells: words, then keys; `mod` is Ctrl, or ⌘ on a Mac. @type {[string, string][]} */
const SHEET = [
  ["New chat", "mod+Shift+O"],
  ["Search", "mod+K"],
  ["To the message box", "Shift+Esc"],
  ["Send, or queue during an answer", "Enter"],
  ["New line", "Shift+Enter"],
  ["Stop the answer", "Esc"],
  ["Change the last message", "↑"],
  ["Next, previous chat", "Alt+↓ ↑"],
  ["In the list: rename, delete", "F2 Del"],
  ["This sheet", "mod+/"],
];

/** Whether keys go to something that lies above the page. @returns {boolean} */
export function isCovered() {
  return document.querySelector("dialog[open], .menu:popover-open") !== null;
}

/** Open the sheet of shortcuts. */
export function openHelp() {
  /** @type {HTMLDialogElement} */ (byId("help")).showModal();
}

/** @param {KeyListeners} listeners */
export function enableKeys(listeners) {
  byId("keys").append(...SHEET.flatMap(([what, keys]) => [h("dt", { text: what }), h("dd", {}, ...caps(keys))]));
  for (const place of document.querySelectorAll("[data-keys]")) {
    place.textContent = shown(/** @type {HTMLElement} */ (place).dataset.keys ?? "").join(IS_MAC ? "" : "+");
  }
  byId("help-open").addEventListener("click", openHelp);
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented || isCovered()) return;
    const act = actionOf(event, listeners);
    if (!act) return;
    if (event.key !== "Escape") event.preventDefault();
    act();
  });
}

/** @param {KeyboardEvent} event @param {KeyListeners} listeners @returns {(() => void) | undefined} */
function actionOf(event, { onNew, onSearch, onFocus, onStep, onEscape }) {
  const { key, shiftKey, altKey } = event;
  const mod = IS_MAC ? event.metaKey : event.ctrlKey;
  if (key === "Escape") return shiftKey ? onFocus : onEscape;
  if (mod && !altKey) {
    if (shiftKey && key.toLowerCase() === "o") return onNew;
    if (!shiftKey && key.toLowerCase() === "k") return onSearch;
    if (key === "/") return openHelp;
  }
  if (altKey && !mod && !shiftKey && key === "ArrowDown") return () => onStep(1);
  if (altKey && !mod && !shiftKey && key === "ArrowUp") return () => onStep(-1);
  return undefined;
}

/** @param {string} keys @returns {string[]} */
function shown(keys) {
  const names = /** @type {Record<string, string>} */ (IS_MAC ? { mod: "⌘", Shift: "⇧", Alt: "⌥" } : { mod: "Ctrl" });
  return keys.split(/[+ ]/).map((key) => names[key] ?? key);
}

/** @param {string} keys @returns {HTMLElement[]} */
function caps(keys) {
  return shown(keys).map((text) => h("kbd", { text }));
}
