// What the page shows of an answer's text.

import assert from "node:assert/strict";
import { test } from "node:test";

import { textOf, withoutSourceList } from "../../static/answer.js";

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
