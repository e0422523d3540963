// @ts-check
/**
 * The fold of a session's log: `fold(state, event) → state`, pure. A snapshot replaces, everything else adds.
 *
 * It forgives what a resumed or restarted stream brings: a message that starts again keeps its text, a delta
 * without its start opens the message, an unknown event changes nothing. Runs named `sync-…` are housekeeping.
 */

import { applyPatch } from "./patch.js";

/** @typedef {import("./types.js").ChatState} ChatState */
/** @typedef {import("./types.js").Ending} Ending */
/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./types.js").AgUiEvent} AgUiEvent */

/** @type {ChatState} */
export const EMPTY = Object.freeze({
  messages: [],
  open: [],
  shared: { session: null, run: null, queue: [] },
  runId: "",
  ending: null,
});

/** @type {Record<string, (state: ChatState, event: AgUiEvent) => ChatState>} */
const HANDLERS = {
  RUN_STARTED: runStarted,
  RUN_FINISHED: runFinished,
  RUN_ERROR: runFailed,
  MESSAGES_SNAPSHOT: (state, { messages }) => ({ ...state, messages, open: [], ending: endingOf(messages) }),
  STATE_SNAPSHOT: (state, event) => ({ ...state, shared: { ...EMPTY.shared, ...event.snapshot } }),
  STATE_DELTA: (state, event) => ({ ...state, shared: applyPatch(state.shared, event.delta) }),
  TEXT_MESSAGE_START: messageStarted,
  TEXT_MESSAGE_CONTENT: messageGrew,
  TEXT_MESSAGE_END: messageEnded,
  REASONING_MESSAGE_START: messageStarted,
  REASONING_MESSAGE_CONTENT: messageGrew,
  REASONING_MESSAGE_END: messageEnded,
  TOOL_CALL_START: toolCallStarted,
  TOOL_CALL_ARGS: toolCallGrew,
  TOOL_CALL_RESULT: toolCallAnswered,
};

/**
 * Return the state after `event`.
 * @param {ChatState} state
 * @param {AgUiEvent} event
 * @returns {ChatState}
 * @throws {TypeError} a patch does not fit: state and log have parted, and only a snapshot helps
 */
export function fold(state, event) {
  const handler = Object.hasOwn(HANDLERS, event.type) ? HANDLERS[event.type] : undefined;
  return handler ? handler(state, event) : state;
}

/**
 * Return the state that the answer of `GET /api/state` describes.
 * @param {{ messages: Message[], state: any, session: any, run: any }} answer
 * @returns {ChatState}
 */
export function fromAnswer({ messages, state, session, run }) {
  const shared = { ...EMPTY.shared, ...state, session: state?.session ?? session, run: state?.run ?? run ?? null };
  return { ...EMPTY, messages, shared, runId: shared.run?.run_id ?? "", ending: endingOf(messages) };
}

/** How the last run ended, as far as its answer says. @param {Message[]} messages @returns {Ending | null} */
function endingOf(messages) {
  const { run_id = "", status, code = "" } = messages.at(-1)?.metadata?.sessionstream ?? {};
  if (status === "interrupted") return { kind: "stopped", run_id, message: "", code };
  return status === "failed" ? { kind: "failed", run_id, message: "", code } : null;
}

