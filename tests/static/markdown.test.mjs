// Markdown as blocks: what is taken for what, that a text that grows ends as the same text at once, and that none is slow.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parse } from "../../static/markdown.js";

const kinds = (text, before) => parse(text, before).blocks.map(({ token }) => token.type);
const sources = (parsed) => parsed.blocks.map(({ source }) => source.trimEnd());
const grown = (text) => {
  let parsed;
  for (let end = 1; end <= text.length; end += 1) parsed = parse(text.slice(0, end), parsed);
  return parsed;
};

test("headings, text, rules, quotes, lists, code and tables", () => {
  const text = "# A\ntext\n\n---\n> said\n\n- a\n- b\n  1. c\n\n```js\nx\n\ny\n```\n| x | y |\n|---|---|\n| 1 | 2 |";

  assert.deepEqual(kinds(text), ["heading", "paragraph", "hr", "blockquote", "list", "code", "table"]);
});

test("HTML is no block and no span: it is text", () => {
  const text = "<div onclick=x>\n<b>*a*</b>\n</div>\n\n<!-- c --> <script>";
  const all = JSON.stringify(parse(text).blocks);

  assert.deepEqual(kinds(text), ["paragraph", "paragraph"]);
  assert.ok(!all.includes('"type":"html"'));
  assert.ok(all.includes('"type":"em"'));
});

test("a line of dashes below text is a rule, so that a list on its way makes no heading of it", () => {
  assert.deepEqual(kinds("text\n-"), ["paragraph"]);
  assert.deepEqual(kinds("text\n- a"), ["paragraph", "list"]);
  assert.deepEqual(kinds("text\n---"), ["paragraph", "hr"]);
});

test("code keeps its text to the letter, also before its end has come", () => {
  const [open] = parse("```python x=1\ndef f():\n\n    # not a heading").blocks;
  const [closed, after] = parse("  ~~~~\n  a\n    b\n  ~~~\n  ~~~~\nafter").blocks;

  assert.deepEqual([open.token.text, open.token.lang], ["def f():\n\n    # not a heading", "python x=1"]);
  assert.equal(closed.token.text, "a\n  b\n~~~");
  assert.equal(after.token.type, "paragraph");
});

test("code of any length is one block, tables and lists of any length keep every line", () => {
  const code = "let x = 1;\n".repeat(9000);
  const blocks = parse(`before\n\n\`\`\`js\n${code}\`\`\`\nafter`).blocks;
  assert.deepEqual(
    blocks.map(({ token }) => token.type),
    ["paragraph", "code", "paragraph"],
  );
  assert.equal(blocks[1].token.text, code.trimEnd());

  const rows = parse(`| a | b |\n|--|--|\n${"| one | two |\n".repeat(5000)}\nend`).blocks;
  assert.ok(rows.slice(0, -1).every(({ token }) => token.type === "table" && token.header[0].text === "a"));
  assert.equal(
    rows.slice(0, -1).reduce((sum, { token }) => sum + token.rows.length, 0),
    5000,
  );
  assert.equal(rows.at(-1).token.text, "end");
});

test("a text that grows leaves its earlier blocks alone", () => {
  const text = "# A\n\none **two**\n\n```js\nlet x;\n```\n\n- a\n- b\n\nlast words";
  let before;
  for (let end = 1; end <= text.length; end += 1) {
    const parsed = parse(text.slice(0, end), before);
    const kept = (before?.blocks ?? []).slice(0, -2);
    kept.forEach((block, index) => assert.equal(parsed.blocks[index], block));
    before = parsed;
  }
});

test("a text that grew is the same as one that came at once", () => {
  const pieces = [
    ...["\n", "\n\n", "- a", "1. b", "  c", "# h", "```", "`x`", "**b**", "> q", "text ", "[1]", "---", "\t", "   "],
    ...["| a | b |\n|--|--|\n| 1 | 2 |", "    code", "~~~", "* x", "é👩‍👧", "\r\n", "<b>"],
  ];
  let seed = 7;
  const next = () => (seed = (seed * 48_271) % 2_147_483_647);
  for (let round = 0; round < 300; round += 1) {
    const text = Array.from({ length: 14 }, () => pieces[next() % pieces.length]).join("");
    assert.deepEqual(grown(text).blocks, parse(text).blocks, JSON.stringify(text));
  }
});

test("an address that is named below its use is found, and one that is half there does no harm", () => {
  const text = "See [the docs] and more.\n\nText.\n\n- list\n\n[the docs]: https://x.test/a\n";

  assert.equal(parse(text).blocks[0].token.tokens[1].href, "https://x.test/a");
  assert.deepEqual(parse(text, grown(text)).blocks, parse(text).blocks);
});

test("a name that every object has is no link unless the text gives it an address", () => {
  for (const name of ["constructor", "__proto__"]) {
    const [plain] = parse(`[${name}] ![${name}] [a][${name}]`).blocks;
    const [linked] = parse(`[${name}]\n\n[${name}]: https://x.test`).blocks;

    assert.deepEqual(plain.token.tokens.filter(({ type }) => type === "link" || type === "image"), []);
    assert.equal(linked.token.tokens[0].href, "https://x.test");
  }
});

test("nothing of a text is lost", () => {
  for (const unit of ["word ", "x", "> ", "- a\n", "**", "[a](", "a\n\n", "| a |\n", "1. ", "\t"]) {
    const text = `${unit.repeat(30_000 / unit.length)}end`;
    const whole = sources(parse(text)).join("");
    assert.equal(whole.replace(/\s/g, ""), text.replace(/\s/g, ""));
  }
});

test("hostile texts of 65,536 characters are parsed all the same", () => {
  const units = [
    ...["#", "# ", "`", "```", "~", "~`", "* ", "**a", "> ", "- ", "1. ", "| ", "|\n", "[", "[a](", "[1", "\t", " "],
    ...["https://", "<", "<a ", "<!--", "*a_ ", "a@", "&#", "\\", "![", "-\na\n", "- [ ] ", "[a]: b\n", "www.", "~~a "],
  ];
  for (const unit of units) {
    const text = unit.repeat(65_536 / unit.length);
    for (const variant of [text, `${text}x`, `# ${text}`, `\`\`\`${text}\``]) {
      assert.ok(Array.isArray(parse(variant).blocks));
    }
  }
});
