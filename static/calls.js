// @ts-check
/**
 * The tools that an answer called, as cards: what was asked of which, how that stands, and what came of it.
 */

import { textOf } from "./content.js";
import { h, icon, part } from "./dom.js";
import { limited, moreButton } from "./limit.js";
import { plainName } from "./safe.js";
import { fillSources, sourcesElement } from "./sources.js";

/** @typedef {import("./client/types.js").Message} Message */
/** @typedef {import("./client/types.js").Pending} Pending */
/** @typedef {import("./client/types.js").ToolCall} ToolCall */
/** @typedef {import("./keyed.js").Item} Item */
/** @typedef {"running" | "done" | "failed" | "declined" | "expired" | "stopped" | "waiting"} CallStatus */

const STEP = 4000;
const LONGEST_NAME = 120;

/** @type {Record<CallStatus, string>} */
const WORDS = {
  running: "Running …",
  done: "Done",
  failed: "Failed",
  declined: "Declined",
  expired: "Expired",
  stopped: "Stopped",
  waiting: "Waiting for you",
};
const WITHOUT_RESULT = new Map([
  ["interrupted by the user", "stopped"],
  ["the run failed", "failed"],
]);

/**
 * Say how a call stands.
 * @param {ToolCall} call
 * @param {Message | undefined} result
 * @param {readonly Pending[]} pending the questions that wait for the client
 * @returns {CallStatus}
 */
export function statusOf(call, result, pending) {
  if (!result) return pending.some((one) => one.toolCallId === call.id && !one.answered) ? "waiting" : "running";
  const { sessionstream, is_error: isError } = result.metadata ?? {};
  const status = sessionstream?.status;
  if (status === "declined" || status === "expired") return status;
  if (result.error || isError || status === "failed") return "failed";
  return /** @type {CallStatus} */ (WITHOUT_RESULT.get(textOf(result.content)) ?? "done");
}

/**
 * @param {ToolCall} call
 * @param {Message | undefined} result
 * @param {readonly Pending[]} pending
 * @returns {Item}
 */
export function callItem(call, result, pending) {
  const status = statusOf(call, result, pending);
  const fill = (/** @type {HTMLElement} */ element) => fillCall(element, call, result, status);
  return { key: call.id, shows: [call, result, status], make: callElement, fill };
}

/** @returns {HTMLElement} */
function callElement() {
  const value = (/** @type {string} */ name, /** @type {string} */ label) =>
    h(
      "div",
      { class: `value ${name}-value` },
      h("h4", { text: label }),
      h("pre", { class: name, tabindex: "0", role: "group", "aria-label": label, dir: "auto" }),
      moreButton(),
    );
  const name = h("code", { class: "name", dir: "auto" });
  return h(
    "details",
    { class: "call" },
    h("summary", {}, icon("tool"), name, h("span", { class: "state" })),
    value("arguments", "Arguments"),
    value("result", "Result"),
    sourcesElement(),
  );
}

/**
 * @param {HTMLElement} element
 * @param {ToolCall} call
 * @param {Message | undefined} result
 * @param {CallStatus} status
 */
function fillCall(element, call, result, status) {
  const name = plainName(call.function.name);
  part(element, ".name").textContent = name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name;
  part(element, ".state").textContent = WORDS[status];
  element.dataset.status = status;
  fillValue(element, "arguments", pretty(call.function.arguments) || "{}");
  fillValue(element, "result", result ? result.error || pretty(textOf(result.content)) : "");
  fillSources(part(element, ".sources"), result?.metadata?.sources ?? []);
}

/** @param {HTMLElement} element @param {string} name @param {string} text */
function fillValue(element, name, text) {
  const place = part(element, `.${name}-value`);
  const show = () => {
    const shown = limited(part(place, ".more"), text, STEP, show);
    const value = part(place, "pre");
    if (value.textContent !== shown) value.textContent = shown;
  };
  place.hidden = text === "";
  show();
}

/**
 * Return JSON with a line for each value; anything else, and what is not whole yet, as it stands.
 * @param {string} json
 * @returns {string}
 */
export function pretty(json) {
  if (!/^\s*[[{]/.test(json) || json.length > 100 * STEP) return json;
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
