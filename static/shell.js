// @ts-check
/**
 * The frame around the chat: the drawer of small screens, copying, citations, the theme.
 */

import { originals } from "./answer.js";
import { byId } from "./dom.js";
import { keep, recall } from "./kept.js";
import { complain } from "./toast.js";

/** @typedef {"" | "light" | "dark"} Theme empty: the system's */

/** @returns {Theme} */
export function theme() {
  return /** @type {Theme} */ (recall("theme", ""));
}

/** @param {Theme} chosen */
export function setTheme(chosen) {
  keep("theme", chosen || null);
  if (chosen) document.documentElement.dataset.theme = chosen;
  else delete document.documentElement.dataset.theme;
}

/**
 * Make the sidebar a drawer on small screens: closed it is out of reach, open it holds the focus.
 * @returns {{ open: () => void, close: () => boolean }} `close` says whether it was open
 */
export function makeDrawer() {
  const sidebar = byId("sidebar");
  const opener = byId("open-drawer");
  const main = byId("main");
  const scrim = byId("scrim");
  const small = matchMedia("(max-width: 759px)");
  let isOpen = false;
  const apply = () => {
    const covers = small.matches && isOpen;
    sidebar.classList.toggle("shown", covers);
    sidebar.inert = small.matches && !isOpen;
    main.inert = covers;
    scrim.hidden = !covers;
    opener.setAttribute("aria-expanded", String(covers));
  };
  const set = (/** @type {boolean} */ open) => {
    const was = small.matches && isOpen;
    isOpen = open;
    apply();
    if (open && small.matches) byId("close-drawer").focus();
    else if (was) opener.focus();
    return was;
  };
  opener.addEventListener("click", () => set(true));
  byId("close-drawer").addEventListener("click", () => set(false));
  scrim.addEventListener("click", () => set(false));
  small.addEventListener("change", apply);
  apply();
  return { open: () => void set(true), close: () => set(false) };
}

/**
 * Make the copy buttons in `area` work, those to come too.
 * @param {HTMLElement} area
 */
export function enableCopying(area) {
  area.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-copy]");
    if (!(button instanceof HTMLElement)) return;
    const message = button.closest(".message");
    const place = { code: button.closest(".code")?.querySelector("code"), question: message?.querySelector(".text") };
    const shown = place[/** @type {keyof place} */ (button.dataset.copy)] ?? message?.querySelector(".body");
    if (!shown) return;
    const original = button.dataset.copy === "answer" && message ? originals.get(message) : undefined;
    void copy(shown, original ?? shown.textContent ?? "", button);
  });
}

/** @param {Element} shown @param {string} text @param {HTMLElement} button */
async function copy(shown, text, button) {
  const label = button.lastChild;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard on plain HTTP beyond loopback: select it, so that the keyboard can.
    getSelection()?.selectAllChildren(shown);
    return complain("Selected: press Ctrl+C to copy.");
  }
  if (label) label.textContent = "Copied";
  setTimeout(() => label && (label.textContent = "Copy"), 1500);
}

/**
 * Show a citation's source when it is clicked.
 * @param {HTMLElement} area
 */
export function enableCitations(area) {
  area.addEventListener("click", (event) => {
    const cite = /** @type {HTMLElement} */ (event.target).closest(".has-sources .cite");
    if (!(cite instanceof HTMLElement)) return;
    const source = cite.closest(".message")?.querySelector(`.sources li[data-n="${CSS.escape(cite.dataset.n ?? "")}"]`);
    if (source instanceof HTMLElement) source.focus();
  });
}
