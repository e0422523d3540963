// @ts-check
/**
 * What of a session is shown in which order: its messages, what is on its way, what is asked, how it ended.
 */

import { textOf } from "./answer.js";
import { endingItem, messageItem, questionItem, typingItem } from "./messages.js";
import { pendingItem } from "./pending.js";
import { progressOf } from "./progress.js";
import { latestVersions, versionOf } from "./versions.js";

/** @typedef {import("./client/types.js").ChatState} ChatState */
/** @typedef {import("./client/types.js").Ending} Ending */
/** @typedef {import("./client/types.js").Message} Message */
/** @typedef {import("./client/types.js").Outgoing} Outgoing */
/** @typedef {import("./keyed.js").Item} Item */

/**
 * What is to be drawn. `answering`: ids of questions whose answer is on its way; `expanded`: messages whose earlier
 * versions are shown.
 * @typedef {object} Scene
 * @property {string} sessionId
 * @property {ChatState} view
 * @property {Outgoing[]} outgoing without what goes to the queue
 * @property {boolean} isStopping
 * @property {boolean} canEdit
 * @property {ReadonlySet<string>} answering
 * @property {ReadonlySet<string>} expanded
 * @property {number} now
 */

/** A run that ended without an answer before the page came: how, the messages do not say. @type {Ending} */
const UNANSWERED = { kind: "stopped", run_id: "", message: "", code: "" };

/** @param {Scene} scene @returns {Item[]} */
export function entriesOf(scene) {
  const { view, outgoing, answering, isStopping, now } = scene;
  const { messages, open, shared, ending } = view;
  const said = messages.filter(({ role }) => role !== "tool" && role !== "activity");
  const items = saidItems(scene, said);
  const last = said.at(-1);
  const isWriting = last?.role === "assistant" && open.includes(last.id) && textOf(last.content) !== "";
  if (shared.run && (isStopping || !isWriting)) items.push(typingItem(isStopping));
  const pending = shared.pending ?? [];
  items.push(...pending.map((question) => pendingItem(question, answering.has(question.id))));
  const isIdle = !shared.run && outgoing.length === 0;
  if (isIdle && ending && (ending.kind === "failed" || last?.role !== "assistant")) items.push(endingItem(ending));
  const isWaiting = shared.queue.length > 0 || pending.length > 0;
  if (isIdle && !isWaiting && !ending && last?.role === "user") items.push(endingItem(UNANSWERED));
  for (const one of outgoing) {
    const progress = progressOf(one, Math.max(0, Math.ceil((one.until - now) / 1000)));
    items.push(questionItem(one.message_id, one.text, undefined, { progress }));
  }
  return items;
}

/** @param {Scene} scene @param {Message[]} said @returns {Item[]} */
function saidItems({ view, outgoing, expanded, canEdit }, said) {
  const { messages, open, shared } = view;
  const results = new Map(
    messages.filter(({ role }) => role === "tool").map((message) => [String(message.toolCallId), message]),
  );
  const asked = said.filter(({ role }) => role === "user").map(({ id }) => id);
  const latest = latestVersions([...asked, ...outgoing.map(({ message_id }) => message_id)]);
  const lastAsked = outgoing.length === 0 ? asked.at(-1) : undefined;
  /** @type {Item[]} */
  const items = [];
  let isOld = false;
  let isHidden = false;
  for (const message of said) {
    const { id, role } = message;
    if (role !== "user") {
      if (!isHidden || role === "system") items.push(dimmed(messageItem(message, open.includes(id), results, shared.pending), isOld));
      continue;
    }
    const { root, version } = versionOf(id);
    isOld = version < (latest.get(root) ?? version);
    isHidden = isOld && !expanded.has(root);
    if (isHidden) continue;
    const versions = !isOld && version > 1 ? versionsText(version, expanded.has(root)) : "";
    const marks = { isOld, versions, canEdit: canEdit && id === lastAsked };
    items.push(questionItem(id, textOf(message.content), message.metadata?.sessionstream?.created_at, marks));
  }
  return items;
}

/** Show what belongs to an earlier version as such. @param {Item} item @param {boolean} isOld @returns {Item} */
function dimmed(item, isOld) {
  if (!isOld) return item;
  const fill = (/** @type {HTMLElement} */ element) => {
    item.fill(element);
    element.classList.add("superseded");
  };
  return { ...item, key: `${item.key} (earlier)`, fill };
}

/** @param {number} version @param {boolean} isExpanded @returns {string} */
function versionsText(version, isExpanded) {
  const earlier = version === 2 ? "the first attempt" : `${version - 1} attempts`;
  return isExpanded ? "Hide earlier" : `Sent again · show ${earlier}`;
}
