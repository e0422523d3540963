// The pure parts of a message: safe addresses and names, the text of contents, how a tool call stands.

import assert from "node:assert/strict";
import { test } from "node:test";

import { pretty, statusOf } from "../../static/calls.js";
import { textOf, withoutSourceList } from "../../static/content.js";
import { decoded, honest, plainCode, plainName, safeHref } from "../../static/safe.js";
import { known } from "../../static/sources.js";

test("only http, https and mailto become links", () => {
  assert.equal(safeHref("https://x.test/a?b=1&c=2"), "https://x.test/a?b=1&c=2");
  assert.equal(safeHref("mailto:a@x.test"), "mailto:a@x.test");
  const refused = [
    ...["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,1"],
    ...["//y.test", "/api/chat", "#/s/1", "", "vbscript:x", "file:///etc/passwd", "blob:https://x.test/1"],
    ...["https://bank.test@evil.test/", "https://a:b@x.test/", `https://x.test/${"a".repeat(3000)}`],
  ];
  assert.deepEqual(refused.map(safeHref), refused.map(() => ""));
});

test("character references are resolved to text, and only those that are some", () => {
  assert.equal(decoded("&lt;b&gt; &amp;amp; &#65;&#x1F600; &nbsp;&mdash;"), "<b> &amp; A😀 \u00a0—");
  assert.equal(decoded("&nope; & &#; AT&T; &#0;&#xD800;&#x110000;"), "&nope; & &#; AT&T; \ufffd\ufffd\ufffd");
});

test("names show the signs that would turn them round", () => {
  assert.equal(plainName("evil\u202etxt.exe"), "evil\\u202etxt.exe");
  assert.equal(plainName("a\u2066b\u2069\n\u200f"), "a\\u2066b\\u2069\\u000a\\u200f");
  assert.equal(plainName("übung 文 مثال.md"), "übung 文 مثال.md");
});

const sources = [
  { n: 1, file: "a/b.md", heading: "A › B" },
  { n: 2, file: "c.txt" },
];

test("the list of sources is left out where it says what the page shows anyway", () => {
  const list = "Sources:\n[1] a/b.md › A › B\n[2] c.txt";

  assert.equal(withoutSourceList(`Text [1].\n\n${list}\n\nNote.`, sources), "Text [1].\n\nNote.");
  assert.equal(withoutSourceList(`Text [1].\n\n${list}`, sources), "Text [1].");
});

test("any other list stays", () => {
  for (const text of ["Text.\n\nSources:\n[1] a/b.md › A › B", "Sources: none", "Text."]) {
    assert.equal(withoutSourceList(text, sources), text);
    assert.equal(withoutSourceList(text, []), text);
  }
});

test("sources of another form are left out", () => {
  assert.deepEqual(known([...sources, { n: "3", file: "x" }, { n: 4 }, null, "x"]), sources);
  assert.deepEqual(known("x"), []);
  assert.deepEqual(known(undefined), []);
});

test("content may be text, parts or any other JSON", () => {
  assert.equal(textOf("text"), "text");
  assert.equal(
    textOf([
      { type: "text", text: "a" },
      { type: "image", source: {} },
    ]),
    "a\n[image]",
  );
  assert.equal(textOf(undefined), "");
  assert.equal(textOf({ a: 1 }), '{\n  "a": 1\n}');
});

test("a call runs, waits, and ends in one of the ways that results tell", () => {
  const call = { id: "c", function: { name: "f", arguments: "" } };
  const result = (content, metadata, error) => ({ id: "r", role: "tool", toolCallId: "c", content, metadata, error });
  const asks = (toolCallId, answered) => [{ id: "i", reason: "", toolCallId, answered }];
  const marked = (status) => ({ sessionstream: { status } });

  assert.equal(statusOf(call, undefined, []), "running");
  assert.equal(statusOf(call, undefined, asks("c", false)), "waiting");
  assert.equal(statusOf(call, undefined, asks("c", true)), "running");
  assert.equal(statusOf(call, undefined, asks("other", false)), "running");
  assert.equal(statusOf(call, result("42"), []), "done");
  assert.equal(statusOf(call, result("no", {}, "no"), []), "failed");
  assert.equal(statusOf(call, result("no", { is_error: true }), []), "failed");
  assert.equal(statusOf(call, result("no", marked("failed")), []), "failed");
  assert.equal(statusOf(call, result("declined by the user", marked("declined")), []), "declined");
  assert.equal(statusOf(call, result("expired", marked("expired")), []), "expired");
  assert.equal(statusOf(call, result("interrupted by the user"), []), "stopped");
  assert.equal(statusOf(call, result("the run failed"), []), "failed");
});

test("JSON is laid out, and what is not whole yet stays as it is", () => {
  assert.equal(pretty('{"a":[1]}'), '{\n  "a": [\n    1\n  ]\n}');
  assert.equal(pretty('{"a":'), '{"a":');
  assert.equal(pretty("42 apples"), "42 apples");
});

test("a link's text is no other address than the link's", () => {
  assert.equal(honest("https://bank.test", "https://evil.test/"), "https://evil.test/");
  assert.equal(honest("www.bank.test/a", "https://bank.test.evil.test/"), "https://bank.test.evil.test/");
  for (const text of ["https://x.test/other", "www.x.test", "HTTP://X.TEST", "readme.md", "some words"]) {
    assert.equal(honest(text, "https://x.test/"), text);
  }
});

test("code shows the signs that would turn it round, and keeps all others", () => {
  assert.equal(plainCode("a\u202eb\u2069\n\tc"), "a\\u202eb\\u2069\n\tc");
});
