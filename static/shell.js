// @ts-check
/**
 * The frame around the chat: the drawer of small screens, the dialog, the toast, copying.
 */

import { originals } from "./answer.js";
import { byId } from "./dom.js";

const TOAST_MS = 6000;
let toastTimer = 0;

/**
 * Say something that went wrong, for a while.
 * @param {string} text
 */
export function toast(text) {
  const element = byId("toast");
  clearTimeout(toastTimer);
  element.textContent = text;
  element.hidden = false;
  toastTimer = setTimeout(() => (element.hidden = true), TOAST_MS);
}

/**
 * Ask whether to delete something that cannot come back.
 * @param {string} name
 * @returns {Promise<boolean>}
 */
export function confirmDelete(name) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("confirm"));
  byId("confirm-name").textContent = name;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "delete"), { once: true });
  });
}

/**
 * Make the sidebar a drawer on small screens: closed it is out of reach, open it holds the focus.
 * @returns {{ close: () => boolean }} `close` says whether it was open
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
    if (open) byId("close-drawer").focus();
    else if (was) opener.focus();
    return was;
  };
  opener.addEventListener("click", () => set(true));
  byId("close-drawer").addEventListener("click", () => set(false));
  scrim.addEventListener("click", () => set(false));
  small.addEventListener("change", apply);
  apply();
  return { close: () => set(false) };
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
    const shown =
      button.dataset.copy === "code" ? button.closest(".code")?.querySelector("code") : message?.querySelector(".body");
    if (!message || !shown) return;
    void copy(shown, (button.dataset.copy === "answer" && originals.get(message)) || (shown.textContent ?? ""), button);
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
    return toast("Selected: press Ctrl+C to copy.");
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
