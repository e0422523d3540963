// @ts-check
/**
 * Markdown as data: a text to its blocks, by the vendored parser. Pure; the views make elements of what it returns.
 *
 * A text that grows is parsed from its last two blocks on, and each block carries its source, so a view touches only
 * what has changed. The parser never sees more than a window of the text, no nesting deeper than we allow and no long
 * line of marks: its time is bounded, whatever an agent writes. HTML is no part of it: it is text like any other.
 */

import { Lexer, Tokenizer } from "./vendor/marked/marked.js";

/** @typedef {import("./vendor/marked/marked.js").Token} Token */
/** @typedef {Record<string, { href: string, title?: string, at: number }>} Links name → address, and where it stands */

/**
 * @typedef {object} Block
 * @property {number} at where it begins in the text
 * @property {string} source
 * @property {any} token of the parser, with all that is inside it
 */

/**
 * @typedef {object} Parsed
 * @property {string} text
 * @property {Block[]} blocks
 * @property {Links} links the addresses that the text names apart from where it uses them
 */

const WINDOW = 8192;
const LONGEST_INLINE = 4096;
const DEEPEST = 8;
const FENCE = /^( {0,3})(`{3,}|~{3,})([^\n]*)\n?/;
const SKIPPED = new Set(["space", "def"]);

/** The parser's rules, less HTML and underlined headings: a dash on its way to be a list must not be one. */
class Rules extends Tokenizer {
  #depth = 0;

  html() {
    return undefined;
  }

  tag() {
    return undefined;
  }

  lheading() {
    return undefined;
  }

  /** @param {string} source */
  blockquote(source) {
    return this.#nested(() => super.blockquote(source));
  }

  /** @param {string} source */
  list(source) {
    return this.#nested(() => super.list(source));
  }

  /**
   * @template T
   * @param {() => T} parse
   * @returns {T | undefined}
   */
  #nested(parse) {
    if (this.#depth >= DEEPEST) return undefined;
    this.#depth += 1;
    try {
      return parse();
    } finally {
      this.#depth -= 1;
    }
  }
}

/** A parser for one window: running text that is too long to look for marks in stays plain. */
class Window extends Lexer {
  constructor() {
    super({ gfm: true, breaks: true, tokenizer: new Rules() });
  }

  /**
   * @param {string} source
   * @param {any[]} [tokens]
   */
  inline(source, tokens = []) {
    if (source.length <= LONGEST_INLINE) return super.inline(source, tokens);
    tokens.push({ type: "text", raw: source, text: source });
    return tokens;
  }
}

/**
 * Return the blocks of a text.
 * @param {string} given
 * @param {Parsed} [before] what was returned for a text that this one may go on from
 * @returns {Parsed}
 */
export function parse(given, before) {
  const text = given.includes("\r") ? given.replace(/\r\n?/g, "\n") : given;
  const isGrown = before !== undefined && text.startsWith(before.text);
  // The last but one too: a list goes on behind what looked like the beginning of something else.
  const kept = isGrown ? before.blocks.slice(0, -2) : [];
  const from = isGrown ? (before.blocks.at(-2)?.at ?? 0) : 0;
  // Only what stands before: a name's address may still grow.
  const links = Object.fromEntries(Object.entries(before?.links ?? {}).filter(([, { at }]) => isGrown && at < from));
  const parsed = parseFrom(text, from, kept, links);
  if (Object.keys(parsed.links).length === Object.keys(links).length) return parsed;
  return parseFrom(text, 0, [], parsed.links); // what stood before the address of its link was known
}

/**
 * Return the blocks of a text that stands in another one.
 * @param {string} text
 * @param {Links} links those of the whole
 * @returns {Block[]}
 */
export function parseInside(text, links) {
  return parseFrom(text, 0, [], links).blocks;
}

/** @param {string} text @param {number} from @param {Block[]} kept @param {Links} known @returns {Parsed} */
function parseFrom(text, from, kept, known) {
  const blocks = [...kept];
  let links = known;
  let at = from;
  let head = "";
  while (at < text.length) {
    const fence = head ? undefined : takeFence(text, at);
    const found = fence ? { blocks: [fence], links, end: fence.at + fence.source.length } : take(text, at, links, head);
    blocks.push(...found.blocks);
    links = found.links;
    at = found.end;
    head = headOfCut(text, at, blocks.at(-1));
  }
  return { text, blocks, links };
}

/**
 * Take the blocks of the window that begins at `at`.
 * @param {string} text
 * @param {number} at
 * @param {Links} links
 * @param {string} head of the table that the window goes on with
 * @returns {{ blocks: Block[], links: Links, end: number }}
 */
function take(text, at, links, head) {
  const end = endOfWindow(text, at);
  const lexer = new Window();
  // Without `constructor` and the like, which nobody has given an address.
  lexer.tokens.links = Object.assign(Object.create(null), links);
  const source = head + text.slice(at, end);
  const blocks = placed(tokensOf(lexer, source), at, head.length, text);
  const all = blocks.at(-1);
  const isWhole = end === text.length || all === undefined;
  // What the window's end may have cut is taken again, unless nothing else is in the window.
  const whole = isWhole ? blocks : blocks.slice(0, blocks.length > 2 ? -2 : Math.max(1, blocks.length - 1));
  const next = isWhole || whole.length === blocks.length ? end : (blocks[whole.length]?.at ?? end);
  const shown = whole.filter(({ token }) => !SKIPPED.has(token.type));
  return { blocks: shown, links: { ...linksOf(whole), ...links }, end: next };
}

/** @param {Block[]} blocks @returns {Links} */
function linksOf(blocks) {
  const found = blocks.filter(({ token }) => token.type === "def").reverse(); // of two with one name, the first counts
  return Object.fromEntries(found.map(({ at, token: { tag, href, title } }) => [tag, { href, title, at }]));
}

/** @param {Window} lexer @param {string} source @returns {any[]} */
function tokensOf(lexer, source) {
  const plain = [{ type: "paragraph", raw: source, tokens: [{ type: "text", raw: source, text: source }] }];
  try {
    const tokens = lexer.lex(source);
    const length = tokens.reduce((sum, { raw }) => sum + raw.length, 0);
    return length === source.length ? tokens : plain;
  } catch (error) {
    if (error instanceof RangeError) return plain; // deeper than the stack
    throw error;
  }
}

/** @param {any[]} tokens @param {number} start @param {number} head @param {string} text @returns {Block[]} */
function placed(tokens, start, head, text) {
  let at = start - head;
  return tokens.map((token) => {
    const from = Math.max(start, at);
    at += token.raw.length;
    return { at: from, source: text.slice(from, at), token };
  });
}

/** @param {string} text @param {number} at @returns {number} */
function endOfWindow(text, at) {
  const furthest = at + WINDOW;
  if (furthest >= text.length) return text.length;
  for (const mark of ["\n\n", "\n"]) {
    const found = text.lastIndexOf(mark, furthest - mark.length);
    if (found > at) return found + mark.length;
  }
  const isPair = (text.charCodeAt(furthest - 1) & 0xfc00) === 0xd800;
  return isPair ? furthest - 1 : furthest;
}

/**
 * Take a fenced block of code, however long; it lasts to the end of the text while its own end has not come.
 * @param {string} text
 * @param {number} at
 * @returns {Block | undefined}
 */
function takeFence(text, at) {
  const line = FENCE.exec(text.slice(at, at + 500));
  const [opening = "", indent = "", fence = "", info = ""] = line ?? [];
  if (!line || (fence.startsWith("`") && info.includes("`"))) return undefined;
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`, "m");
  const rest = text.slice(at + opening.length);
  const found = opening.endsWith("\n") ? closing.exec(rest) : null;
  const body = found ? rest.slice(0, found.index).replace(/\n$/, "") : rest;
  const end = found ? at + opening.length + found.index + found[0].length : text.length;
  const stop = text[end] === "\n" ? end + 1 : end;
  const code = indent ? body.replace(new RegExp(`^ {1,${indent.length}}`, "gm"), "") : body;
  const source = text.slice(at, stop);
  return { at, source, token: { type: "code", lang: info.trim(), text: code, isOpen: !found } };
}

/**
 * Return the first two lines of a table that the end of a window cut, for what comes behind.
 * @param {string} text
 * @param {number} at
 * @param {Block | undefined} last
 * @returns {string}
 */
function headOfCut(text, at, last) {
  if (last?.token.type !== "table" || last.at + last.source.length !== at || at >= text.length) return "";
  const isOver = last.source.endsWith("\n\n") || text[at] === "\n";
  return isOver ? "" : `${last.token.raw.split("\n", 2).join("\n")}\n`;
}
