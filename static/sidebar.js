// @ts-check
/**
 * The list of chats: newest first, renamed in place, searched on the server.
 */

import { api, ApiError } from "./api.js";
import { byId, h, iconButton, part } from "./dom.js";
import { renderKeyed } from "./keyed.js";
import { countText, newestFirst, plain, shortAge, titleOf } from "./list.js";
import { editTitle } from "./title.js";

/** @typedef {import("./client/types.js").Session} Session */
/** @typedef {import("./keyed.js").Item} Item */

/**
 * @typedef {object} SidebarListeners
 * @property {(session: Session, title: string) => void} onRename
 * @property {(session: Session) => void} onDelete
 * @property {(session: Session, button: HTMLElement) => void} onMenu
 * @property {(session: Session) => boolean} isUnread
 * @property {(session: Session) => boolean} isHidden
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
    this.#search.addEventListener("keydown", (event) => this.#searched(event));
    this.#list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /** @param {Record<string, Session> | null} sessions null while they are not known @param {string} currentId */
  render(sessions, currentId) {
    this.#sessions = sessions;
    this.#currentId = currentId;
    this.#draw();
  }

  /** Let the user search. */
  focusSearch() {
    this.#search.focus();
    this.#search.select();
  }

  /** Return the chat below or above the open one, as listed. @param {1 | -1} step @returns {string | undefined} */
  neighbour(step) {
    const ids = this.#shown().map(({ session_id }) => session_id);
    const at = ids.indexOf(this.#currentId);
    return at < 0 ? ids[0] : ids[at + step];
  }

  /** Edit a title where it stands. @param {string} id */
  rename(id) {
    const session = this.#session(id);
    const row = /** @type {HTMLElement | null} */ (this.#list.querySelector(`[data-id="${CSS.escape(id)}"]`));
    if (session && row) editTitle(row, titleOf(session), (title) => this.#listeners.onRename(session, title));
  }

  /** @returns {Session[]} */
  #shown() {
    const known = this.#sessions ?? {};
    // What the list says is newer than what a search found; what it says no more is gone.
    const found = this.#found?.map((session) => known[session.session_id] ?? session);
    return (found ?? newestFirst(known)).filter((session) => !this.#listeners.isHidden(session));
  }

  #draw() {
    const now = Date.now();
    const sessions = this.#shown();
    const isKnown = this.#sessions !== null || this.#found !== null;
    renderKeyed(this.#list, isKnown ? sessions.map((session) => this.#item(session, now)) : skeletons());
    this.#list.setAttribute("aria-busy", String(!isKnown));
    this.#note.hidden = !isKnown || sessions.length > 0;
    const text = this.#found ? "No chat matches. Titles and messages were searched." : "Your chats will stand here.";
    if (this.#note.textContent !== text) this.#note.textContent = text;
  }

  /** @param {Session} session @param {number} now @returns {Item} */
  #item(session, now) {
    const isCurrent = session.session_id === this.#currentId;
    const isRunning = Boolean(session.run);
    const shown = {
      title: titleOf(session),
      about: [shortAge(session.last_activity ?? session.created_at, now), countText(session.message_count)].join(" · "),
      isRunning,
      isUnread: !isCurrent && !isRunning && this.#listeners.isUnread(session),
      isCurrent,
    };
    return {
      key: session.session_id,
      shows: Object.values(shown),
      make: () => this.#element(session.session_id),
      fill: (element) => fillSession(element, shown),
    };
  }

  /** @param {string} id @returns {HTMLElement} */
  #element(id) {
    const props = { "data-testid": "session-item", "data-session-id": id, href: `#/s/${encodeURIComponent(id)}` };
    const link = h(
      "a",
      { class: "session", ...props },
      h("span", { class: "title", dir: "auto" }),
      h("span", { class: "about" }),
      h("span", { class: "mark" }),
    );
    const more = iconButton("more", "More", () => {
      const session = this.#session(id);
      if (session) this.#listeners.onMenu(session, more);
    });
    more.classList.add("row-more");
    more.setAttribute("aria-haspopup", "menu");
    more.setAttribute("aria-expanded", "false");
    link.addEventListener("dblclick", () => this.rename(id));
    return h("li", { "data-id": id }, link, more);
  }

  /** @param {string} id @returns {Session | undefined} */
  #session(id) {
    return this.#sessions?.[id] ?? this.#found?.find((session) => session.session_id === id);
  }

  /** @param {KeyboardEvent} event */
  #searched(event) {
    if (event.key === "Escape" && this.#search.value) {
      event.stopPropagation();
      this.#search.value = "";
      this.#typed();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      const first = this.#list.querySelector("a.session");
      if (!(first instanceof HTMLElement)) return;
      if (event.key === "Enter") first.click();
      else first.focus();
    }
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const link = /** @type {HTMLElement} */ (event.target);
    const id = link.closest("li")?.dataset.id;
    if (!id || !link.matches("a.session") || event.altKey || event.ctrlKey || event.metaKey) return;
    const links = Array.from(this.#list.querySelectorAll("a.session"));
    const at = links.indexOf(link);
    const ends = { Home: 0, End: links.length - 1, ArrowDown: at + 1, ArrowUp: at - 1 };
    const session = this.#session(id);
    if (Object.hasOwn(ends, event.key)) {
      const next = links[ends[/** @type {keyof typeof ends} */ (event.key)]];
      /** @type {HTMLElement} */ (next ?? (event.key === "ArrowUp" ? this.#search : link)).focus();
    } else if (event.key === "F2") this.rename(id);
    else if (event.key === "Delete" && session) {
      /** @type {HTMLElement} */ (links[at + 1] ?? links[at - 1] ?? byId("new")).focus();
      this.#listeners.onDelete(session);
    } else return;
    event.preventDefault();
  }

  #typed() {
    clearTimeout(this.#timer);
    const text = this.#search.value.trim();
    this.#timer = setTimeout(() => void this.#find(text), text ? TYPING_MS : 0);
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
 * @param {{ title: string, about: string, isRunning: boolean, isUnread: boolean, isCurrent: boolean }} shown
 */
function fillSession(element, { title, about, isRunning, isUnread, isCurrent }) {
  const link = part(element, "a");
  part(link, ".title").textContent = title;
  part(link, ".about").textContent = about;
  link.title = title;
  link.classList.toggle("running", isRunning);
  link.classList.toggle("unread", isUnread);
  const mark = isRunning ? "Answering" : isUnread ? "Unread" : "";
  // A name on the mark itself: colour alone would say nothing to many.
  const sign = part(link, ".mark");
  sign.replaceChildren(...(mark ? [h("span", { class: "visually-hidden", text: `, ${mark}` })] : []));
  part(element, ".row-more").setAttribute("aria-label", `More for ${plain(title)}`);
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
