// @ts-check
/**
 * The page around the frame, seen from inside. What it says is believed only if it comes from the window above; where
 * that window is from, the browser says.
 *
 * Heard: `hello` (once), `opened`, `closed`, `focus`, `ticket`, `kept`.
 * Said: `ready`, `ticket`, `close`, `session`, `unread`, `keep`.
 */

/**
 * @typedef {object} Hello
 * @property {string} agent
 * @property {string | null} persona
 * @property {string} greeting
 * @property {string} title
 * @property {string} theme "light" or "dark" where the page is always so, else ""
 * @property {string} color of the page's choice, "" for ours
 * @property {string} ink what is readable on it
 * @property {boolean} isOpen
 * @property {object} [kept] what it was told to keep
 */

const TICKET_MS = 20_000;

/** The page around refused, or did not answer. */
export class NoTicket extends Error {}

/** The page around. */
export class Embedder {
  /** Where the page around is from; "" until it has said hello. */ origin = "";
  isOpen = false;
  /** @type {(hello: Hello) => void} */ onHello = () => undefined;
  /** @type {(isOpen: boolean) => void} */ onToggle = () => undefined;
  /** @type {() => void} */ onFocus = () => undefined;
  /** @type {(kept: object) => void} another tab changed what is kept */ onKept = () => undefined;
  /** @type {(answer: { ticket?: string, why?: string }) => void} */ #onTicket = () => undefined;

  /** Begin to listen, and say so. */
  start() {
    if (window.parent === window) return;
    window.addEventListener("message", (event) => this.#heard(event));
    // To whom, is not known before it answers; there is nothing in it.
    window.parent.postMessage({ sessionstream: "ready" }, "*");
  }

  /**
   * Return a ticket, which only a page gets that may embed the agent.
   * @returns {Promise<string>}
   * @throws {NoTicket}
   */
  async ticket() {
    const answer = await new Promise((resolve) => {
      this.#onTicket = resolve;
      setTimeout(() => resolve({ why: "The page around the chat does not answer." }), TICKET_MS);
      this.#tell("ticket");
    });
    if (!answer.ticket) throw new NoTicket(answer.why ?? "There is no ticket.");
    return String(answer.ticket);
  }

  /** Have it keep something for the next page. @param {object} kept */
  keep(kept) {
    this.#tell("keep", { kept });
  }

  /** Ask to be closed. */
  close() {
    this.#tell("close");
  }

  /** Say whether there is a conversation to come back to. @param {boolean} hasSession */
  tellSession(hasSession) {
    this.#tell("session", { hasSession });
  }

  /** Say how many answers nobody has seen. @param {number} unread */
  tellUnread(unread) {
    this.#tell("unread", { unread });
  }

  /** @param {string} what @param {object} [more] */
  #tell(what, more = {}) {
    if (this.origin) window.parent.postMessage({ sessionstream: what, ...more }, this.origin);
  }

  /** @param {MessageEvent} event */
  #heard(event) {
    const said = event.data?.sessionstream;
    if (event.source !== window.parent || typeof said !== "string") return;
    if (!this.origin && said === "hello") {
      this.origin = event.origin;
      this.isOpen = Boolean(event.data.isOpen);
      this.onHello(event.data);
    }
    if (event.origin !== this.origin) return;
    if (said === "ticket") this.#onTicket(event.data);
    else if (said === "focus") this.onFocus();
    else if (said === "kept") this.onKept(event.data.kept ?? {});
    else if (said === "opened" || said === "closed") {
      this.isOpen = said === "opened";
      this.onToggle(this.isOpen);
    }
  }
}
