// @ts-check
/**
 * What the panel shows and holds: draws the conversation from the client, and decides when to be connected.
 */

import { textOf } from "../answer.js";
import { byId } from "../dom.js";
import { Replies } from "../replies.js";
import { enableCopying } from "./copying.js";
import { NoIdentity, Unreachable } from "./identity.js";
import { wholeAnswers } from "./transcript.js";

/** @typedef {import("../client/index.js").ChatManager} ChatManager */
/** @typedef {import("./composer.js").Composer} Composer */
/** @typedef {import("./embedder.js").Embedder} Embedder */
/** @typedef {import("./embedder.js").Hello} Hello */
/** @typedef {import("./identity.js").Identity} Identity */
/** @typedef {import("./transcript.js").Transcript} Transcript */

/**
 * @typedef {object} Parts
 * @property {ChatManager} chat
 * @property {Identity} identity
 * @property {Embedder} embedder
 * @property {Hello} hello
 * @property {Transcript} transcript
 * @property {Composer} composer
 */

const CALM_MS = 2000;
const LINGER_MS = 10_000;
const AGAIN_MS = 5000;
const DEFAULT_GREETING = "Hello! How can I help?";
const OFFLINE = "You are offline. The chat goes on when you are back.";
const LOST = "The conversation could not be continued here.";
const STILL_THERE = "What you wrote is still below: send it again.";

/** The panel. */
export class Panel {
  #chat;
  #identity;
  #embedder;
  #hello;
  #transcript;
  #composer;
  #replies;
  #complaint = "";
  /** Whether there is somebody to ask as. */ #isKnown = false;
  #isConnected = false;
  #isDrawing = false;
  /** @type {number | undefined} */ #lingering;
  /** @type {number | undefined} */ #lateTimer;
  #isLate = false;

  /** @param {Parts} parts */
  constructor({ chat, identity, embedder, hello, transcript, composer }) {
    this.#chat = chat;
    this.#identity = identity;
    this.#embedder = embedder;
    this.#hello = hello;
    this.#transcript = transcript;
    this.#composer = composer;
    this.#replies = new Replies(chat, { onChange: (problem) => this.complain(problem) });
  }

