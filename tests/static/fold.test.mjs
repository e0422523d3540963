// What the page keeps of a session's log: the fold of AG-UI events.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EMPTY, fold, fromAnswer } from "../../static/client/fold.js";

const RUN = "0197-run";

/** @param {any[]} events @param {any} [state] */
function folded(events, state = EMPTY) {
  return events.reduce(fold, state);
}

const started = (runId = RUN) => ({ type: "RUN_STARTED", threadId: "s", runId, protocolVersion: "1.0" });
const finished = (type = "success", runId = RUN) => ({ type: "RUN_FINISHED", threadId: "s", runId, outcome: { type } });
const begin = (messageId, role, metadata) => ({
  type: "TEXT_MESSAGE_START",
  messageId,
  role,
  ...(metadata && { metadata }),
});
const delta = (messageId, text, metadata) => ({
  type: "TEXT_MESSAGE_CONTENT",
  messageId,
  delta: text,
  ...(metadata && { metadata }),
});
const end = (messageId, metadata) => ({ type: "TEXT_MESSAGE_END", messageId, ...(metadata && { metadata }) });
const question = [begin("u1", "user"), delta("u1", "Why?"), end("u1")];

test("a whole run becomes a question and an answer, and leaves no run behind", () => {
  const state = folded([
    started(),
    ...question,
    begin("a1", "assistant"),
    delta("a1", "Be"),
    delta("a1", "cause."),
    end("a1"),
    finished(),
  ]);

  assert.deepEqual(
    state.messages.map(({ id, role, content }) => [id, role, content]),
    [
      ["u1", "user", "Why?"],
      ["a1", "assistant", "Because."],
    ],
  );
  assert.equal(state.shared.run, null);
  assert.deepEqual(state.open, []);
  assert.equal(state.ending, null);
});

test("a run is active from its start to its end", () => {
  const state = folded([started(), ...question]);

  assert.deepEqual(state.shared.run, { run_id: RUN, status: "running" });
  assert.equal(fold(state, finished()).shared.run, null);
});

test("housekeeping runs are not shown as activity", () => {
  const patch = { type: "STATE_DELTA", delta: [{ op: "replace", path: "/session/title", value: "New" }] };
  const before = folded([
    { type: "STATE_SNAPSHOT", snapshot: { session: { session_id: "s", title: "Old" }, run: null, queue: [] } },
  ]);
  const during = folded([started("sync-1"), patch], before);

  assert.equal(during.shared.run, null);
  assert.equal(during.shared.session?.title, "New");
  assert.equal(fold(during, finished("success", "sync-1")).ending, null);
});

test("a message that starts again after a snapshot keeps its partial text", () => {
  const messages = [
    { id: "u1", role: "user", content: "Why?" },
    { id: "a1", role: "assistant", content: "Be" },
  ];
  const state = folded([
    started(),
    { type: "MESSAGES_SNAPSHOT", messages },
    begin("a1", "assistant"),
    delta("a1", "cause."),
  ]);

  assert.equal(state.messages.length, 2);
  assert.equal(state.messages[1].content, "Because.");
  assert.deepEqual(state.open, ["a1"]);
});

test("a delta whose start was seen in the answer of /api/state goes on where that stopped", () => {
  const run = { run_id: RUN, status: "running" };
  const messages = [{ id: "a1", role: "assistant", content: "Be" }];
  const state = folded([delta("a1", "cause.")], fromAnswer({ messages, run, session: { session_id: "s" }, state: {} }));

  assert.equal(state.messages[0].content, "Because.");
  assert.deepEqual(state.open, ["a1"]);
  assert.equal(state.shared.run?.run_id, RUN);
});

test("a snapshot replaces everything, so nothing is there twice", () => {
  const once = folded([started(), ...question, begin("a1", "assistant"), delta("a1", "Be")]);
  const snapshot = [
    started("sync-2"),
    { type: "MESSAGES_SNAPSHOT", messages: [{ id: "u1", role: "user", content: "Why?" }] },
    { type: "STATE_SNAPSHOT", snapshot: { session: { session_id: "s" }, run: null, queue: [] } },
    finished("success", "sync-2"),
  ];
  const state = folded(snapshot, once);

  assert.deepEqual(
    state.messages.map(({ id }) => id),
    ["u1"],
  );
  assert.equal(state.shared.run, null);
  assert.deepEqual(state.open, []);
});

test("a cancelled run keeps its partial answer, as the server marked it", () => {
  const state = folded([
    started(),
    ...question,
    begin("a1", "assistant"),
    delta("a1", "Be"),
    end("a1", { sessionstream: { status: "interrupted" } }),
    finished("cancelled"),
  ]);

  assert.equal(state.messages[1].content, "Be");
  assert.equal(state.messages[1].metadata.sessionstream.status, "interrupted");
  assert.equal(state.ending.kind, "stopped");
  assert.equal(state.messages[0].metadata, undefined);
});

test("a run that was cancelled before its answer marks no older answer", () => {
  const older = [started("r0"), begin("a0", "assistant"), delta("a0", "Fine."), end("a0"), finished("success", "r0")];
  const state = folded([...older, started(), ...question, finished("cancelled")]);

  assert.equal(state.messages[0].metadata, undefined);
  assert.equal(state.ending.kind, "stopped");
});

