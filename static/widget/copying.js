// @ts-check
/**
 * The buttons that copy an answer, or a piece of code in it.
 */

import { originals } from "../answer.js";

const SAID_MS = 1500;

/**
 * Make the copy buttons in `area` work, those to come too.
 * @param {HTMLElement} area
 */
export function enableCopying(area) {
  area.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-copy]");
    const message = button?.closest(".message");
    if (!(button instanceof HTMLElement) || !message) return;
    const isCode = button.dataset.copy === "code";
    const shown = isCode ? button.closest(".code")?.querySelector("code") : message.querySelector(".body");
    if (shown) void copy(shown, (!isCode && originals.get(message)) || (shown.textContent ?? ""), button);
  });
}

/** @param {Element} shown @param {string} text @param {HTMLElement} button */
async function copy(shown, text, button) {
  const label = button.lastChild;
  const say = (/** @type {string} */ words) => label && (label.textContent = words);
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    // No clipboard on plain HTTP beyond loopback, or where the page around forbids it: the keyboard can.
    getSelection()?.selectAllChildren(shown);
    say("Selected: Ctrl+C");
  }
  setTimeout(() => say("Copy"), SAID_MS);
}
