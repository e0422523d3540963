// @ts-check
/** The fold of a session's log, pure, as the server folds it. */

import { applyPatch } from "./patch.js";

/** @import { ChatState, Fold, FoldParts } from "./types.js" */

/** @type {ChatState} */
export const EMPTY = Object.freeze({
  messages: [],
  open: [],
  shared: { session: null, run: null, queue: [] },
  ending: null,
});

/** @type {Record<string, Fold<ChatState>>} */
const HANDLERS = {
  RUN_STARTED(state, { runId }) {
    if (isHousekeeping(runId)) return state;
    return { ...state, ending: null, shared: { ...state.shared, run: { run_id: runId, status: "running" } } };
  },
  RUN_FINISHED: (state, { runId, outcome }) =>
    endRun(state, runId, outcome?.type === "cancelled" ? endingOf(runId, "interrupted") : null),
  RUN_ERROR(state, { message, code, metadata }) {
    const runId = metadata?.sessionstream?.run_id ?? state.shared.run?.run_id;
    return endRun(state, runId, endingOf(runId, "failed", code, message));
  },
  MESSAGES_SNAPSHOT: (state, { messages }) => ({ ...state, messages, open: [], ending: lastEnding(messages) }),
  STATE_SNAPSHOT: (state, { snapshot }) => ({ ...state, shared: { ...EMPTY.shared, ...snapshot } }),
  STATE_DELTA: (state, { delta }) => ({ ...state, shared: applyPatch(state.shared, delta) }),
  TEXT_MESSAGE_START(state, event) {
    const { type, messageId: id, role = type.startsWith("R") ? "reasoning" : "assistant", name } = event;
    const begun = opened(withMessage(state, { id, role }), id);
    return edited(begun, id, event, ({ content = "" }) => ({ content, ...(name && { name }) }));
  },
  TEXT_MESSAGE_CONTENT(state, event) {
    const { messageId: id, delta } = event;
    const grown = edited(state, id, event, ({ content = "" }) => ({ content: `${content}${delta}` }));
    return grown === state ? state : opened(grown, id);
  },
  TEXT_MESSAGE_END(state, event) {
    const open = state.open.filter((id) => id !== event.messageId);
    return edited({ ...state, open }, event.messageId, event);
  },
  TOOL_CALL_START(state, event) {
    const { toolCallId: id, toolCallName: name, parentMessageId: parent } = event;
    if (callerOf(state, id)) return state;
    const isFree = state.messages.every((message) => message.id !== parent || message.role === "assistant");
    const owner = parent && isFree ? parent : id;
    const call = marked({ id, type: "function", function: { name, arguments: "" } }, event);
    return edited(withMessage(state, { id: owner, role: "assistant" }), owner, {}, ({ toolCalls = [] }) => ({
      toolCalls: [...toolCalls, call],
    }));
  },
  TOOL_CALL_ARGS: callGrew,
  TOOL_CALL_END: callGrew,
  TOOL_CALL_RESULT(state, event) {
    const { messageId: id, toolCallId, content } = event;
    const { messages } = state;
    if (messages.some((message) => message.id === id)) return state;
    // Behind its caller and the results of that.
    const caller = callerOf(state, toolCallId);
    const next = messages.findIndex(({ role }, at) => caller && at > messages.indexOf(caller) && role !== "tool");
    const result = marked({ id, role: "tool", toolCallId, content }, event);
    return { ...state, messages: messages.toSpliced(next < 0 ? messages.length : next, 0, result) };
  },
  ACTIVITY_SNAPSHOT(state, event) {
    const { messageId: id, activityType, content, replace = true } = event;
    const shown = { role: "activity", activityType, content };
    const isKept = !replace && state.messages.some((message) => message.id === id);
    return edited(withMessage(state, { id, ...shown }), id, event, () => (isKept ? {} : shown));
  },
  ACTIVITY_DELTA(state, event) {
    const { messageId, activityType, patch } = event;
    return edited(state, messageId, event, ({ content }) => ({ activityType, content: applyPatch(content, patch) }));
  },
  REASONING_ENCRYPTED_VALUE(state, { subtype, entityId: id, encryptedValue }) {
    if (subtype === "tool-call") return callEdited(state, id, (call) => ({ ...call, encryptedValue }));
    return edited(state, id, {}, () => ({ encryptedValue }));
  },
};

/** @type {Fold<ChatState>} */
export function fold(state, event) {
  const type = event.type.replace(/^REASONING_MESSAGE/, "TEXT_MESSAGE");
  const handler = Object.hasOwn(HANDLERS, type) ? HANDLERS[type] : undefined;
  return handler ? handler(state, event) : state;
}

/** @type {FoldParts["fromAnswer"]} */
export function fromAnswer({ messages, state, session, run }) {
  return { ...EMPTY, messages, shared: { ...EMPTY.shared, session, run, ...state }, ending: lastEnding(messages) };
}

const isHousekeeping = (runId = "") => runId.startsWith("sync-");

/** @type {FoldParts["endingOf"]} */
function endingOf(run_id = "", status, code = "", message = "") {
  const kind = status === "failed" ? "failed" : "stopped";
  return status === "failed" || status === "interrupted" ? { kind, run_id, message, code } : null;
}

/** @type {FoldParts["lastEnding"]} */
function lastEnding(messages) {
  const { run_id, status, code } = messages.at(-1)?.metadata?.sessionstream ?? {};
  return endingOf(run_id, status, code);
}

/** @type {FoldParts["endRun"]} */
function endRun(state, runId, ending) {
  return isHousekeeping(runId) ? state : { ...state, open: [], ending, shared: { ...state.shared, run: null } };
}

/** @type {FoldParts["marked"]} */
function marked(target, { metadata }) {
  return metadata ? { ...target, metadata: { ...target.metadata, ...metadata } } : target;
}

/** @type {FoldParts["edited"]} */
function edited(state, id, event, change) {
  const at = state.messages.findLastIndex((message) => message.id === id);
  const message = state.messages[at];
  if (!message) return state;
  return { ...state, messages: state.messages.with(at, marked({ ...message, ...change?.(message) }, event)) };
}

/** @type {FoldParts["opened"]} */
const opened = (state, id) => (state.open.includes(id) ? state : { ...state, open: [...state.open, id] });

/** @type {FoldParts["withMessage"]} */
function withMessage(state, fresh) {
  const isThere = state.messages.some(({ id }) => id === fresh.id);
  return isThere ? state : { ...state, messages: [...state.messages, fresh] };
}

/** @type {FoldParts["callerOf"]} */
const callerOf = ({ messages }, callId) =>
  messages.findLast(({ toolCalls }) => toolCalls?.some((call) => call.id === callId));

/** @type {FoldParts["callEdited"]} */
function callEdited(state, id, change) {
  return edited(state, callerOf(state, id)?.id, {}, ({ toolCalls }) => ({
    toolCalls: toolCalls?.map((call) => (call.id === id ? change(call) : call)),
  }));
}

/** @type {Fold<ChatState>} */
function callGrew(state, event) {
  return callEdited(state, event.toolCallId, (call) => {
    const text = call.function.arguments + (event.delta ?? "");
    return marked({ ...call, function: { ...call.function, arguments: text } }, event);
  });
}
