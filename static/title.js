// @ts-check
/**
 * Editing a session's title where it stands.
 */

import { h } from "./dom.js";

/**
 * Let a title be edited where it stands: Enter and leaving keep it, Escape does not.
 * @param {HTMLElement} place hides its own content while it has the class `editing`
 * @param {string} title
 * @param {(title: string) => void} onDone called only with another, non-empty title
 */
export function editTitle(place, title, onDone) {
  if (place.classList.contains("editing")) return;
  const back = /** @type {HTMLElement | null} */ (document.activeElement);
  const input = h("input", { class: "edit-title", "aria-label": "Title", maxlength: "200", autocomplete: "off" });
  input.value = title;
  const finish = (/** @type {boolean} */ keeps) => {
    if (!place.classList.contains("editing")) return;
    place.classList.remove("editing");
    const text = input.value.trim();
    const hadFocus = document.activeElement === input;
    input.remove();
    if (hadFocus) back?.focus();
    if (keeps && text && text !== title) onDone(text);
  };
  input.addEventListener("blur", () => finish(true));
  input.addEventListener("keydown", (event) => {
    if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    finish(event.key === "Enter");
  });
  place.classList.add("editing");
  place.append(input);
  input.focus();
  input.select();
}
