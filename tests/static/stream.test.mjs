// Cursors and attempts: how the page finds its place again.

import assert from "node:assert/strict";
import { test } from "node:test";

import { delayMs, isBehind, sessionStreamUrl } from "../../static/stream.js";

test("a stream without a cursor asks for a snapshot, one with a cursor for what follows it", () => {
  assert.equal(sessionStreamUrl("s:1", ""), "api/chat/stream?session_id=s%3A1");
  assert.equal(sessionStreamUrl("s", "k3x-17"), "api/chat/stream?session_id=s&last_event_id=k3x-17");
});

test("positions of one log are ordered by number, not by letters", () => {
  assert.equal(isBehind("abc-9", "abc-10"), true);
  assert.equal(isBehind("abc-10", "abc-9"), false);
  assert.equal(isBehind("abc-10", "abc-10"), false);
});

test("positions of different logs, or none, have no order", () => {
  for (const [one, other] of [
    ["abc-1", "abd-2"],
    ["", "abc-2"],
    ["abc-1", ""],
    ["", ""],
    ["abc", "abc-2"],
    ["-1", "-2"],
  ]) {
    assert.equal(isBehind(one, other), false, `${one} and ${other}`);
  }
});

test("attempts come later each time, up to a bound, and never at once", () => {
  const longest = [0, 1, 2, 3, 4, 5, 10, 1000].map((attempt) => delayMs(attempt, 1));

  assert.deepEqual(longest, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(delayMs(0, 0), 500);
  assert.equal(delayMs(1000, 0), 15_000);
});