  /** Whether an answer is being written. @returns {boolean} */
  get isRunning() {
    return ["running", "stopping"].includes(this.#chat.run?.status ?? "");
  }

  /** Appear, and come back to the conversation that there was. */
  start() {
    const { title, theme, color, ink } = this.#hello;
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    byId("title").textContent = document.title = title;
    if (CSS.supports("color", color)) {
      const { style } = document.documentElement;
      for (const name of ["--brand", "--brand-button"]) style.setProperty(name, color);
      for (const name of ["--brand-ink", "--brand-button-ink"]) style.setProperty(name, ink);
      document.body.classList.add("branded");
    }
    byId("outside").hidden = true;
    byId("close").hidden = false;
    this.#composer.show();
    this.#chat.on("change", () => this.#drawSoon());
    this.#chat.on("error", ({ code }) => code === "unauthenticated" && this.#lost());
    this.#identity.onChange = () => this.#follow();
    this.#embedder.onToggle = () => this.#drawSoon();
    byId("new").addEventListener("click", () => this.startAnew());
    byId("problem-act").addEventListener("click", () => this.startAnew());
    byId("messages").addEventListener("click", (event) => this.#act(event));
    enableCopying(byId("messages"));
    if (this.#hasSession) void this.#comeBack();
    this.#draw();
  }

  /**
   * Send a message, in a new conversation if there is none to go on with.
   * @param {string} text
   * @throws {NoIdentity}
   */
  async send(text) {
    this.#complaint = "";
    await this.#identity.enter();
    if (this.#chat.problem) this.startAnew();
    this.#transcript.follow();
    // What is refused for good is shown where the message stands.
    this.#isKnown = true;
    const sessionId = this.#chat.getSessionId();
    // Other tabs come along when there is something to see: until then nobody else knows of the conversation.
    if (sessionId !== this.#identity.sessionId) this.#identity.keep({ sessionId, isTaken: "" });
    this.#chat.sendMessage(text).then(
      () => sessionId === this.#identity.sessionId && this.#identity.keep({ isTaken: "yes" }),
      () => undefined,
    );
    this.#embedder.tellSession(true);
    this.#hold(true);
  }

  /** Stop the answer. */
  stop() {
    this.#chat.interrupt().catch(() => this.complain("The answer could not be stopped."));
  }

  /** Leave the conversation; the next message begins another one. @returns {boolean} whether something was unsent */
  startAnew() {
    const unsent = this.#takeBackUnsent();
    this.#complaint = "";
    this.#identity.keep({ sessionId: "", isTaken: "", seen: "" });
    this.#embedder.tellSession(false);
    this.#disconnect();
    void this.#chat.setSessionId("");
    this.#transcript.follow();
    if (unsent) this.#composer.restore(unsent);
    this.#composer.focus();
    this.#drawSoon();
    return unsent !== "";
  }

  /** Say what went wrong. @param {string} text */
  complain(text) {
    this.#complaint = text;
    this.#drawSoon();
  }

  /** @returns {boolean} */
  get #hasSession() {
    return this.#identity.sessionId !== "";
  }

  /** Give up the messages that the server will not take; return what they said. @returns {string} */
  #takeBackUnsent() {
    const unsent = this.#chat.outgoing.filter(({ phase }) => phase !== "accepted");
    for (const { message_id } of unsent) void this.#chat.cancelMessage(message_id);
    return unsent.map(({ text }) => text).join("\n\n");
  }

  /** The server knows this visitor no more. */
  #lost() {
    if (!this.#isKnown) return; // several requests say so
    this.#isKnown = false;
    this.#identity.forget();
    this.complain(this.startAnew() ? `${LOST} ${STILL_THERE}` : LOST);
  }

  async #comeBack() {
    try {
      await this.#identity.enter();
    } catch (error) {
      if (!(error instanceof NoIdentity)) throw error;
      this.complain(error.message);
      if (error instanceof Unreachable) setTimeout(() => this.#tryAgain(), AGAIN_MS);
      return;
    }
    this.#isKnown = true;
    this.complain("");
    this.#hold(true);
  }

  #tryAgain() {
    if (!this.#isKnown && this.#hasSession) void this.#comeBack();
  }

  /** Show the conversation that another tab of the site went to. */
  #follow() {
    const { sessionId } = this.#identity;
    if (sessionId && !this.#identity.kept.isTaken) return;
    if (sessionId && sessionId !== this.#chat.getSessionId()) {
      this.#transcript.follow();
      void this.#chat.setSessionId(sessionId);
    } else if (!sessionId && this.#chat.messages.length > 0) {
      this.#disconnect();
      void this.#chat.setSessionId("");
    }
    this.#drawSoon();
  }

  /** @param {boolean} isWanted whether to be connected; if not, it ends a little later */
  #hold(isWanted) {
    if (isWanted) {
      clearTimeout(this.#lingering);
      this.#lingering = undefined;
      if (!this.#isConnected) void this.#chat.connect();
      this.#isConnected = true;
    } else if (this.#isConnected && this.#lingering === undefined) {
      this.#lingering = setTimeout(() => this.#disconnect(), LINGER_MS);
    }
  }

  #disconnect() {
    clearTimeout(this.#lingering);
    this.#lingering = undefined;
    this.#isConnected = false;
    this.#chat.disconnect();
  }

  /** @param {Event} event */
  #act(event) {
    const button = /** @type {HTMLElement} */ (event.target).closest("[data-action]");
    if (!(button instanceof HTMLElement)) return;
    if (this.#replies.clicked(button)) return;
    const { action, id = "" } = button.dataset;
    if (action === "retry") void this.#chat.retryMessage(id);
    else if (action === "cancel") void this.#chat.cancelMessage(id);
    else if (action === "again") {
      const asked = this.#chat.view.messages.findLast(({ role }) => role === "user");
      if (asked) void this.send(textOf(asked.content));
    } else return;
    this.#composer.focus();
  }

  #drawSoon() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    // Not before the next paint alone: a closed panel paints nothing, and counts what is unread all the same.
    const draw = () => {
      if (!this.#isDrawing) return;
      this.#isDrawing = false;
      this.#draw();
    };
    if (this.#embedder.isOpen && !document.hidden) requestAnimationFrame(draw);
    else setTimeout(draw);
  }

  #draw() {
    const { view, messages, run, problem } = this.#chat;
    const isBusy = this.isRunning || view.shared.queue.length > 0 || this.#chat.outgoing.length > 0;
    const isOpen = this.#embedder.isOpen;
    if (this.#isKnown && this.#hasSession && !problem) this.#hold(isOpen || isBusy || this.#chat.isLoading);
    const greeting = this.#hello.greeting || DEFAULT_GREETING;
    this.#transcript.render({ greeting, view, messages, answering: this.#replies.sending });
    this.#composer.render({ isRunning: this.isRunning, isStopping: run?.status === "stopping" });
    byId("new").hidden = messages.length === 0;
    this.#drawProblem();
    this.#drawConnection();
    this.#countUnread();
  }

  #drawProblem() {
    const { problem } = this.#chat;
    const text = this.#complaint || wordsOf(problem);
    const button = byId("problem-act");
    byId("problem").hidden = text === "";
    if (byId("problem-detail").textContent !== text) byId("problem-detail").textContent = text;
    button.textContent = "Start a new chat";
    button.hidden = this.#complaint !== "" || problem === null || problem.code === "origin_refused";
  }

  /** A short cut is nobody's business; one that lasts is told. */
  #drawConnection() {
    const isCut = this.#isConnected && ["reconnecting", "waiting", "failed"].includes(this.#chat.connection.phase);
    if (!isCut) {
      clearTimeout(this.#lateTimer);
      this.#lateTimer = undefined;
      this.#isLate = false;
    } else if (this.#lateTimer === undefined) {
      this.#lateTimer = setTimeout(() => {
        this.#isLate = true;
        this.#drawSoon();
      }, CALM_MS);
    }
    const place = byId("connection");
    const text = navigator.onLine ? "Connection lost. Trying again …" : OFFLINE;
    if (this.#isLate && place.textContent !== text) place.textContent = text;
    place.hidden = !this.#isLate;
  }

  #countUnread() {
    const answers = wholeAnswers(this.#chat.view);
    const newest = answers.at(-1)?.id ?? "";
    const { seen = "" } = this.#identity.kept;
    if (this.#embedder.isOpen && !document.hidden) {
      if (newest && newest !== seen) this.#identity.keep({ seen: newest });
      return;
    }
    const unseen = answers.slice(answers.findIndex(({ id }) => id === seen) + 1);
    this.#embedder.tellUnread(unseen.filter(({ content }) => textOf(content) !== "").length);
  }
}

/** @param {{ code: string, detail: string } | null} problem @returns {string} */
function wordsOf(problem) {
  if (!problem) return "";
  if (problem.code === "session_expired") return "This conversation has expired, because nothing was said for a while.";
  if (problem.code === "session_deleted") return "This conversation was deleted.";
  if (problem.code === "session_not_found") return "This conversation is not there any more.";
  if (problem.code === "origin_refused") return "This site may not use the chat any more.";
  return problem.detail;
}
