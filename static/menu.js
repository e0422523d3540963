// @ts-check
/**
 * One menu for the page, opened at the button that asks for it: arrows, Home, End and Escape work in it.
 */

import { byId, h, icon } from "./dom.js";

/**
 * @typedef {{ label: string, icon?: string, danger?: boolean, checked?: boolean, href?: string, onSelect?: () => void }
 *   } Entry
 * @typedef {Entry | "line" | { heading: string }} MenuItem
 */

const MARGIN_PX = 8;
/** @type {HTMLElement | null} */
let opener = null;

/**
 * Open the menu at `button`, or close it if it is open there.
 * @param {HTMLElement} button
 * @param {string} name for those who do not see where it opens
 * @param {MenuItem[]} items
 */
export function openMenu(button, name, items) {
  const menu = byId("menu");
  const wasHere = menu.matches(":popover-open") && opener === button;
  if (menu.matches(":popover-open")) menu.hidePopover();
  if (wasHere) return;
  opener = button;
  const list = byId("menu-items");
  list.replaceChildren(...items.map(elementOf));
  list.setAttribute("aria-label", name);
  button.setAttribute("aria-expanded", "true");
  menu.showPopover();
  place(menu, button);
  entries(menu)[0]?.focus();
}

/** Make the menu work, once. */
export function enableMenu() {
  const menu = byId("menu");
  menu.addEventListener("keydown", (event) => pressed(menu, event));
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "closed" || !opener) return;
    opener.setAttribute("aria-expanded", "false");
    if (menu.contains(document.activeElement) || document.activeElement === document.body) opener.focus();
    opener = null;
  });
}

/** @param {HTMLElement} menu @returns {HTMLElement[]} */
function entries(menu) {
  return Array.from(menu.querySelectorAll("[role^='menuitem']"));
}

/** @param {MenuItem} item @returns {HTMLElement} */
function elementOf(item) {
  if (item === "line") return h("hr", {});
  if ("heading" in item) return h("div", { class: "label", role: "presentation", text: item.heading });
  const isChoice = item.checked !== undefined;
  const props = {
    role: isChoice ? "menuitemradio" : "menuitem",
    "aria-checked": isChoice && String(item.checked),
    class: item.danger && "danger",
    tabindex: "-1",
    onclick: () => chosen(item),
  };
  const content = [icon(isChoice ? "check" : (item.icon ?? "more")), item.label];
  if (item.href) return h("a", { ...props, href: item.href, ...(item.onSelect ? {} : { download: "" }) }, ...content);
  return h("button", { ...props, type: "button" }, ...content);
}

/** @param {Entry} item */
function chosen(item) {
  byId("menu").hidePopover();
  item.onSelect?.();
}

/** @param {HTMLElement} menu @param {KeyboardEvent} event */
function pressed(menu, event) {
  const all = entries(menu);
  const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const last = all.length - 1;
  const next = { ArrowDown: at < last ? at + 1 : 0, ArrowUp: at > 0 ? at - 1 : last, Home: 0, End: last }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (next === undefined) return;
  event.preventDefault();
  all[next]?.focus();
}

/** Below the button if there is room, else above it; never beyond the window. @param {HTMLElement} menu @param {HTMLElement} button */
function place(menu, button) {
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + 4;
  const top = below + height > innerHeight - MARGIN_PX ? Math.max(MARGIN_PX, at.top - height - 4) : below;
  const left = at.left + width > innerWidth - MARGIN_PX ? at.right - width : at.left;
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(MARGIN_PX, Math.min(left, innerWidth - width - MARGIN_PX))}px`;
}
