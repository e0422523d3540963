// The small Markdown: what it knows, what it leaves alone, and that no text makes it slow or unsafe.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parseInline } from "../../static/inline.js";
import { parseBlocks } from "../../static/markdown.js";

/** Blocks without their sources. */
function plain(blocks) {
  return JSON.parse(JSON.stringify(blocks, (key, value) => (key === "source" ? undefined : value)));
}

const paragraph = (text) => ({ kind: "paragraph", text });

test("blank lines part paragraphs, single breaks stay", () => {
  assert.deepEqual(plain(parseBlocks("one\ntwo\n\n\nthree\n")), [paragraph("one\ntwo"), paragraph("three")]);
});

test("headings, rules, quotes, lists and tables", () => {
  const text = "# Title\ntext\n\n---\n> said\n> > twice\n\n- a\n- b\n  1. c\n\n| x | y |\n|---|---|\n| 1 | 2 |";

  assert.deepEqual(plain(parseBlocks(text)), [
    { kind: "heading", level: 1, text: "Title" },
    paragraph("text"),
    { kind: "rule" },
    { kind: "quote", blocks: [paragraph("said"), { kind: "quote", blocks: [paragraph("twice")] }] },
    {
      kind: "list",
      ordered: false,
      start: 1,
      items: [[paragraph("a")], [paragraph("b"), { kind: "list", ordered: true, start: 1, items: [[paragraph("c")]] }]],
    },
    {
      kind: "table",
      rows: [
        ["x", "y"],
        ["1", "2"],
      ],
    },
  ]);
});

test("code keeps its text to the letter, also before its end has arrived", () => {
  const code = { kind: "code", language: "python", text: "def f():\n\n    # not a heading" };

  assert.deepEqual(plain(parseBlocks("```python\ndef f():\n\n    # not a heading\n```\nafter")), [
    code,
    paragraph("after"),
  ]);
  assert.deepEqual(plain(parseBlocks("```python\ndef f():\n\n    # not a heading")), [code]);
});

test("list items hold several lines and blocks, with blank lines between them", () => {
  const text = "1. one\n   goes on\n\n2. two\n\n   ```\n   code\n   ```\n\nafter";

  assert.deepEqual(plain(parseBlocks(text)), [
    {
      kind: "list",
      ordered: true,
      start: 1,
      items: [[paragraph("one\ngoes on")], [paragraph("two"), { kind: "code", language: "", text: "code" }]],
    },
    paragraph("after"),
  ]);
});

test("a text that grows changes its last block only", () => {
  const text = "# A\n\none **two**\n\n```js\nlet x;\n```\n\n- a\n- b\n\nlast words";
  let before = [];
  for (let end = 1; end <= text.length; end += 1) {
    const blocks = parseBlocks(text.slice(0, end));
    before.slice(0, -1).forEach((block, index) => assert.equal(blocks[index].source, block.source));
    before = blocks;
  }
});

test("spans of running text", () => {
  assert.deepEqual(
    parseInline("Use `a*b`, **now** or *later* [1], see [docs](https://x.test/a) or https://y.test/b."),
    [
      { kind: "text", text: "Use " },
      { kind: "code", text: "a*b" },
      { kind: "text", text: ", " },
      { kind: "strong", text: "now" },
      { kind: "text", text: " or " },
      { kind: "em", text: "later" },
      { kind: "text", text: " " },
      { kind: "cite", text: "1" },
      { kind: "text", text: ", see " },
      { kind: "link", text: "docs", href: "https://x.test/a" },
      { kind: "text", text: " or " },
      { kind: "link", text: "https://y.test/b", href: "https://y.test/b" },
      { kind: "text", text: "." },
    ],
  );
});

test("only http and https become links", () => {
  for (const text of [
    "[x](javascript:alert(1))",
    "[x](data:text/html,1)",
    "[x](//y.test)",
    "[x](/api/chat)",
    "<b>x</b>",
  ]) {
    assert.deepEqual(parseInline(text), [{ kind: "text", text }]);
  }
});

test("signs that open nothing stay as they are", () => {
  for (const text of ["2 * 3 * 4", "snake_case_name", "a ** b", "`open", "[x]", "f(*args, **kwargs"]) {
    assert.deepEqual(
      parseInline(text)
        .map((span) => span.text)
        .join(""),
      text,
    );
    assert.ok(
      parseInline(text).every((span) => span.kind === "text"),
      text,
    );
  }
});

test("nothing of a text is lost, whatever it is made of", () => {
  const signs = ["`", "*", "**", "[", "](", ")", "https://", "[1]", " ", "word", "\n", "é", "👩‍👧"];
  let seed = 7;
  const next = () => (seed = (seed * 48_271) % 2_147_483_647);
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 20 }, () => signs[next() % signs.length]).join("");
    const shown = parseInline(text)
      .map(({ text: part }) => part)
      .join("");
    const letters = (/** @type {string} */ value) => value.replaceAll(/[^\p{L}\p{Extended_Pictographic}]/gu, "");
    assert.equal(letters(shown.replaceAll("https", "")), letters(text.replaceAll("https", "")));
  }
});

test("hostile texts of 100,000 characters are parsed all the same", () => {
  for (const unit of [
    "#",
    "# ",
    "`",
    "```",
    "~",
    "~`",
    "* ",
    "**a",
    "> ",
    "- ",
    "1. ",
    "| ",
    "|\n",
    "[",
    "[a](",
    "[1",
    "https://",
    "\t",
    " ",
  ]) {
    const text = unit.repeat(100_000 / unit.length);
    for (const variant of [text, `${text}x`, `# ${text}`, `\`\`\`${text}\``, text.replaceAll(" ", "\n")]) {
      assert.ok(Array.isArray(parseBlocks(variant)));
      assert.ok(parseInline(variant).length > 0);
    }
  }
});
