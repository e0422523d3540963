// @ts-check
/**
 * The bubble and the panel as elements, and what a panel does to the page around: nothing beside it, and where it is
 * the whole screen, what a dialog does.
 *
 * They stand in the top layer and beside the body, not in it: so nothing that the page does to its body (to scale, blur
 * or replace it) reaches them.
 */

import { plain } from "./colour.js";
import { LOOK, NARROW } from "./look.js";

const SVG = "http://www.w3.org/2000/svg";
const TALK = "M5 18.5V7a2 2 0 0 1 2-2h10a2 2 0 0 1 2 2v7a2 2 0 0 1-2 2H8.5zM8.5 9h7m-7 3h4.5";
const BUBBLE = { "data-testid": "widget-bubble" };
const DOWN = "m6 9.5 6 6 6-6";

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) {
    if (Object.hasOwn(attributes, name)) element.setAttribute(name, String(attributes[name]));
  }
  element.append(...children);
  return element;
}

/** @param {string} name @param {string} path @returns {SVGElement} */
function drawing(name, path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", name);
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/**
 * @typedef {object} Wishes
 * @property {() => void} onToggle the bubble was pressed
 * @property {() => void} onClose
 * @property {() => void} onRetry
 */

/** What is seen of the widget in the page around. */
export class Shell {
  panel = make("dialog", { class: "panel", id: "panel" });
  /** What is written on the page's colour; "" for ours. */ ink = "";
  /** The page's colour; "" for ours. */ color = "";
  #title;
  #unread = make("span", { class: "unread", "aria-hidden": "true", hidden: "" });
  #bubble = make("button", { type: "button", class: "bubble", "aria-controls": "panel", ...BUBBLE });
  #notice = make("div", { class: "notice", role: "status", lang: "en" });
  #spoken = make("div", { class: "spoken", role: "status" });
  #widget;
  #host;
  #body = document.body;
  #narrow = matchMedia(NARROW);
  /** What the page said of its own scrolling. @type {string | null} */ #overflow = null;

  /**
   * @param {{ agent: string, title: string, color: string, position: string, theme: string }} options
   * @param {Wishes} wishes
   */
  constructor({ agent, title, color, position, theme }, wishes) {
    this.#title = title;
    const isRtl = getComputedStyle(document.documentElement).direction === "rtl";
    const side = position || (isRtl ? "left" : "right");
    const landmark = { class: `widget ${side} ${theme}`, role: "complementary", "aria-label": title };
    this.panel.setAttribute("aria-label", title);
    this.panel.append(this.#notice);
    this.#bubble.append(drawing("talk", TALK), drawing("down", DOWN), this.#unread);
    this.#fillNotice(wishes);
    this.#widget = make("div", landmark, this.#bubble, this.panel, this.#spoken);
    this.#host = make("div", { "data-sessionstream-widget": agent, popover: "manual" });
    const root = this.#host.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(LOOK);
    root.adoptedStyleSheets = [sheet];
    root.append(this.#widget);
    this.#listen(wishes);
    this.#appear();
    if (color) this.#paint(color);
    this.label(0);
  }

  /** @returns {boolean} */
  get isOpen() {
    return this.panel.open;
  }

  /** Whether the panel is the whole screen. @returns {boolean} */
  get isNarrow() {
    return this.#narrow.matches;
  }

  /** @returns {boolean} */
  get hasFocus() {
    return this.#bubble.matches(":focus") || this.panel.contains(this.#host.shadowRoot?.activeElement ?? null);
  }

  /** Whether nothing has the focus: there are browsers in which a button that is clicked does not get it. */
  get hasPageNoFocus() {
    const active = document.activeElement;
    return !active || active === document.body || active === document.documentElement;
  }

  /** Show the panel. */
  open() {
    if (this.isNarrow) this.panel.showModal();
    // Not `show()`: it takes the focus, which on a page that has just come is nobody's wish.
    else this.panel.open = true;
    this.#holdPage(this.isNarrow);
    this.#fit();
    this.label(0);
  }

  /** Hide it; who was in it is at the bubble again. */
  close() {
    this.#holdPage(false);
    this.panel.close();
    this.label(0);
    this.#bubble.focus();
  }

  /** Say how many answers nobody has seen. @param {number} unread */
  label(unread) {
    const title = this.#title;
    const news = unread > 0 ? `, ${unread} unread` : "";
    this.#bubble.setAttribute("aria-expanded", String(this.isOpen));
    this.#bubble.setAttribute("aria-label", this.isOpen ? `Close ${title}` : `Open ${title}${news}`);
    this.#unread.hidden = unread === 0;
    this.#unread.textContent = unread > 9 ? "9+" : String(unread);
    this.#spoken.textContent = unread > 0 ? `${title}: a new answer` : "";
  }

  /** Say that the frame did not come, or take that back. @param {boolean} hasFailed */
  complain(hasFailed) {
    this.#notice.classList.toggle("failed", hasFailed);
  }

  /** @param {Wishes} wishes */
  #fillNotice({ onRetry, onClose }) {
    const again = make("button", { type: "button" }, "Try again");
    const close = make("button", { type: "button" }, "Close");
    again.addEventListener("click", onRetry);
    close.addEventListener("click", onClose);
    const why = make("p", { class: "why" }, "The chat cannot be reached right now.");
    this.#notice.append(make("div", { class: "wait" }), why, make("div", { class: "choices" }, again, close));
  }

  /** @param {Wishes} wishes */
  #listen({ onToggle, onClose }) {
    this.#bubble.addEventListener("click", onToggle);
    this.panel.addEventListener("cancel", (event) => {
      event.preventDefault();
      onClose();
    });
    this.#widget.addEventListener("keydown", (event) => {
      // The page's own shortcuts are not meant by who is in here.
      event.stopPropagation();
      if (event.key !== "Escape" || !this.isOpen) return;
      event.preventDefault();
      onClose();
    });
    this.#narrow.addEventListener("change", () => this.#reshape());
    for (const what of ["resize", "scroll"]) window.visualViewport?.addEventListener(what, () => this.#fit());
  }

  /** Stand in the page; again, when the page has replaced all that it was. */
  #appear() {
    document.documentElement.append(this.#host);
    // Browsers without it show it all the same, at the highest z-index.
    this.#host.showPopover?.();
    const observer = new MutationObserver(() => {
      const isReplaced = !this.#body.isConnected;
      this.#body = document.body ?? this.#body;
      // Who removes the widget alone means it.
      if (this.#host.isConnected || !isReplaced) return;
      observer.disconnect();
      this.#appear();
    });
    observer.observe(document, { childList: true });
    observer.observe(document.documentElement, { childList: true });
  }

  /** @param {string} named */
  #paint(named) {
    const found = plain(named, this.#bubble);
    this.color = found?.color ?? named;
    this.ink = found?.ink ?? "#fff";
    this.#widget.style.setProperty("--accent", this.color);
    this.#widget.style.setProperty("--ink", this.ink);
  }

  /** The screen was turned, or the window resized. */
  #reshape() {
    if (!this.isOpen) return;
    const hadFocus = this.hasFocus;
    this.panel.close();
    if (this.isNarrow) this.panel.showModal();
    else this.panel.open = true;
    this.#holdPage(this.isNarrow);
    this.#fit();
    if (hadFocus) this.panel.querySelector("iframe")?.focus();
  }

  /** Keep the page from scrolling behind a panel that covers it. @param {boolean} isHeld */
  #holdPage(isHeld) {
    const { style } = document.documentElement;
    if (isHeld && this.#overflow === null) {
      this.#overflow = style.overflow;
      style.overflow = "hidden";
    } else if (!isHeld && this.#overflow !== null) {
      style.overflow = this.#overflow;
      this.#overflow = null;
    }
  }

  /** A keyboard on the screen covers part of the page without making it smaller: leave that part to it. */
  #fit() {
    const view = window.visualViewport;
    const { style } = this.#widget;
    const isCovered = view && this.isOpen && this.isNarrow && view.scale < 1.01 && view.height < innerHeight - 1;
    if (isCovered) {
      style.setProperty("--top", `${view.offsetTop}px`);
      style.setProperty("--height", `${view.height}px`);
    } else {
      style.removeProperty("--top");
      style.removeProperty("--height");
    }
  }
}
