/** The widget's event stream: parsed as the HTML standard says, in whatever pieces it comes, and followed by `fetch`. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import test from "node:test";

import { EventParser } from "../../static/widget/event_parser.js";
import { eventSourceOver } from "../../static/widget/event_source.js";

const STREAM = "\uFEFFretry: 20\n: hello\n\nid: a-1\ndata: one\n\ndata: two\ndata:  lines\r\n\r\nid: a-2\rdata\r\rdata: never\n";
const EVENTS = [
  { data: "one", id: "a-1" },
  { data: "two\n lines", id: "a-1" },
  { data: "", id: "a-2" },
];

test("a stream is read the same however it is cut", () => {
  const whole = new EventParser();
  assert.deepEqual(whole.push(STREAM), EVENTS);
  assert.equal(whole.retryMs, 20);
  for (let first = 0; first <= STREAM.length; first += 1) {
    for (const step of [1, 3, 7]) {
      const parser = new EventParser();
      const found = parser.push(STREAM.slice(0, first));
      for (let at = first; at < STREAM.length; at += step) found.push(...parser.push(STREAM.slice(at, at + step)));
      assert.deepEqual(found, EVENTS, `cut at ${first}, then every ${step}`);
    }
  }
});

test("what the standard ignores is ignored", () => {
  const parser = new EventParser("a-7");
  assert.deepEqual(parser.push("id: a\0b\nretry: 1s\nevent: x\nunknown: y\ndata: z\n\n"), [{ data: "z", id: "a-7" }]);
  assert.equal(parser.retryMs, undefined);
});

/** Serve each request by the next of `answers`; return the address, and what was asked. */
async function serving(t, answers) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.headers);
    const answer = answers[Math.min(asked.length, answers.length) - 1];
    answer(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, asked };
}

const events = (text, end) => (response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8" });
  response.write(text);
  if (end) response.end();
};

/** Open a stream; return it with a way to wait for the next thing that it says. */
function opened(t, url, get = fetch) {
  globalThis.location ??= { href: url, origin: new URL(url).origin };
  const source = new (eventSourceOver(get))(url);
  const said = [];
  let wake = () => undefined;
  const note = (what) => {
    said.push(what);
    wake();
  };
  source.onopen = () => note("open");
  source.onerror = () => note(`error ${source.readyState}`);
  source.onmessage = ({ data, lastEventId }) => note(`${lastEventId} ${data}`);
  t.after(() => source.close());
  const next = async () => {
    while (said.length === 0) await new Promise((resolve) => (wake = resolve));
    return said.shift();
  };
  return { source, next };
}

test("a stream that is cut is followed from its cursor, with the header that a visitor needs", async (t) => {
  const cut = await serving(t, [
    events("retry: 1\nid: a-1\ndata: one\n\nid: a-2\nda", true),
    events("id: a-2\ndata: two\n\n", false),
  ]);
  const named = (where, { headers, ...more }) =>
    fetch(where, { ...more, headers: { ...headers, Authorization: "Bearer x" } });
  const { next } = opened(t, cut.url, named);

  assert.deepEqual([await next(), await next(), await next()], ["open", "a-1 one", "error 0"]);
  assert.deepEqual([await next(), await next()], ["open", "a-2 two"]);
  assert.deepEqual(
    cut.asked.map((headers) => [headers.authorization, headers["last-event-id"], headers.accept]),
    [
      ["Bearer x", undefined, "text/event-stream"],
      ["Bearer x", "a-1", "text/event-stream"],
    ],
  );
});

test("any answer but a stream ends it for good", async (t) => {
  for (const refuse of [
    (response) => response.writeHead(503).end(),
    (response) => response.writeHead(204).end(),
    (response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<p>"),
  ]) {
    const { url, asked } = await serving(t, [refuse]);
    const { source, next } = opened(t, url);
    assert.equal(await next(), "error 2");
    assert.equal(source.readyState, 2);
    assert.equal(asked.length, 1);
  }
});

test("a server that is not there is tried again", async (t) => {
  const { url } = await serving(t, [events("retry: 1\nid: a-1\ndata: one\n\n", true)]);
  let fails = 1;
  const get = (where, init) => (fails-- > 0 ? Promise.reject(new TypeError("no network")) : fetch(where, init));
  const { next } = opened(t, url, get);

  assert.deepEqual([await next(), await next(), await next()], ["error 0", "open", "a-1 one"]);
});

test("closed, it says nothing any more and lets the connection go", async (t) => {
  const gone = {};
  gone.promise = new Promise((resolve) => (gone.resolve = resolve));
  const { url } = await serving(t, [
    (response) => {
      response.on("close", gone.resolve);
      events("data: one\n\ndata: two\n\n", false)(response);
    },
  ]);
  const { source, next } = opened(t, url);
  const said = [];
  source.onmessage = ({ data }) => {
    said.push(data);
    source.close();
  };

  assert.equal(await next(), "open");
  await gone.promise;
  assert.deepEqual(said, ["one"]);
  assert.equal(source.readyState, 2);
});
