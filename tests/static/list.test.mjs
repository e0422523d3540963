// The list of sessions: its fold, its order, and how it tells time.

import assert from "node:assert/strict";
import { test } from "node:test";

import { foldList } from "../../static/session_list.js";
import { newestFirst, openSession, shortAge, titleOf } from "../../static/list.js";

const one = { session_id: "one", title: "One", last_activity: "2026-03-01T10:00:00.000Z" };
const two = { session_id: "two", title: "Two", last_activity: "2026-03-01T11:00:00.000Z" };

test("a snapshot sets the list, patches change it, the runs around them do not", () => {
  const events = [
    { type: "RUN_STARTED", runId: "sync-1" },
    { type: "STATE_SNAPSHOT", snapshot: { sessions: { one } } },
    { type: "RUN_FINISHED", runId: "sync-1" },
    { type: "STATE_DELTA", delta: [{ op: "add", path: "/sessions/two", value: two }] },
    { type: "STATE_DELTA", delta: [{ op: "replace", path: "/sessions/two", value: { ...two, title: "Second" } }] },
    { type: "STATE_DELTA", delta: [{ op: "remove", path: "/sessions/one" }] },
  ];

  assert.deepEqual(events.reduce(foldList, { sessions: {} }), { sessions: { two: { ...two, title: "Second" } } });
});

test("the latest activity comes first", () => {
  assert.deepEqual(
    newestFirst({ one, two }).map(({ session_id }) => session_id),
    ["two", "one"],
  );
});

test("ages are as short as a list needs", () => {
  const now = new Date(2026, 2, 20, 12, 0, 0).getTime();
  const ago = (seconds) => shortAge(new Date(now - seconds * 1000).toISOString(), now);

  assert.equal(ago(-30), "now", "clocks differ");
  assert.equal(ago(59), "now");
  assert.equal(ago(60), "1 min");
  assert.equal(ago(3599), "59 min");
  assert.equal(ago(3600 * 5), "5 h");
  assert.equal(ago(86_400 * 3), "Tue");
  assert.equal(ago(86_400 * 30), "Feb 18");
  assert.equal(ago(86_400 * 400), "2025");
  assert.equal(shortAge(undefined, now), "");
  assert.equal(shortAge("yesterday", now), "");
});

test("a session without a title is a new chat", () => {
  assert.equal(titleOf({ session_id: "x", title: null }), "New chat");
  assert.equal(titleOf({ session_id: "x", title: "  " }), "New chat");
  assert.equal(titleOf(one), "One");
});

test("the open chat is as the first of list and stream says", () => {
  const told = { session: null, run: null, count: 0, text: "" };
  const named = (message) => openSession("new", null, { ...told, text: message })?.title;

  assert.equal(openSession("new", null, told), null);
  assert.equal(named("  What\n is  it? "), "What is it?");
  assert.equal(named("👍".repeat(61)), `${"👍".repeat(59)}…`);
  assert.equal(openSession("one", one, { ...told, text: "later" })?.title, "One");
  const session = { session_id: "new", title: "Named", message_count: 1 };
  const run = { run_id: "r", status: "running" };
  const open = openSession("new", { session_id: "new", title: null }, { ...told, session, run, count: 2 });
  assert.deepEqual([open?.title, open?.message_count, open?.run], ["Named", 2, run]);
});
