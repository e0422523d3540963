// @ts-check
/**
 * The page in the frame: who the visitor is, one conversation, and the page around.
 *
 * Nothing is asked of the server before there is a message to send, or a conversation to come back to. A closed panel
 * whose agent is silent holds no connection.
 */

import { ChatManager } from "../client/index.js";
import { byId } from "../dom.js";
import { Composer } from "./composer.js";
import { Embedder } from "./embedder.js";
import { eventSourceOver } from "./event_source.js";
import { Identity, NoIdentity } from "./identity.js";
import { Panel } from "./panel.js";
import { hideDeniedLocks, keepApart } from "./storage.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./embedder.js").Hello} Hello */

/** @param {Identity} identity @returns {typeof fetch} a `fetch` that says who asks */
function fetchAs(identity) {
  return (url, { headers, ...more } = {}) => {
    const named = new Headers(headers);
    named.set("Authorization", identity.authorization);
    return fetch(url, { ...more, credentials: "omit", headers: named });
  };
}

/** @param {Embedder} embedder @param {Hello} hello */
function begin(embedder, hello) {
  const { agent, persona } = hello;
  const identity = new Identity(embedder, hello);
  keepApart(identity.name);
  // The client follows streams by the page's EventSource, which cannot say who asks: here it is one that can.
  Object.assign(globalThis, { EventSource: eventSourceOver(fetchAs(identity)) });
  const chat = new ChatManager({
    sessionId: identity.sessionId,
    agent,
    ...(persona && { persona }),
    headers: () => ({ Authorization: identity.authorization }),
  });
  const composer = new Composer({
    onSend: (text) => void panel.send(text).catch((error) => notSent(text, error)),
    onStop: () => panel.stop(),
  });
  const panel = new Panel({ chat, identity, embedder, hello, composer, transcript: new Transcript() });
  /** @param {string} text @param {unknown} error */
  const notSent = (text, error) => {
    if (!(error instanceof NoIdentity)) throw error;
    composer.restore(text);
    panel.complain(error.message);
  };
  panel.start();
  embedder.onFocus = () => composer.focus();
  byId("close").addEventListener("click", () => embedder.close());
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    if (panel.isRunning) panel.stop();
    else embedder.close();
  });
}

const around = new Embedder();
around.onHello = (/** @type {Hello} */ hello) => begin(around, hello);
await hideDeniedLocks();
around.start();
