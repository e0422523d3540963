// What the page of statistics works out of the server's answer.

import assert from "node:assert/strict";
import { test } from "node:test";

import { chartsOf, duration, inUnit, inWords, perSecond, rowsOf, sharesOf, tilesOf, timesOf } from "../../static/stats/figures.js";

const NAMES = ["started", "finished", "interrupted", "failed", "tokens", "created", "expired", "deleted"];
const columns = (fields = {}) => ({
  step_seconds: 5,
  start: 1000,
  until: 1013,
  ...Object.fromEntries(NAMES.map((name) => [name, [0, 0, 0]])),
  first_token_p50_ms: [null, null, null],
  first_token_p95_ms: [null, null, null],
  ...fields,
});
const stats = (fields = {}, series = columns()) => ({
  scope: "user",
  user_id: "ann",
  sessions: { active: 1200, ended: 34, total: 1234, by_user: { ann: 1200 } },
  ...{ runs: 5, messages: 10, active_runs: 2, open_streams: 3, by_agent: {}, by_site: {} },
  ...{ average_messages_per_session: 4 / 3, average_duration_seconds: 200 },
  ...{ created: { last_hour: 1, last_day: 2 }, expired: { last_hour: 3, last_day: 4 } },
  series: { recent: series, day: columns() },
  ...fields,
});

test("a rate is of the time that has passed, and none while that is too short to tell", () => {
  const tokens = [10, 20, 30];

  assert.deepEqual(timesOf(columns()), [1000, 1005, 1010]);
  assert.deepEqual(perSecond(columns({ until: 1013 }), tokens), [2, 4, 10]);
  assert.deepEqual(perSecond(columns({ until: 1015 }), tokens), [2, 4, 6]);
  assert.deepEqual(perSecond(columns({ until: 1011 }), tokens), [2, 4, null]);
});

test("the numbers at the top", () => {
  const series = columns({ tokens: [0, 0, 30], first_token_p50_ms: [900, null, 1500] });
  const shown = Object.fromEntries(tilesOf(stats({}, series)).map(({ id, value, note }) => [id, [value, note]]));

  assert.deepEqual(shown, {
    active: ["1,200", "1,234 ever, 3 min long"],
    runs: ["2", "5 runs ever"],
    streams: ["3", "clients that listen"],
    rate: ["10", "in the last seconds"],
    wait: ["1.5 s", "median"],
    messages: ["10", "1.3 a session"],
    created: ["2", "1 in the last hour"],
    expired: ["4", "3 in the last hour"],
  });
});

test("where no run was lately, no time is made up", () => {
  const tile = tilesOf(stats()).find(({ id }) => id === "wait");

  assert.deepEqual([tile.value, tile.note], ["–", "no run lately"]);
});

test("charts say in words what they show", () => {
  const [tokens, wait, runs, sessions] = chartsOf(
    columns({ tokens: [10, 50, 15], first_token_p50_ms: [null, 250, null], finished: [1, 0, 2], failed: [0, 0, 1] }),
  ).map(inWords);

  assert.equal(tokens, "Tokens per second. Tokens: last 5, at most 10.");
  assert.equal(wait, "Time to first token. Median: last 250 ms, at most 250 ms. 95th percentile: none.");
  assert.equal(runs, "Runs. Finished: 3. Stopped: none. Failed: 1.");
  assert.equal(sessions, "Sessions. Created: none. Expired: none. Deleted: none.");
});

test("tables have what happened, newest first", () => {
  const given = columns({ finished: [1, 0, 2], failed: [0, 0, 1] });
  const runs = chartsOf(given).find(({ id }) => id === "runs");

  assert.deepEqual(rowsOf(given, runs), [
    { at: 1010, values: ["2", "0", "1"] },
    { at: 1000, values: ["1", "0", "0"] },
  ]);
});

test("small shares are put together", () => {
  assert.deepEqual(sharesOf({ b: 1, a: 1, c: 5 }), [
    { name: "c", value: 5 },
    { name: "a", value: 1 },
    { name: "b", value: 1 },
  ]);
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`agent${index}`, 20 - index]));
  assert.equal(sharesOf(many).length, 8);
  assert.deepEqual(sharesOf(many).at(-1), { name: "13 others", value: 91 });
});

test("numbers read at a glance", () => {
  assert.deepEqual(
    [inUnit(1234567, "count"), inUnit(0.25, "per second"), inUnit(123.4, "per second"), inUnit(999, "ms"), inUnit(1250, "ms")],
    ["1,234,567", "0.3", "123", "999 ms", "1.3 s"],
  );
  assert.deepEqual([0, 89, 120, 7200, 200_000].map(duration), ["0 s", "89 s", "2 min", "2 h", "2 days"]);
});
