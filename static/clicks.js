// @ts-check
/** What the buttons of messages do, in the transcript and in the queue, by their `data-action`. */

import { textOf } from "./answer.js";

/** @typedef {import("./client/index.js").ChatManager} ChatManager */

/**
 * @typedef {object} MessageListeners
 * @property {(text: string) => void} onTakenBack a message that was under way is to be changed
 * @property {(id: string) => void} onEdit a sent one is
 * @property {(id: string, text: string) => void} onAgain
 * @property {(id: string) => void} onVersions
 * @property {(button: HTMLElement) => void} onQuestion
 */

/**
 * Make the buttons in `area` work, those to come too.
 * @param {HTMLElement} area
 * @param {ChatManager} chat
 * @param {MessageListeners} listeners
 */
export function enableMessageActions(area, chat, listeners) {
  area.addEventListener("click", ({ target }) => {
    const button = /** @type {HTMLElement} */ (target).closest("[data-action]");
    if (button instanceof HTMLElement) act(button, chat, listeners);
  });
}

/** @param {HTMLElement} button @param {ChatManager} chat @param {MessageListeners} listeners */
function act(button, chat, { onTakenBack, onEdit, onAgain, onVersions, onQuestion }) {
  const { action, id = "" } = button.dataset;
  switch (action) {
    case "resend":
      return chat.retryMessage(id);
    case "edit":
      if (!chat.outgoing.some(({ message_id }) => message_id === id)) return onEdit(id);
      return onTakenBack(chat.cancelMessage(id) ?? "");
    case "discard":
      return void chat.cancelMessage(id);
    case "again": {
      const asked = chat.view.messages.findLast(({ role }) => role === "user");
      return asked && onAgain(asked.id, textOf(asked.content));
    }
    case "versions":
      return onVersions(id);
    default:
      return onQuestion(button);
  }
}