/** @param {string} runId @returns {boolean} */
function isHousekeeping(runId) {
  return runId.startsWith("sync-");
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function runStarted(state, { runId }) {
  if (isHousekeeping(runId)) return { ...state, runId };
  const run = { run_id: runId, status: "running" };
  return { ...state, runId, ending: null, shared: { ...state.shared, run } };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function runFinished(state, { runId, outcome }) {
  if (isHousekeeping(runId)) return { ...state, runId: "" };
  const ended = endRun(state);
  if (outcome?.type !== "cancelled") return ended;
  const ending = { kind: /** @type {const} */ ("stopped"), run_id: runId, message: "", code: "" };
  return { ...ended, ending, messages: markAnswer(state, runId, "interrupted") };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function runFailed(state, { message, code = "", metadata }) {
  if (isHousekeeping(state.runId)) return { ...state, runId: "" };
  const run_id = metadata?.sessionstream?.run_id ?? state.runId;
  const ending = { kind: /** @type {const} */ ("failed"), run_id, message, code };
  return { ...endRun(state), ending, messages: markAnswer(state, run_id, "failed") };
}

/** @param {ChatState} state @returns {ChatState} */
function endRun(state) {
  return { ...state, runId: "", open: [], shared: { ...state.shared, run: null } };
}

/** @param {ChatState} state @param {string} runId @param {string} status @returns {Message[]} */
function markAnswer({ messages }, runId, status) {
  const index = messages.findLastIndex((message) => message.role === "assistant" || message.role === "user");
  const last = messages[index];
  if (last?.role !== "assistant") return messages;
  const sessionstream = { run_id: runId, ...last.metadata?.sessionstream, status };
  return replaced(messages, index, { ...last, metadata: { ...last.metadata, sessionstream } });
}

/** @param {Message[]} messages @param {number} index @param {Message} message @returns {Message[]} */
function replaced(messages, index, message) {
  const copy = [...messages];
  copy[index] = message;
  return copy;
}

/** @param {Message[]} messages @param {string} id @param {(message: Message) => Message} change @returns {Message[]} */
function changed(messages, id, change) {
  const index = messages.findLastIndex((message) => message.id === id);
  return index < 0 ? messages : replaced(messages, index, change(/** @type {Message} */ (messages[index])));
}

/** @param {Message} message @param {AgUiEvent} event @returns {Message} */
function withMetadata(message, event) {
  return event.metadata ? { ...message, metadata: { ...message.metadata, ...event.metadata } } : message;
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function messageStarted(state, event) {
  const { messageId: id, role } = event;
  const open = state.open.includes(id) ? state.open : [...state.open, id];
  if (state.messages.some((message) => message.id === id)) {
    return { ...state, open, messages: changed(state.messages, id, (message) => withMetadata(message, event)) };
  }
  const fresh = { id, role: role ?? (event.type.startsWith("REASONING") ? "reasoning" : "assistant"), content: "" };
  return { ...state, open, messages: [...state.messages, withMetadata(fresh, event)] };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function messageGrew(state, event) {
  const opened = state.open.includes(event.messageId)
    ? state
    : messageStarted(state, { ...event, metadata: undefined });
  const messages = changed(opened.messages, event.messageId, (message) => {
    return withMetadata({ ...message, content: `${message.content ?? ""}${event.delta}` }, event);
  });
  return { ...opened, messages };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function messageEnded(state, event) {
  const open = state.open.filter((id) => id !== event.messageId);
  const messages = event.metadata
    ? changed(state.messages, event.messageId, (message) => withMetadata(message, event))
    : state.messages;
  return { ...state, open, messages };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function toolCallStarted(state, event) {
  const { toolCallId: id, toolCallName: name } = event;
  if (ownerOf(state.messages, id)) return state;
  const call = { id, type: "function", function: { name, arguments: "" } };
  const owner = event.parentMessageId ?? id;
  const messages = state.messages.some((message) => message.id === owner)
    ? state.messages
    : [...state.messages, { id: owner, role: "assistant" }];
  const add = (/** @type {Message} */ message) => ({ ...message, toolCalls: [...(message.toolCalls ?? []), call] });
  return { ...state, messages: changed(messages, owner, add) };
}

/** @param {Message[]} messages @param {string} callId @returns {Message | undefined} */
function ownerOf(messages, callId) {
  return messages.findLast((message) => message.toolCalls?.some((call) => call.id === callId));
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function toolCallGrew(state, { toolCallId, delta }) {
  const owner = ownerOf(state.messages, toolCallId);
  if (!owner) return state;
  const toolCalls = owner.toolCalls?.map((call) =>
    call.id === toolCallId
      ? { ...call, function: { ...call.function, arguments: call.function.arguments + delta } }
      : call,
  );
  return { ...state, messages: changed(state.messages, owner.id, (message) => ({ ...message, toolCalls })) };
}

/** @param {ChatState} state @param {AgUiEvent} event @returns {ChatState} */
function toolCallAnswered(state, event) {
  const { messageId: id, toolCallId, content } = event;
  if (state.messages.some((message) => message.id === id)) return state;
  const result = withMetadata({ id, role: "tool", toolCallId, content }, event);
  return { ...state, messages: state.messages.toSpliced(placeOfResult(state.messages, toolCallId), 0, result) };
}

/**
 * Return where a result stands: behind its caller and the results that this has already, wherever that is.
 * @param {Message[]} messages
 * @param {string} callId
 * @returns {number}
 */
function placeOfResult(messages, callId) {
  const caller = messages.findLastIndex((message) => message.toolCalls?.some((call) => call.id === callId));
  if (caller < 0) return messages.length;
  const next = messages.findIndex((message, at) => at > caller && message.role !== "tool");
  return next < 0 ? messages.length : next;
}
