// @ts-check
/**
 * How far a message is on its way to the server, in words, and what can be done about it.
 */

import { h } from "./dom.js";

/** @typedef {import("./client/types.js").Outgoing} Outgoing */
/** @typedef {{ what: string, status: "sending" | "waiting" | "failed" | "sent", actions: HTMLElement[] }} Progress */

/**
 * @param {Outgoing} item
 * @param {number} seconds until the next attempt
 * @returns {Progress}
 */
export function progressOf({ phase, detail, message_id }, seconds) {
  const action = (/** @type {string} */ name, /** @type {string} */ text) =>
    h("button", { type: "button", class: "link", text, "data-action": name, "data-id": message_id });
  if (phase === "accepted") return { what: "", status: "sent", actions: [] };
  if (phase === "refused") {
    const actions = [action("resend", "Try again"), action("edit", "Edit"), action("discard", "Discard")];
    return { what: `Not sent. ${detail}`, status: "failed", actions };
  }
  if (phase === "waiting" && detail) {
    const next = seconds > 0 ? ` Next attempt in ${seconds}\u00a0s.` : "";
    const actions = [action("resend", "Try now"), action("edit", "Edit")];
    return { what: `${detail}${next}`, status: "waiting", actions };
  }
  return { what: "Sending …", status: "sending", actions: [] };
}
