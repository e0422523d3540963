// Cursors, addresses and attempts: how a client finds its place again.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";

import { ApiError, delayMs, newId, persist, Server, since } from "../../static/client/http.js";
import { isBehind } from "../../static/client/stream.js";

const backendUrl = "https://example.test/chat/";
const refusal = (retryable, retryAfterMs = 0) => new ApiError({ code: "no", retryable }, retryAfterMs);

test("addresses are those of the server's page, whatever ends it", () => {
  assert.equal(new Server({ backendUrl }).base, "https://example.test/chat/api/");
  assert.equal(new Server({ backendUrl: "https://example.test" }).base, "https://example.test/api/");
});

test("the address of a stream takes what the page adds, asked for anew each time", () => {
  let ticket = 0;
  const server = new Server({ backendUrl, query: () => ({ ticket: String(++ticket) }) });

  assert.equal(server.url("chat/stream", { session_id: "s:1" }), `${server.base}chat/stream?session_id=s%3A1&ticket=1`);
  assert.equal(server.url("sessions/stream"), `${server.base}sessions/stream?ticket=2`);
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
  const longest = [0, 1, 2, 3, 4, 5, 10, 1000].map((attempt) => delayMs(attempt, 1000, 1));

  assert.deepEqual(longest, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(delayMs(0, 1000, 0), 500);
  assert.equal(delayMs(1000, 1000, 0), 15_000);
});

test("what may succeed later is tried again, not before the server wants it", async () => {
  const waits = [];
  let tries = 0;
  const action = async () => {
    tries += 1;
    if (tries < 4) throw refusal(true, tries === 2 ? 60_000 : 0);
    return "done";
  };
  const answer = await persist(action, { reconnectDelay: 10 }, async (ms) => void waits.push(ms));

  assert.equal(answer, "done");
  assert.equal(waits.length, 3);
  assert.equal(waits[1], 60_000);
  assert.ok(waits[0] <= 10 && waits[2] <= 40);
});

test("what is refused for good, given up or tried often enough is not tried again", async () => {
  const counted = async (error, config, pause) => {
    let tries = 0;
    const action = async () => {
      tries += 1;
      throw error;
    };
    await assert.rejects(persist(action, config, pause), (thrown) => thrown === error);
    return tries;
  };

  assert.equal(await counted(refusal(false), {}), 1);
  assert.equal(await counted(new TypeError("a bug"), {}), 1);
  assert.equal(await counted(refusal(true), { reconnectAttempts: 3 }, async () => true), 3);
  assert.equal(await counted(refusal(true), {}, async () => false), 1);
});

test("ids are what the server takes for one, and never the same", () => {
  const ids = Array.from({ length: 1000 }, newId);

  assert.equal(new Set(ids).size, 1000);
  assert.ok(ids.every((id) => /^[A-Za-z0-9._:-]{1,128}$/.test(id)));
});

test("a clock that is set back makes nothing young", () => {
  assert.ok(since(Date.now()) < 60_000);
  assert.ok(since(Date.now() - 3_600_000) >= 3_600_000);
  assert.ok(since(Date.now() + 3_600_000) > 3_000_000);
});

/** What `Server` makes of an answer. */
async function refusalOf(status, body, headers = {}) {
  const refusing = createServer((_, response) => response.writeHead(status, headers).end(body));
  await once(refusing.listen(0, "127.0.0.1"), "listening");
  const server = new Server({ backendUrl: `http://127.0.0.1:${refusing.address().port}` });
  const error = await server.ask("GET", "state").then(
    () => null,
    (thrown) => thrown,
  );
  refusing.closeAllConnections();
  refusing.close();
  return error;
}

test("a refusal says what the server says, and when to come again", async () => {
  const problem = { status: 429, code: "rate_limited", detail: "Slowly.", retryable: true };
  const error = await refusalOf(429, JSON.stringify(problem), { "Retry-After": "7" });

  assert.ok(error instanceof ApiError);
  assert.deepEqual(error.problem, { code: "rate_limited", detail: "Slowly." });
  assert.deepEqual([error.status, error.retryable, error.retryAfterMs, error.gone], [429, true, 7000, false]);
});

test("what a proxy says instead of the server is judged by its status", async () => {
  for (const [status, retryable, gone] of [
    [401, false, false],
    [403, false, false],
    [404, false, false],
    [410, false, true],
    [413, false, false],
    [429, true, false],
    [502, true, false],
    [503, true, false],
  ]) {
    const error = await refusalOf(status, "<h1>no</h1>", { "Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT" });
    assert.deepEqual([error.code, error.retryable, error.gone], [`http_${status}`, retryable, gone]);
    assert.equal(error.retryAfterMs, 0);
  }
});

test("a session that is not there is gone; a page in place of JSON, or no server, may come right", async () => {
  assert.equal((await refusalOf(404, JSON.stringify({ status: 404, code: "session_not_found" }))).gone, true);
  assert.equal((await refusalOf(200, "<h1>Log in</h1>")).retryable, true);
  const error = await new Server({ backendUrl: "http://127.0.0.1:1" }).ask("GET", "state").catch((thrown) => thrown);
  assert.deepEqual([error.code, error.status, error.retryable], ["unreachable", 0, true]);
});
