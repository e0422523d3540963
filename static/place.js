// @ts-check
/**
 * Where in the page somebody is: `#/` is a new chat, `#/s/<session_id>` a chat. The last one is kept for the next visit.
 */

import { keep, recall } from "./kept.js";

const NAME = "session";

/**
 * Return the address of a chat.
 * @param {string} id
 * @returns {string}
 */
export function addressOf(id) {
  return id ? `#/s/${encodeURIComponent(id)}` : "#/";
}

/** The open chat, as the address has it. */
export class Place {
  /** The session that is shown; a new chat has an id, too. */ id = "";
  /** Whether nobody knows of it yet. */ isDraft = true;
  #chat;

  /** @param {import("./client/index.js").ChatManager} chat */
  constructor(chat) {
    this.#chat = chat;
  }

  /** Go to a chat, or to a new one, as a step that Back takes back; `enter` is still to come. @param {string} id */
  visit(id) {
    const address = addressOf(id);
    if (location.hash !== address) history.pushState(null, "", address);
  }

  /** Without an address, be where the last visit ended. */
  restore() {
    const last = recall(NAME, "");
    if (!location.hash && last) history.replaceState(null, "", addressOf(last));
  }

  /** Show what the address names. */
  enter() {
    const id = sessionOf(location.hash);
    this.isDraft = id === "";
    void this.#chat.setSessionId(id);
    this.id = this.#chat.getSessionId();
    keep(NAME, id || null);
  }

  /** The new chat gets its address: something is said in it. */
  settle() {
    this.isDraft = false;
    history.replaceState(null, "", addressOf(this.id));
    keep(NAME, this.id);
  }
}

/** @param {string} hash @returns {string} empty: a new chat */
function sessionOf(hash) {
  const match = /^#\/s\/([^/]+)$/.exec(hash);
  const id = match ? String(match[1]) : "";
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}