test("a failed run says why, until the next one starts", () => {
  const failed = folded([started(), ...question, { type: "RUN_ERROR", message: "too slow", code: "agent_timeout" }]);

  assert.deepEqual(failed.ending, { kind: "failed", run_id: RUN, message: "too slow", code: "agent_timeout" });
  assert.equal(failed.shared.run, null);
  assert.equal(fold(failed, started("next")).ending, null);
});

test("metadata of start, content and end is merged key by key", () => {
  const sources = [{ n: 1, file: "a.md", heading: "A" }];
  const state = folded([
    started(),
    begin("a1", "assistant", { sessionstream: { run_id: RUN }, kept: 1 }),
    delta("a1", "x", { sources }),
    end("a1", { sessionstream: { run_id: RUN, status: "interrupted" } }),
  ]);

  assert.deepEqual(state.messages[0].metadata, {
    sessionstream: { run_id: RUN, status: "interrupted" },
    kept: 1,
    sources,
  });
});

test("a tool call is part of its answer, and its result a message of its own", () => {
  const state = folded([
    started(),
    { type: "TOOL_CALL_START", toolCallId: "c1", toolCallName: "search", parentMessageId: "a1" },
    { type: "TOOL_CALL_ARGS", toolCallId: "c1", delta: '{"q":' },
    { type: "TOOL_CALL_ARGS", toolCallId: "c1", delta: '"x"}' },
    { type: "TOOL_CALL_END", toolCallId: "c1" },
    { type: "TOOL_CALL_RESULT", toolCallId: "c1", messageId: "t1", content: "found" },
  ]);

  assert.deepEqual(state.messages[0].toolCalls, [
    { id: "c1", type: "function", function: { name: "search", arguments: '{"q":"x"}' } },
  ]);
  assert.deepEqual(
    [state.messages[1].role, state.messages[1].toolCallId, state.messages[1].content],
    ["tool", "c1", "found"],
  );
});

test("a result that comes late stands behind its call, not behind what was said meanwhile", () => {
  const call = (toolCallId) => ({ type: "TOOL_CALL_START", toolCallId, toolCallName: "sign", parentMessageId: "a1" });
  const result = (toolCallId) => ({ type: "TOOL_CALL_RESULT", toolCallId, messageId: `r-${toolCallId}`, content: "x" });
  const state = folded([
    started(),
    begin("a1", "assistant"),
    end("a1"),
    call("c1"),
    call("c2"),
    finished("interrupt"),
    started("sync-1"),
    begin("s1", "system"),
    end("s1"),
    finished("success", "sync-1"),
    started("next"),
    result("c2"),
    result("c1"),
  ]);

  assert.deepEqual(
    state.messages.map(({ id }) => id),
    ["a1", "r-c2", "r-c1", "s1"],
  );
});

test("a question is in the state until it is closed, and ends its run like any other end", () => {
  const asked = [{ id: "ask", reason: "approval", toolCallId: "c1", answered: false }];
  const paused = folded([
    started(),
    { type: "STATE_SNAPSHOT", snapshot: { session: null, run: null, queue: [] } },
    { type: "STATE_DELTA", delta: [{ op: "add", path: "/pending", value: asked }] },
    finished("interrupt"),
  ]);
  const closed = folded(
    [started("n"), { type: "STATE_DELTA", delta: [{ op: "remove", path: "/pending" }] }],
    paused,
  );

  assert.deepEqual([paused.shared.pending, paused.shared.run, paused.ending], [asked, null, null]);
  assert.equal("pending" in closed.shared, false);
});

test("the queue follows its patches", () => {
  const entry = { message_id: "m2", run_id: "r2", message: "And then?", created_at: "2026-01-01T00:00:00Z" };
  const state = folded([{ type: "STATE_DELTA", delta: [{ op: "replace", path: "/queue", value: [entry] }] }]);

  assert.deepEqual(state.shared.queue, [entry]);
  assert.deepEqual(
    folded([{ type: "STATE_DELTA", delta: [{ op: "remove", path: "/queue/0" }] }], state).shared.queue,
    [],
  );
});

test("a patch that does not fit is an error, because only a snapshot helps then", () => {
  assert.throws(() => folded([{ type: "STATE_DELTA", delta: [{ op: "remove", path: "/queue/0" }] }]), TypeError);
});

test("unknown events change nothing", () => {
  const state = folded([started()]);

  for (const type of ["CUSTOM", "RAW", "STEP_STARTED", "constructor", "__proto__", "FUTURE"]) {
    assert.equal(fold(state, { type }), state);
  }
});

test("a delta leaves every other message the same object, so that a view redraws one", () => {
  const before = folded([started(), ...question, begin("a1", "assistant")]);
  const after = fold(before, delta("a1", "x"));

  assert.equal(after.messages[0], before.messages[0]);
  assert.notEqual(after.messages[1], before.messages[1]);
  assert.equal(before.messages[1].content, "", "the state before is as it was");
});
