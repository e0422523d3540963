// @ts-check
/** ChatManager: `Chat` in types.d.ts describes it. */

import { Emitter } from "./emitter.js";
import { Feed } from "./feed.js";
import { EMPTY, fold, fromAnswer } from "./fold.js";
import { ApiError, newId, persist, Server } from "./http.js";
import { Outbox } from "./outbox.js";
import { isBehind } from "./stream.js";

/** @import { AgUiEvent, Chat, ChatEvents, ChatState, Config, Message, Outgoing, Run } from "./types.js" */

/** @extends {Emitter<ChatEvents>} @implements {Chat} */
export class ChatManager extends Emitter {
  /** @type {Message[]} */ messages = [];
  /** @type {Run | null} */ run = null;
  #config;
  #server;
  #outbox;
  /** @type {Feed<ChatState>} */ #feed;
  #sessionId = "";
  #isNew = false;
  #isConnected = false;
  /** Where the last question stands. */ #asked = "";
  #stopping = "";
  /** @type {Record<string, unknown>} */ #told = { run: null };

  /** @param {Config} [config] */
  constructor(config = {}) {
    super();
    this.#config = config;
    this.#server = new Server(config);
    this.#feed = this.#enter(config.sessionId);
    this.#outbox = new Outbox({
      ...config,
      key: `sessionstream.outbox ${this.#server.base}`,
      post: (body) => this.#server.ask("POST", "chat", body),
      onAccepted: (item) => this.#accepted(item),
      onChange: () => this.#changed(),
    });
    this.#changed();
    this.#outbox.resume();
  }

  get view() {
    return this.#feed.state;
  }

  get state() {
    return this.view.shared;
  }

  get connection() {
    return this.#feed.status;
  }

  get problem() {
    return (this.connection.phase === "ended" && this.connection.reason) || null;
  }

  get isLoading() {
    return this.#isConnected && !this.#isNew && !this.#feed.isLoaded && !this.problem;
  }

  get outgoing() {
    return this.#outbox.items.filter((item) => item.session_id === this.#sessionId);
  }

  getSessionId() {
    return this.#sessionId;
  }

  async setSessionId(id = "") {
    if (id !== this.#sessionId) {
      this.#feed.close();
      this.#feed = this.#enter(id);
      this.run = null;
      this.#asked = this.#stopping = "";
      this.#changed();
    }
    if (this.#isConnected) await this.connect();
  }

  async connect() {
    this.#isConnected = true;
    if (!this.#isNew) this.#feed.open();
    while (this.isLoading && this.connection.phase !== "failed") {
      await new Promise((resolve) => this.addEventListener("change", resolve, { once: true }));
    }
  }

  disconnect() {
    this.#isConnected = false;
    this.#feed.close();
  }

  wake() {
    this.#feed.wake();
    this.#outbox.retryAll();
  }

  /** @type {Chat["sendMessage"]} */
  sendMessage(text, more) {
    const { agent, persona, options, maxMessageLength = 100_000 } = this.#config;
    const length = text.trim() && [...text].length;
    const detail = length ? `The message has more than ${maxMessageLength} characters.` : "The message is empty.";
    if (!length || length > maxMessageLength) {
      return this.#quiet(Promise.reject(new ApiError({ code: "invalid_message", detail })));
    }
    return this.#quiet(this.#outbox.add(this.#sessionId, text, { agent, persona, options, ...more }));
  }

  retryMessage(messageId = "") {
    this.#outbox.retry(messageId);
  }

  cancelMessage(message_id = "") {
    const isIt = (/** @type {{ message_id: string }} */ one) => one.message_id === message_id;
    const text = this.outgoing.find(isIt)?.text ?? this.state.queue.find(isIt)?.message;
    this.#outbox.cancel(message_id);
    // It may have arrived after all.
    this.#persist("interrupt", { message_id }).catch(() => undefined);
    return text;
  }

  interrupt(run_id = this.state.run?.run_id) {
    const set = (id = "") => {
      this.#stopping = id;
      this.#changed();
    };
    set(run_id);
    // What is under way has no run yet.
    const done = this.#post("interrupt", run_id ? { run_id } : { message_id: this.outgoing.at(-1)?.message_id });
    done.catch(() => set());
    return done;
  }

  /** @type {Chat["sendSystemMessage"]} */
  sendSystemMessage(message, { message_id = newId(), respond = false } = {}) {
    return this.#post("system", { message, message_id, respond });
  }

  /** @type {Chat["sendToolResult"]} */
  sendToolResult(tool_call_id, content, error) {
    return this.#post("tool-result", { tool_call_id, content, error });
  }

  /** @type {Chat["sendNetworkSwitchRequest"]} */
  sendNetworkSwitchRequest(network, { respond = true } = {}) {
    return this.sendSystemMessage(JSON.stringify({ type: "network_switch_request", network }), { respond });
  }

  /** @type {Chat["sendTransactionResult"]} */
  sendTransactionResult(result, { toolCallId, error, respond = true } = {}) {
    const call = toolCallId ?? this.state.pending?.find((one) => !one.answered)?.toolCallId;
    if (call) return this.sendToolResult(call, result, error);
    return this.sendSystemMessage(JSON.stringify({ type: "transaction_result", result, error }), { respond });
  }

  /** @returns {Feed<ChatState>} */
  #enter(id = "") {
    this.#isNew = !id;
    const session_id = (this.#sessionId = id || newId());
    const path = `state?session_id=${encodeURIComponent(session_id)}`;
    return new Feed({
      ...this.#config,
      scope: this.#server.base,
      name: `session ${session_id}`,
      sharesPlaces: true,
      empty: EMPTY,
      fold,
      endOf,
      isBusy: ({ shared }) => shared.run !== null,
      load: () => this.#load(path),
      url: (cursor) => this.#server.url("chat/stream", { session_id, ...(cursor && { last_event_id: cursor }) }),
      why: () => this.#server.ask("GET", path),
      onChange: () => this.#changed(),
    });
  }

  async #load(path = "") {
    const answer = await this.#server.ask("GET", path);
    const state = fromAnswer(answer);
    // Only the log says how a run ended that said nothing.
    const isUnanswered = !state.shared.run && state.messages.at(-1)?.role === "user";
    return { state, cursor: (isUnanswered && this.#asked) || answer.cursor };
  }

  /** @param {string} path @param {object} body @returns {Promise<any>} */
  #post(path, body) {
    return this.#quiet(this.#persist(path, body));
  }

  /** @param {string} path @param {object} body @returns {Promise<any>} */
  #persist(path, body) {
    const whole = { session_id: this.#sessionId, ...body };
    const ask = async () => {
      const answer = await this.#server.ask("POST", path, whole);
      this.#accepted({ ...whole, cursor: answer.cursor });
      return answer;
    };
    return persist(ask, this.#config);
  }

  /** Its failure need not be caught. @template T @param {Promise<T>} done */
  #quiet(done) {
    done.catch((error) => this.emit("error", error.problem));
    return done;
  }

  /** @param {{ session_id: string, cursor: string }} place */
  #accepted({ session_id, cursor }) {
    if (session_id !== this.#sessionId) return;
    this.#asked = cursor;
    this.#isNew = false;
    if (!this.#isConnected) return;
    if (this.connection.phase === "idle") this.#feed.open();
    else if (this.problem) this.#feed.reload();
    else this.#feed.expect(cursor);
  }

  #changed() {
    this.#outbox.remove((item) => this.#isThere(item));
    const { view, connection } = this;
    const isNews = this.#isNews("view", view.messages);
    if (this.#isNews("items", this.#outbox.items) || isNews) {
      this.messages = [...view.messages, ...this.outgoing.map(asMessage)];
      this.emit("messages", this.messages);
    }
    if (this.#isNews("state", view.shared)) this.emit("state", view.shared);
    this.#setRun(view);
    if (this.#isNews("run", this.run && this.run.run_id + this.run.status)) this.emit("run", this.run);
    if (this.#isNews("connection", connection)) {
      this.emit("connection", connection);
      if (connection.reason) this.emit("error", connection.reason);
      if (connection.phase === "live") this.#outbox.retryAll();
    }
    this.emit("change", null);
  }

  /** @param {ChatState} view */
  #setRun({ messages, shared: { run }, ending }) {
    const answer = messages.findLast(({ role }) => role === "assistant");
    const run_id = answer?.metadata?.sessionstream?.run_id ?? this.run?.run_id;
    if (run) this.run = run.run_id === this.#stopping ? { ...run, status: "stopping" } : run;
    else if (ending) this.run = { ...ending, status: ending.kind };
    else if (run_id) this.run = { run_id, status: "finished" };
  }

  /** @param {string} name @param {unknown} value */
  #isNews(name, value) {
    const isNews = this.#told[name] !== value;
    this.#told[name] = value;
    return isNews;
  }

  /** @param {Outgoing} item */
  #isThere({ session_id, message_id, phase, cursor }) {
    if (session_id !== this.#sessionId) return phase === "accepted";
    const { messages, shared } = this.view;
    const place = this.#feed.cursor;
    return (
      messages.some(({ id }) => id === message_id) ||
      shared.queue.some((entry) => entry.message_id === message_id) ||
      (phase === "accepted" && (cursor === place || isBehind(cursor, place)))
    );
  }
}

/** @param {AgUiEvent} event */
function endOf({ type, name, value }) {
  if (type !== "CUSTOM" || name !== "sessionstream.session_ended") return null;
  return { code: `session_${value.reason}`, detail: `This session is ${value.reason}.` };
}

/** @param {Outgoing} item @returns {Message} */
function asMessage({ message_id: id, text: content, phase, detail }) {
  const status = phase === "accepted" ? "sending" : phase;
  return { id, role: "user", content, metadata: { sessionstream: { status, detail } } };
}
