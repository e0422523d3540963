// @ts-check
/**
 * A small, safe part of Markdown, as data: the views make elements of it, never markup. Pure.
 *
 * Every block carries its source, so that a text that grows re-renders its last block only. All patterns are bounded:
 * the time is linear in the text, whatever an agent writes.
 */

/**
 * @typedef {{ source: string } & (
 *   | { kind: "paragraph", text: string }
 *   | { kind: "heading", text: string, level: number }
 *   | { kind: "code", text: string, language: string }
 *   | { kind: "quote", blocks: Block[] }
 *   | { kind: "list", ordered: boolean, start: number, items: Block[][] }
 *   | { kind: "table", rows: string[][] }
 *   | { kind: "rule" }
 * )} Block
 * @typedef {{ block: Block, end: number }} Taken
 */

const DEEPEST = 4;
const FENCE = /^ {0,3}(`{3,20}|~{3,20})([^`~]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(\S.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:\s+|$)/;
const TABLE_DASHES = /^\s*\|[\s:|-]+$/;

/**
 * Return the blocks of a text. What is not recognised is a paragraph, as it stands.
 * @param {string} text
 * @param {number} [depth]
 * @returns {Block[]}
 */
export function parseBlocks(text, depth = 0) {
  const lines = text.split(/\r\n?|\n/);
  /** @type {Block[]} */
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (line(lines, at).trim() === "") {
      at += 1;
      continue;
    }
    const { block, end } = takeBlock(lines, at, depth);
    blocks.push(block);
    at = end;
  }
  return blocks;
}

/** @param {string[]} lines @param {number} at @returns {string} */
function line(lines, at) {
  return lines[at] ?? "";
}

/** @param {string[]} lines @param {number} from @param {number} end @returns {string} */
function joined(lines, from, end) {
  return lines.slice(from, end).join("\n");
}

/**
 * @param {string[]} lines
 * @param {number} at
 * @param {(line: string, index: number) => boolean} matches
 * @returns {number}
 */
function endOf(lines, at, matches) {
  let end = at;
  while (end < lines.length && matches(line(lines, end), end)) end += 1;
  return end;
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Taken} */
function takeBlock(lines, at, depth) {
  const first = line(lines, at);
  const fence = FENCE.exec(first);
  if (fence) return takeCode(lines, at, String(fence[1]), (fence[2] ?? "").trim().split(/\s/)[0] ?? "");
  const heading = HEADING.exec(first);
  if (heading) {
    const block = /** @type {const} */ ({
      kind: "heading",
      source: first,
      level: heading[1]?.length ?? 1,
      text: heading[2] ?? "",
    });
    return { block, end: at + 1 };
  }
  if (RULE.test(first)) return { block: { kind: "rule", source: first }, end: at + 1 };
  if (depth < DEEPEST && QUOTE.test(first)) return takeQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(first)) return takeList(lines, at, depth);
  if (isRow(first) && TABLE_DASHES.test(line(lines, at + 1))) return takeTable(lines, at);
  const end = endOf(lines, at, (text, index) => index === at || !startsBlock(text));
  const source = joined(lines, at, end);
  return { block: { kind: "paragraph", source, text: source.trim() }, end };
}

/** @param {string} text @returns {boolean} */
function startsBlock(text) {
  return text.trim() === "" || [FENCE, HEADING, RULE, QUOTE, ITEM].some((pattern) => pattern.test(text));
}

/** @param {string[]} lines @param {number} at @param {string} fence @param {string} language @returns {Taken} */
function takeCode(lines, at, fence, language) {
  const closes = (/** @type {string} */ text) => text.trim().startsWith(fence) && /^\s*[`~]+\s*$/.test(text);
  const end = endOf(lines, at + 1, (text) => !closes(text));
  const block = /** @type {const} */ ({ kind: "code", language, text: joined(lines, at + 1, end) });
  return { block: { ...block, source: joined(lines, at, end + 1) }, end: end + 1 };
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Taken} */
function takeQuote(lines, at, depth) {
  const end = endOf(lines, at, (text) => QUOTE.test(text));
  const inner = lines.slice(at, end).map((text) => text.replace(QUOTE, ""));
  return {
    block: { kind: "quote", source: joined(lines, at, end), blocks: parseBlocks(inner.join("\n"), depth + 1) },
    end,
  };
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {Taken} */
function takeList(lines, at, depth) {
  const marker = ITEM.exec(line(lines, at))?.[2] ?? "-";
  const ordered = /\d/.test(marker);
  /** @type {Block[][]} */
  const items = [];
  let end = at;
  while (end < lines.length) {
    const item = ITEM.exec(line(lines, end));
    if (!item || /\d/.test(String(item[2])) !== ordered || RULE.test(line(lines, end))) break;
    const from = end;
    end = endOfItem(lines, from);
    const own = lines
      .slice(from, end)
      .map((text, index) => (index === 0 ? text.slice(item[0].length) : dedented(text, item[0].length)));
    items.push(parseBlocks(own.join("\n"), depth + 1));
    end = endOf(lines, end, (text, index) => text.trim() === "" && ITEM.test(line(lines, index + 1)));
  }
  return {
    block: { kind: "list", ordered, start: Number.parseInt(marker, 10) || 1, items, source: joined(lines, at, end) },
    end,
  };
}

/**
 * An item goes on with what is indented, and with the rest of its paragraph.
 * @param {string[]} lines
 * @param {number} from
 * @returns {number}
 */
function endOfItem(lines, from) {
  return endOf(lines, from, (text, index) => {
    if (index === from) return true;
    if (text.trim() === "") return /^(\t| {2,})\S/.test(line(lines, index + 1));
    return /^(\t| {2,})/.test(text) || (line(lines, index - 1).trim() !== "" && !startsBlock(text));
  });
}

/** @param {string} text @param {number} width @returns {string} */
function dedented(text, width) {
  return text.startsWith("\t") ? text.slice(1) : text.slice(Math.min(width, text.length - text.trimStart().length));
}

/** @param {string} text @returns {boolean} */
function isRow(text) {
  const row = text.trim();
  return row.length > 1 && row.startsWith("|") && row.endsWith("|");
}

/** @param {string[]} lines @param {number} at @returns {Taken} */
function takeTable(lines, at) {
  const end = endOf(lines, at, isRow);
  const rows = lines
    .slice(at, end)
    .filter((_, index) => index !== 1)
    .map((text) =>
      text
        .trim()
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );
  return { block: { kind: "table", rows, source: joined(lines, at, end) }, end };
}
