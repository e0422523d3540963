// @ts-check
/**
 * Who the visitor is: a token, kept where the browser keeps what this frame stores for the site around it. No cookie.
 *
 * Beside it stands which conversation is open, and what of it was seen, so that all tabs of a site show the same one.
 */

import { NoTicket } from "./embedder.js";
import { openStore } from "./storage.js";

/** @typedef {import("./embedder.js").Embedder} Embedder */
/** @typedef {import("./embedder.js").Hello} Hello */
/**
 * `since`: when the token was given, in ms; `isTaken`: the server has the conversation, else only this tab does.
 * @typedef {Partial<Record<"token" | "since" | "voucher" | "sessionId" | "isTaken" | "seen", string>>} Kept
 */

const TIMEOUT_MS = 20_000;
/** Tokens are good for a month. Each day that the visitor is there makes it a month from then. */
const FRESH_MS = 86_400_000;
const OVER = "The conversation from before is over. What you write begins a new one.";
/** What is said before there is a token: the server must not take us for whoever has none. */
const NOBODY = "widget.nobody";

/** Why nobody is anybody here. */
export class NoIdentity extends Error {}

/** The server is not there, for now. */
export class Unreachable extends NoIdentity {}

/** The ticket was none, or is none any more. */
class Stale extends NoIdentity {}

/** The visitor of one agent on one site. */
export class Identity {
  /** @type {() => void} another tab changed something */ onChange = () => undefined;
  /** What tells this visitor from those of other sites and agents. */ name;
  #embedder;
  #agent;
  #store;
  #token = "";
  /** @type {Promise<void> | null} */ #entering = null;

  /** @param {Embedder} embedder @param {Hello} hello */
  constructor(embedder, { agent, kept }) {
    this.#embedder = embedder;
    this.#agent = agent;
    // Browsers part storage by site; two origins of one site, and other browsers, are parted by the name.
    this.name = `sessionstream.widget ${agent} ${embedder.origin}`;
    this.#store = openStore(embedder, this.name, kept);
    this.#token = this.kept.token ?? "";
    this.#store.watch(() => {
      this.#token = this.kept.token ?? this.#token;
      this.onChange();
    });
  }

  /** @returns {Kept} */
  get kept() {
    return this.#store.read();
  }

  /** @param {Kept} change */
  keep(change) {
    try {
      this.#store.write({ ...this.kept, ...change });
    } catch {
      // Full: the conversation lasts as long as the page.
    }
  }

  /** The conversation to come back to, "" when there is none. @returns {string} */
  get sessionId() {
    const { token, voucher, sessionId } = this.kept;
    return (token || voucher) && sessionId ? sessionId : "";
  }

  /** The header that says who asks, once somebody does. @returns {string} */
  get authorization() {
    return `Bearer ${this.#token || NOBODY}`;
  }

  /**
   * Become somebody, unless that is done.
   * @throws {NoIdentity}
   */
  async enter() {
    if (this.#token && this.#isFresh) return;
    this.#entering ??= this.#enterOnce().finally(() => (this.#entering = null));
    await this.#entering;
  }

  /** Be nobody: the server does not know the token any more, and the conversation is gone with it. */
  forget() {
    this.#token = "";
    this.keep({ token: "", since: "", voucher: "", sessionId: "", isTaken: "", seen: "" });
  }

  /** @returns {boolean} */
  get #isFresh() {
    return !this.#store.isOurs || Date.now() - Number(this.kept.since ?? 0) < FRESH_MS;
  }

  async #enterOnce() {
    const enter = async () => {
      this.#token = this.kept.token || this.#token; // another tab may have been faster
      if (this.#token && this.#isFresh) return;
      const { voucher } = this.kept;
      if (this.#token) await this.#renew();
      else if (voucher) await this.#exchange({ voucher });
      else await this.#useTicket();
    };
    if (navigator.locks) await navigator.locks.request(this.name, enter);
    else await enter();
  }

  /** An old token is still one: what cannot be renewed now is renewed on another day. */
  async #renew() {
    try {
      await this.#exchange({ token: this.#token });
    } catch (error) {
      if (!(error instanceof NoIdentity) || !this.#token) throw error;
    }
  }

  /** A ticket can be older than the key of a server that started anew: then another one is not. */
  async #useTicket() {
    try {
      await this.#exchange({ ticket: await this.#ticket() });
    } catch (error) {
      if (!(error instanceof Stale)) throw error;
      await this.#exchange({ ticket: await this.#ticket() });
    }
  }

  /** @returns {Promise<string>} */
  async #ticket() {
    try {
      return await this.#embedder.ticket();
    } catch (error) {
      throw error instanceof NoTicket ? new NoIdentity(error.message) : error;
    }
  }

  /** @param {{ ticket: string } | { voucher: string } | { token: string }} entry */
  async #exchange(entry) {
    const response = await fetch("api/widget", {
      method: "POST",
      credentials: "omit",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(entry),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }).catch(() => {
      throw new Unreachable("The server cannot be reached.");
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401 && !("ticket" in entry)) {
      this.forget();
      throw new NoIdentity(OVER);
    }
    if (!response.ok) throw refusal(response.status, answer.detail ?? "The server does not admit this page.");
    if (answer.origin !== this.#embedder.origin || answer.agent !== this.#agent) {
      throw new NoIdentity("The page around the chat has what is another page's.");
    }
    this.#token = String(answer.token);
    // The token itself stays where nobody else can read it.
    const since = String(Date.now());
    this.keep(this.#store.isOurs ? { token: this.#token, since } : { voucher: String(answer.voucher) });
  }
}

/** @param {number} status @param {string} detail @returns {NoIdentity} */
function refusal(status, detail) {
  if (status === 401) return new Stale(detail);
  return status >= 500 ? new Unreachable(detail) : new NoIdentity(detail);
}
