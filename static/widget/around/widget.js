// @ts-check
/** The widget in the page around: the bubble opens the panel, the frame in it has the conversation. */

import { Frame } from "./frame.js";
import { Memory } from "./memory.js";
import { ask, BASE, Refused, say } from "./offer.js";
import { Shell } from "./shell.js";

/** @typedef {import("./offer.js").Offer} Offer */
/** @typedef {import("./offer.js").Options} Options */

const TICKET_FRESH_MS = 300_000;

/** One widget on one page. */
export class Widget {
  #options;
  #offer;
  #offeredAt = Date.now();
  #memory;
  #shell;
  #frame;
  /** Somebody opened the panel before the frame was there to write in. */ #wantsFocus = false;

  /** @param {Options} options @param {Offer} offer */
  constructor(options, offer) {
    this.#options = options;
    this.#offer = offer;
    this.#memory = new Memory(offer.agent);
    this.#shell = new Shell(
      { ...options, agent: offer.agent },
      {
        onToggle: () => (this.#shell.isOpen ? this.#close() : this.#open()),
        onClose: () => this.#close(),
        onRetry: () => this.#load(),
      },
    );
    this.#frame = new Frame(this.#shell.panel, {
      onReady: () => this.#greet(),
      onSilent: () => this.#failed(),
      onSaid: (said) => this.#heard(said),
    });
    this.#memory.watch(() => this.#frame.tell("kept", { kept: this.#memory.read().kept }));
  }

  /** Go on where the visitor was on the page before. */
  start() {
    const { isOpen, hasSession } = this.#memory.read();
    // A panel that covers a small screen is opened by a finger only.
    if (isOpen && !this.#shell.isNarrow) this.#open({ takesFocus: false });
    else if (hasSession) this.#load();
  }

  #open({ takesFocus = true } = {}) {
    this.#shell.open();
    this.#memory.write({ isOpen: true });
    if (!this.#frame.element) this.#load();
    this.#frame.tell("opened");
    this.#wantsFocus = takesFocus && !this.#frame.isReady;
    if (takesFocus) this.#frame.focus();
  }

  #close() {
    this.#shell.close();
    this.#memory.write({ isOpen: false });
    this.#frame.tell("closed");
  }

  #load() {
    this.#shell.complain(false);
    this.#frame.load(this.#offer.agent, this.#options.title);
  }

  #failed() {
    this.#shell.complain(true);
    say("error", `the widget's frame did not load: does this page's policy allow frame-src ${BASE.origin}?`);
  }

  #greet() {
    const isWaiting = this.#shell.hasFocus || (this.#wantsFocus && this.#shell.hasPageNoFocus);
    const takesFocus = this.#shell.isOpen && isWaiting;
    this.#wantsFocus = false;
    this.#shell.complain(false);
    const { agent, persona, greeting } = this.#offer;
    const { isOpen, color, ink } = this.#shell;
    const { kept } = this.#memory.read();
    const { title, theme } = this.#options;
    this.#frame.tell("hello", { agent, persona, greeting, title, theme, color, ink, isOpen, kept });
    if (takesFocus) this.#frame.focus();
  }

  /** @param {Record<string, unknown> & { sessionstream: string }} said */
  #heard({ sessionstream: what, unread = 0, hasSession = false, kept = {} }) {
    if (what === "ticket") void this.#giveTicket();
    else if (what === "close") this.#close();
    else if (what === "keep") this.#memory.write({ kept: Object(kept) });
    else if (what === "session") this.#memory.write({ hasSession: Boolean(hasSession) });
    else if (what === "unread" && !this.#shell.isOpen) this.#shell.label(Number(unread));
  }

  async #giveTicket() {
    try {
      if (Date.now() - this.#offeredAt > TICKET_FRESH_MS) {
        this.#offer = await ask(this.#options);
        this.#offeredAt = Date.now();
      }
      this.#offeredAt = 0; // Who asks for another was not served by this one.
      this.#frame.tell("ticket", { ticket: this.#offer.ticket });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (error instanceof Refused) say("error", `the widget was refused: ${why}`);
      this.#frame.tell("ticket", { ticket: "", why });
    }
  }
}
