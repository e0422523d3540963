// @ts-check
/**
 * The messages that wait for the running answer, above the message box: change, move, delete, or send one now.
 */

import { byId, h, iconButton, part, refill } from "./dom.js";
import { renderKeyed } from "./keyed.js";
import { progressOf } from "./progress.js";

/** @typedef {import("./client/types.js").QueueEntry} QueueEntry */
/** @typedef {import("./client/types.js").Outgoing} Outgoing */
/** @typedef {import("./keyed.js").Item} Item */

/**
 * @typedef {object} QueueListeners
 * @property {(id: string, text: string) => void} onEdit
 * @property {(id: string, position: number) => void} onMove
 * @property {(id: string) => void} onRemove
 * @property {(id: string) => void} onNow
 */

const DRAG_TYPE = "text/x-queue-item";

/** The queue view. */
export class Queue {
  #list = byId("queue");
  /** @type {QueueListeners} */ #listeners;
  /** @type {QueueEntry[]} */ #entries = [];
  /** @type {Outgoing[]} */ #outgoing = [];
  #editingId = "";

  /** @param {QueueListeners} listeners */
  constructor(listeners) {
    this.#listeners = listeners;
    this.#list.addEventListener("click", (event) => this.#clicked(event));
    this.#list.addEventListener("dragstart", (event) => this.#dragged(event));
    this.#list.addEventListener("dragover", (event) => this.#over(event));
    this.#list.addEventListener("drop", (event) => this.#dropped(event));
    this.#list.addEventListener("dragend", () => this.#mark(null, "dragged", "target"));
  }

  /**
   * @param {QueueEntry[]} entries
   * @param {Outgoing[]} outgoing messages that are on their way into it
   * @param {number} now
   */
  render(entries, outgoing, now) {
    this.#entries = entries;
    this.#outgoing = outgoing;
    const items = entries.map((entry, place) => this.#item(entry, place, entries.length));
    items.push(...outgoing.map((one) => onItsWay(one, now)));
    byId("queue-place").hidden = items.length === 0;
    byId("queue-head").textContent =
      items.length === 1 ? "Waits for the answer to end" : `${items.length} messages wait for the answer to end`;
    renderKeyed(this.#list, items);
  }

  /** @param {QueueEntry} entry @param {number} place @param {number} count @returns {Item} */
  #item(entry, place, count) {
    const isEditing = this.#editingId === entry.message_id;
    return {
      key: entry.message_id,
      shows: [entry.message, place, count, isEditing],
      make: () => h("li", { "data-testid": "queue-item", "data-id": entry.message_id, draggable: "true" }),
      fill: (element) => {
        if (isEditing) return this.#fillEditor(element, entry);
        element.draggable = true;
        refill(element, textPart(entry.message, ""), ...actions(place, count));
      },
    };
  }

  /** @param {HTMLElement} element @param {QueueEntry} entry */
  #fillEditor(element, entry) {
    if (element.querySelector("textarea")) return;
    const field = h("textarea", { class: "edit-text", rows: "2", "aria-label": "Waiting message", dir: "auto" });
    field.value = entry.message;
    const finish = (/** @type {boolean} */ keeps) => {
      if (this.#editingId !== entry.message_id) return;
      this.#editingId = "";
      const text = field.value.trim();
      if (keeps && text && text !== entry.message) this.#listeners.onEdit(entry.message_id, text);
      this.#redraw();
      part(this.#list, `[data-id="${CSS.escape(entry.message_id)}"] [data-action="edit"]`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.isComposing || event.shiftKey || (event.key !== "Enter" && event.key !== "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      finish(event.key === "Enter");
    });
    element.draggable = false; // text is selected in it
    const save = iconButton("check", "Save", () => finish(true));
    element.replaceChildren(field, save, iconButton("close", "Cancel", () => finish(false)));
    field.focus();
  }

  #redraw() {
    this.render(this.#entries, this.#outgoing, Date.now());
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
    const id = button?.closest("li")?.dataset.id ?? "";
    const place = this.#entries.findIndex(({ message_id }) => message_id === id);
    if (!(button instanceof HTMLElement) || place < 0) return;
    // Whoever else listens here listens for messages on their way.
    event.stopImmediatePropagation();
    switch (button.dataset.action) {
      case "now":
        return this.#listeners.onNow(id);
      case "up":
        return this.#listeners.onMove(id, place - 1);
      case "down":
        return this.#listeners.onMove(id, place + 1);
      case "remove":
        return this.#listeners.onRemove(id);
      case "edit":
        this.#editingId = id;
        return this.#redraw();
    }
  }

  /** @param {DragEvent} event */
  #dragged(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest("li");
    if (!row || !event.dataTransfer) return;
    event.dataTransfer.setData(DRAG_TYPE, row.dataset.id ?? "");
    event.dataTransfer.effectAllowed = "move";
    this.#mark(row, "dragged");
  }

  /** @param {DragEvent} event */
  #over(event) {
    if (!event.dataTransfer?.types.includes(DRAG_TYPE)) return;
    event.preventDefault();
    this.#mark(/** @type {HTMLElement} */ (event.target).closest("li"), "target");
  }

  /** @param {DragEvent} event */
  #dropped(event) {
    const id = event.dataTransfer?.getData(DRAG_TYPE);
    const row = /** @type {HTMLElement} */ (event.target).closest("li");
    const place = this.#entries.findIndex(({ message_id }) => message_id === row?.dataset.id);
    if (!id || place < 0 || row?.dataset.id === id) return;
    event.preventDefault();
    this.#listeners.onMove(id, place);
  }

  /** Give classes to one row only. @param {Element | null} row @param {...string} names */
  #mark(row, ...names) {
    for (const name of names) {
      for (const one of this.#list.children) one.classList.toggle(name, one === row);
    }
  }
}

/** @param {number} place @param {number} count @returns {HTMLElement[]} */
function actions(place, count) {
  const action = (/** @type {string} */ name, /** @type {string} */ shape, /** @type {string} */ label) => {
    const button = iconButton(shape, label, () => undefined);
    button.dataset.action = name;
    return button;
  };
  const up = action("up", "up", "Move up");
  const down = action("down", "down", "Move down");
  up.disabled = place === 0;
  down.disabled = place === count - 1;
  return [
    action("now", "send", "Send now: stop the answer"),
    ...(count > 1 ? [up, down] : []),
    action("edit", "pencil", "Edit"),
    action("remove", "trash", "Delete"),
  ];
}

/** @param {string} text @param {string} state @returns {HTMLElement} */
function textPart(text, state) {
  const parts = [h("p", { class: "text", text })];
  if (state) parts.push(h("p", { class: "state", text: state }));
  return h("div", { class: "what" }, ...parts);
}

/** @param {Outgoing} item @param {number} now @returns {Item} */
function onItsWay(item, now) {
  const seconds = Math.max(0, Math.ceil((item.until - now) / 1000));
  return {
    key: item.message_id,
    shows: [item, seconds],
    make: () => h("li", { "data-testid": "queue-item", "data-id": item.message_id }),
    fill: (element) => {
      const { what, actions: links, status } = progressOf(item, seconds);
      element.dataset.status = status;
      element.dataset.phase = item.phase;
      refill(element, textPart(item.text, what), ...links);
    },
  };
}
