// @ts-check
/**
 * Short notices at the edge of the page. They go by themselves, but not while they are read with the pointer or focus.
 */

import { byId, h, icon } from "./dom.js";

const SHOWN_MS = 7000;
const MOST = 3;

/**
 * Show a notice. Who does not see it hears it.
 * @param {(Node | string)[]} content
 * @param {{ action?: string, onAction?: () => void, onGone?: () => void, ms?: number }} [options] `onGone`: it went by
 *   itself or was closed, and its action was not taken
 * @returns {() => void} take it away, as if its action had been taken
 */
export function toast(content, { action, onAction, onGone, ms = SHOWN_MS } = {}) {
  const element = h("div", { class: "toast", role: "status" }, h("p", {}, ...content));
  let timer = 0;
  const end = (/** @type {(() => void) | undefined} */ then) => {
    if (!element.isConnected) return;
    clearTimeout(timer);
    element.remove();
    then?.();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => end(onGone), ms);
  };
  const hold = () => clearTimeout(timer);
  if (action) {
    const act = () => end(onAction);
    element.append(h("button", { type: "button", class: "link", text: action, onclick: act }));
  }
  const close = () => end(onGone);
  element.append(
    h("button", { type: "button", class: "icon-button", "aria-label": "Dismiss", onclick: close }, icon("close")),
  );
  element.addEventListener("pointerenter", hold);
  element.addEventListener("pointerleave", wait);
  element.addEventListener("focusin", hold);
  element.addEventListener("focusout", wait);
  const place = byId("toasts");
  place.append(element);
  while (place.children.length > MOST) /** @type {HTMLElement} */ (place.firstElementChild).remove();
  wait();
  return () => end(undefined);
}

/**
 * Say that something went wrong.
 * @param {string} text
 */
export function complain(text) {
  toast([text]);
}
