// @ts-check
/**
 * The column of messages: how much of it is made when, and how it scrolls.
 *
 * A long conversation opens at its end: what is seen first is made first, and the rest while nothing else is to do, so
 * that searching in the page and going back find all of it.
 */

import { Announcer } from "./announcer.js";
import { byId } from "./dom.js";
import { entriesOf } from "./entries.js";
import { renderKeyed } from "./keyed.js";

/** @typedef {import("./entries.js").Scene} Scene */
/** @typedef {import("./keyed.js").Item} Item */

const NEAR_PX = 48;
const FIRST = 40;
const STEP = 20;

/** The transcript view. It keeps to the end of the text unless the reader has scrolled up. */
export class Transcript {
  #scroller = byId("transcript");
  #list = byId("messages");
  #jump = byId("jump");
  #announcer = new Announcer(byId("announcer"));
  #follows = true;
  #hasNews = false;
  #lastTop = 0;
  /** @type {Item[]} */ #items = [];
  /** How many entries at the beginning are not made yet. */ #hidden = 0;
  #isGrowing = false;
  #sessionId = "";
  /** @type {unknown} */ #shown = null;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#jump.addEventListener("click", () => {
      this.follow();
      this.#scroller.focus({ preventScroll: true });
    });
    const observer = new ResizeObserver(() => this.#keepToEnd());
    observer.observe(this.#scroller);
    observer.observe(this.#list);
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#follows = true;
    this.#keepToEnd();
  }

  /** @param {Scene} scene */
  render(scene) {
    const { messages } = scene.view;
    const isOther = scene.sessionId !== this.#sessionId;
    this.#items = entriesOf(scene);
    if (isOther || this.#list.childElementCount === 0) {
      this.#sessionId = scene.sessionId;
      this.#hidden = Math.max(0, this.#items.length - FIRST);
    }
    if (!isOther && !this.#follows && messages !== this.#shown) this.#hasNews = true;
    this.#shown = messages;
    this.#draw();
    this.#announcer.hear(scene.view);
    this.#keepToEnd();
  }

  #draw() {
    this.#hidden = Math.min(this.#hidden, Math.max(0, this.#items.length - FIRST));
    renderKeyed(this.#list, this.#items.slice(this.#hidden));
    if (this.#hidden > 0) this.#grow();
  }

  /** Make more of what is above, when there is time. */
  #grow() {
    if (this.#isGrowing) return;
    this.#isGrowing = true;
    whenIdle(() => {
      this.#isGrowing = false;
      this.#more();
    });
  }

  #more() {
    if (this.#hidden === 0) return;
    const { scrollHeight, scrollTop } = this.#scroller;
    this.#hidden = Math.max(0, this.#hidden - STEP);
    this.#draw();
    if (this.#follows) this.#keepToEnd();
    else if (!CSS.supports("overflow-anchor", "auto")) {
      // The browser does not hold the place by itself.
      this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    }
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    // Text that grows moves the end away from us: only a scroll upwards is the reader's own.
    if (isAtEnd) this.#follows = true;
    else if (scrollTop < this.#lastTop) this.#follows = false;
    this.#lastTop = scrollTop;
    if (this.#hidden > 0 && scrollTop < 2 * clientHeight) this.#more();
    this.#drawJump();
  }

  #keepToEnd() {
    if (this.#follows) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#drawJump();
  }

  #drawJump() {
    if (this.#follows) this.#hasNews = false;
    this.#jump.hidden = this.#follows;
    this.#jump.classList.toggle("news", this.#hasNews);
    const text = this.#hasNews ? "New below" : "Jump to latest";
    const label = byId("jump-text");
    if (label.textContent !== text) label.textContent = text;
  }
}

/** @param {() => void} action */
function whenIdle(action) {
  // Safari has no idle callback.
  if ("requestIdleCallback" in window) requestIdleCallback(action, { timeout: 1000 });
  else setTimeout(action, 50);
}
