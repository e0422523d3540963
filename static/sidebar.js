// @ts-check
/**
 * The list of sessions: newest first, renamed in place, searched on the server.
 */

import { api, ApiError } from "./api.js";
import { byId, h, iconButton } from "./dom.js";
import { renderKeyed } from "./keyed.js";
import { newestFirst, shortAge, titleOf } from "./list.js";
import { editTitle } from "./title.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./keyed.js").Item} Item */

/**
 * @typedef {object} SidebarListeners
 * @property {(session: Session, title: string) => void} onRename
 * @property {(session: Session) => void} onDelete
 */

const TYPING_MS = 200;

/** The sidebar view. `render` is cheap when nothing changed. */
export class Sidebar {
  #list = byId("sessions");
  #note = byId("sessions-note");
  #search = /** @type {HTMLInputElement} */ (byId("search"));
  /** @type {SidebarListeners} */ #listeners;
  /** @type {Session[] | null} */ #found = null;
  /** @type {Record<string, Session> | null} */ #sessions = null;
  #currentId = "";
  #timer = 0;

  /** @param {SidebarListeners} listeners */
  constructor(listeners) {
    this.#listeners = listeners;
    this.#search.addEventListener("input", () => this.#typed());
    this.#search.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.#search.value) return;
      event.stopPropagation();
      this.#search.value = "";
      this.#typed();
    });
    this.#list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** @param {Record<string, Session> | null} sessions null while they are not known @param {string} currentId */
  render(sessions, currentId) {
    this.#sessions = sessions;
    this.#currentId = currentId;
    this.#draw();
  }

  /** Ask the server again, if a search is shown: something has changed that it may have found. */
  searchAgain() {
    if (this.#found) this.#typed();
  }

  #draw() {
    const known = this.#sessions ?? {};
    const sessions = this.#found?.map((session) => known[session.session_id] ?? session) ?? newestFirst(known);
    const now = Date.now();
    renderKeyed(
      this.#list,
      this.#sessions || this.#found ? sessions.map((session) => this.#item(session, now)) : skeletons(),
    );
    const isEmpty = this.#sessions !== null && sessions.length === 0;
    this.#note.hidden = !isEmpty;
    this.#note.textContent = this.#found ? "No session matches." : "No sessions yet. Ask something.";
  }

  /** @param {Session} session @param {number} now @returns {Item} */
  #item(session, now) {
    const isCurrent = session.session_id === this.#currentId;
    const title = titleOf(session);
    const age = shortAge(session.last_activity ?? session.created_at, now);
    const isRunning = Boolean(session.run);
    return {
      key: session.session_id,
      shows: [title, age, isRunning, isCurrent],
      make: () => this.#element(session.session_id),
      fill: (element) => fillSession(element, { title, age, isRunning, isCurrent }),
    };
  }

  /** @param {string} id @returns {HTMLElement} */
  #element(id) {
    const link = h(
      "a",
      { class: "session", href: `#/s/${encodeURIComponent(id)}` },
      h("span", { class: "dot" }),
      h("span", { class: "title" }),
      h("span", { class: "age" }),
    );
    const rename = iconButton("pencil", "Rename", () => this.#rename(id));
    const remove = iconButton("trash", "Delete", () => this.#delete(id));
    link.addEventListener("dblclick", () => this.#rename(id));
    return h("li", { "data-id": id }, link, h("span", { class: "actions" }, rename, remove));
  }

  /** @param {string} id @returns {Session | undefined} */
  #session(id) {
    return this.#sessions?.[id] ?? this.#found?.find((session) => session.session_id === id);
  }

  /** @param {string} id */
  #rename(id) {
    const session = this.#session(id);
    const row = this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (session && row)
      editTitle(/** @type {HTMLElement} */ (row), titleOf(session), (title) =>
        this.#listeners.onRename(session, title),
      );
  }

  /** @param {string} id */
  #delete(id) {
    const session = this.#session(id);
    if (session) this.#listeners.onDelete(session);
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const link = /** @type {HTMLElement} */ (event.target);
    const id = link.closest("li")?.dataset.id;
    if (!id || !link.matches("a.session")) return;
    const links = Array.from(this.#list.querySelectorAll("a.session"));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) /** @type {HTMLElement | undefined} */ (links[links.indexOf(link) + step])?.focus();
    else if (event.key === "F2") this.#rename(id);
    else if (event.key === "Delete") this.#delete(id);
    else return;
    event.preventDefault();
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#find(this.#search.value.trim()), TYPING_MS);
  }

  /** @param {string} text */
  async #find(text) {
    try {
      const found = text ? (await api.search(text)).sessions : null;
      if (text !== this.#search.value.trim()) return;
      this.#found = found;
      this.#draw();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#note.hidden = false;
      this.#note.textContent = `The search failed. ${error.message}`;
    }
  }
}

/**
 * @param {HTMLElement} element
 * @param {{ title: string, age: string, isRunning: boolean, isCurrent: boolean }} shown
 */
function fillSession(element, { title, age, isRunning, isCurrent }) {
  const link = /** @type {HTMLElement} */ (element.querySelector("a"));
  const [dot, titleElement, ageElement] = /** @type {HTMLElement[]} */ (Array.from(link.children));
  if (!dot || !titleElement || !ageElement) return;
  titleElement.textContent = title;
  ageElement.textContent = age;
  link.title = title;
  element.classList.toggle("running", isRunning);
  dot.toggleAttribute("hidden", !isRunning);
  dot.textContent = isRunning ? "answering" : "";
  if (isCurrent) link.setAttribute("aria-current", "page");
  else link.removeAttribute("aria-current");
}

/** @returns {Item[]} */
function skeletons() {
  const make = () => h("li", { class: "skeleton", "aria-hidden": "true" });
  return Array.from({ length: 5 }, (_, index) => ({
    key: `skeleton ${index}`,
    shows: [],
    make,
    fill: () => undefined,
  }));
}
