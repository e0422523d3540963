// The end of a text that is being written: it never shows what it takes back, and loses nothing for good.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parse, parseInside } from "../../static/markdown.js";
import { mended } from "../../static/mended.js";

const SAMPLE = `# Title with \`code\` and *emphasis*

Some **bold**, ~~gone~~ and ***both***, a [link](https://x.test/a(b)?c=d "t"), one of
2 * 3 * 4, f(*args), snake_case, [1] and [x] y. Done &amp; dusted \\* <b>raw</b>. \`\`a\`b\`\` https://y.test/z
Also _soft_ and __strong__, not so in a_b_c or https://x.test/_a, and an ![image](https://x.test/i.png)!

[name]: https://x.test/named

1. one **two**
2. three
   - four
   - [x] done
   - [ ] open *so*

   \`\`\`py
   x = [1, \`2\`] ** 2
   \`\`\`
3. five

> said
> > again **and** again

| Name | **Number** |
|:-----|-------:|
| \`one\` | 1 |
| two | [2](https://x.test) |

text
---
more

~~~js
const a = \`\${b}\`; // ** not bold
~~~
the **end`;

/** The text that blocks show. */
function textOf(tokens = []) {
  return tokens.map(textOfOne).join("");
}

function textOfOne(token) {
  if (["space", "def", "br", "checkbox", "hr"].includes(token.type)) return "";
  if (token.type === "table") return textOf([token.header, ...token.rows].flat().flatMap((cell) => cell.tokens));
  if (token.type === "list") return textOf(token.items.flatMap((item) => item.tokens));
  if (token.tokens?.length) return textOf(token.tokens);
  return (token.text ?? token.raw).replaceAll("&amp;", "&");
}

function shown(text) {
  const { blocks, links } = parse(text);
  const last = blocks.at(-1);
  if (!last) return "";
  const isOver = text.slice(last.at + last.source.length).trim() !== "";
  const tail = isOver ? [last] : parseInside(mended(last.source, last.token.type), links);
  return textOf([...blocks.slice(0, -1), ...tail].map(({ token }) => token)).replace(/\s/g, "");
}

test("text that is shown is never taken back", () => {
  let before = "";
  for (let end = 1; end <= SAMPLE.length; end += 1) {
    const now = shown(SAMPLE.slice(0, end));
    assert.ok(now.length >= before.length, `${JSON.stringify(SAMPLE.slice(end - 30, end))}: ${before.slice(-20)}`);
    before = now;
  }
});

test("what begins is shown as what it will be", () => {
  const last = (source) => mended(source, "paragraph");

  assert.equal(last("some **bold te"), "some **bold te**");
  assert.equal(last("some `co"), "some `co`");
  assert.equal(last("a *b **c"), "a *b **c***");
  assert.equal(last("see [the do"), "see the do");
  assert.equal(last("see [the docs](https://x."), "see the docs");
  assert.equal(last("~~go"), "~~go~~");
  assert.equal(last("_go __on"), "_go __on___");
});

test("a number that is all there is may be the whole answer", () => {
  assert.equal(mended("42", "paragraph", true), "42");
  assert.equal(mended("Hello!", "paragraph", true), "Hello!");
});

test("marks that say nothing yet are held back", () => {
  for (const [source, kept] of [
    ["text **", "text "],
    ["text `", "text "],
    ["text\n- ", "text"],
    ["text\n#", "text"],
    ["text\n| a | b |", "text"],
    ["text\n| a | b |\n|--", "text"],
    ["text &am", "text "],
    ["text\n12", "text"],
    ["text __", "text"],
    ["text __bold_", "text __bold__"],
    ["text ![an im", "text an im"],
    ["text !", "text"],
    ["[name]:", ""],
    ["", ""],
  ]) {
    assert.equal(mended(source, "paragraph").trimEnd(), kept.trimEnd(), source);
  }
});

test("code is left as it is, but for what may become its end", () => {
  assert.equal(mended("```py\na ** b `c` [d", "code"), "```py\na ** b `c` [d");
  assert.equal(mended("```py\na\n``", "code"), "```py\na");
  assert.equal(mended("- a\n  ```py\n  b ** c", "list"), "- a\n  ```py\n  b ** c");
});

test("signs that open nothing stay", () => {
  for (const text of ["2 * 3 * 4 is", "a ** b is", "https://x.test/_a and", "[a](https://x.test/_a) b", "Hello!", "snake_case_name is", "[1] and [x] y"]) {
    assert.equal(mended(text, "paragraph"), text);
  }
});

test("hostile ends are mended all the same", () => {
  const units = ["*", "**a", "`", "`a``", "[", "[a](", "| ", "\t", "> ", "- ", "~", "\\", "&", "!", "# ", "\n|", "\n-", "(", " "];
  for (const unit of units) {
    const text = unit.repeat(8192 / unit.length);
    for (const variant of [text, `${text}x`, `x${text}`, `[a](${text}`, `| a |\n${text}`]) {
      for (const kind of ["paragraph", "list", "code"]) assert.equal(typeof mended(variant, kind), "string");
    }
  }
});
