// @ts-check
/**
 * The entries of a transcript: what was said, and how the last run ended.
 */

import { answerItem, textOf } from "./answer.js";
import { h, icon, part, refill } from "./dom.js";
import { limited, moreButton } from "./limit.js";
import { reasoningItem } from "./reasoning.js";

/** @typedef {import("./client/types.js").Message} Message */
/** @typedef {import("./client/types.js").Ending} Ending */
/** @typedef {import("./client/types.js").Pending} Pending */
/** @typedef {import("./keyed.js").Item} Item */
/** @typedef {import("./answer.js").Results} Results */
/** @typedef {import("./progress.js").Progress} Progress */

/**
 * What is shown of a question beside its text. `progress`: it is on its way; `versions`: what to say of earlier ones.
 * @typedef {{ progress?: Progress, canEdit?: boolean, versions?: string, isOld?: boolean }} QuestionMarks
 */

const STEP = 20_000;
const TALL_LINES = 14;
const TALL_CHARS = 1000;

/**
 * @param {Message} message
 * @param {boolean} isOpen whether it is still being written
 * @param {Results} results
 * @param {readonly Pending[]} [pending] the questions that wait for the client
 * @returns {Item}
 */
export function messageItem(message, isOpen, results, pending) {
  if (message.role === "assistant") return answerItem(message, isOpen, results, pending);
  if (message.role === "reasoning") return reasoningItem(message, isOpen);
  return noteItem(message);
}

/** @param {Message} message @returns {Item} */
function noteItem({ id, role, content }) {
  const text = textOf(content);
  const marks = { "data-testid": "message", "data-role": role, "data-status": "finished" };
  const make = () => h("li", { class: "message note", ...marks }, h("div", {}, h("div", { class: "text" }), moreButton()));
  return { key: `message ${id}`, shows: [text], make, fill: (element) => fillText(element, text) };
}

/**
 * @param {string} id
 * @param {string} text
 * @param {string | undefined} time RFC 3339
 * @param {QuestionMarks} marks
 * @returns {Item}
 */
export function questionItem(id, text, time, { progress, canEdit = false, versions = "", isOld = false }) {
  const { what = "", status = "sent", actions = [] } = progress ?? {};
  return {
    key: `message ${id}`,
    shows: [text, time, what, status, canEdit, versions, isOld],
    make: () => questionElement(id),
    fill: (element) => {
      fillText(element, text);
      const isTall = text.length > TALL_CHARS || text.split("\n", TALL_LINES + 1).length > TALL_LINES;
      makeScrollable(part(element, ".bubble"), isTall);
      element.dataset.status = status;
      element.classList.toggle("superseded", isOld);
      const said = what ? [h("span", { class: "what", text: what })] : [];
      const more = progress ? actions : marksOf(id, time, canEdit);
      refill(part(element, ".under"), ...said, ...versionsButton(id, versions), ...more);
    },
  };
}

/** @param {string} id @returns {HTMLElement} */
function questionElement(id) {
  return h(
    "li",
    { class: "message user", "data-testid": "message", "data-role": "user", "data-id": id },
    h(
      "div",
      { class: "bubble" },
      h("span", { class: "visually-hidden", text: "You: " }),
      h("span", { class: "text" }),
      moreButton(),
    ),
    h("div", { class: "under" }),
  );
}

/** A box that scrolls must be in reach of the keyboard. @param {HTMLElement} bubble @param {boolean} isTall */
function makeScrollable(bubble, isTall) {
  for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": "Your message" })) {
    if (isTall) bubble.setAttribute(name, value);
    else bubble.removeAttribute(name);
  }
}

/** @param {HTMLElement} element @param {string} text */
function fillText(element, text) {
  const place = part(element, ".text");
  const show = () => {
    const shown = limited(part(element, ".more"), text, STEP, show);
    if (place.textContent !== shown) place.textContent = shown;
  };
  show();
}

/** @param {string} id @param {string} text @returns {HTMLElement[]} */
function versionsButton(id, text) {
  return text ? [h("button", { type: "button", class: "versions", "data-action": "versions", "data-id": id, text })] : [];
}

/** @param {string} id @param {string | undefined} time @param {boolean} canEdit @returns {HTMLElement[]} */
function marksOf(id, time, canEdit) {
  const edit = { type: "button", class: "quiet", "data-action": "edit", "data-id": id };
  return [
    ...(time ? [h("time", { class: "quiet", datetime: time, text: clock(time) })] : []),
    h("button", { type: "button", class: "quiet", "data-copy": "question" }, icon("copy"), "Copy"),
    ...(canEdit ? [h("button", edit, icon("pencil"), "Edit")] : []),
  ];
}

/** @param {string} time @returns {string} */
function clock(time) {
  const then = new Date(time);
  if (Number.isNaN(then.getTime())) return "";
  const isToday = then.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = isToday ? {} : { day: "numeric", month: "short" };
  return then.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
}

/** @param {boolean} isStopping @returns {Item} */
export function typingItem(isStopping) {
  const fill = (/** @type {HTMLElement} */ element) => {
    element.setAttribute("aria-label", isStopping ? "Stopping" : "Working on the answer");
    element.replaceChildren(
      ...(isStopping ? [h("span", { class: "stopping", text: "Stopping …" })] : [h("i"), h("i"), h("i")]),
    );
  };
  return { key: "typing", shows: [isStopping], make: () => h("li", { class: "typing" }), fill };
}

/** @param {Ending} ending @returns {Item} */
export function endingItem(ending) {
  const fill = (/** @type {HTMLElement} */ element) => {
    element.dataset.kind = ending.kind;
    const retry = h("button", { type: "button", class: "button small", text: "Try again", "data-action": "again" });
    if (ending.kind === "stopped") {
      const text = ending.run_id ? "Stopped before an answer." : "There is no answer to this.";
      return refill(part(element, "div"), h("span", { text }), retry);
    }
    const why = h("p", {}, ending.message || "Something went wrong while it was written.", " ");
    if (ending.code) why.append(h("code", { text: ending.code }));
    const said = h("div", { class: "why" }, h("strong", { text: "The answer failed" }), why);
    return refill(part(element, "div"), icon("alert"), said, retry);
  };
  return { key: "ending", shows: [ending], make: () => h("li", { class: "ending" }, h("div")), fill };
}
