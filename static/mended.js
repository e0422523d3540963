// @ts-check
/**
 * The end of a text that is still being written, as it will look when what has begun there is over. Pure.
 *
 * Marks that wait for their other half are closed, and those that say nothing yet are held back: what is shown grows
 * and never takes anything back. A mark that turns out to be none appears with what comes behind it.
 */

const FENCE = /^ {0,3}(?:```|~~~)/;
const ANY_FENCE = /(?:^|\n)[ \t]*(?:```|~~~)/g;
/** A last line of marks only: of a list and its boxes, a heading, a quote, a rule, a fence; or a number so far. */
const MARKS_ONLY = new RegExp(
  String.raw`(^|\n)[ \t]*(?:>[ \t]*)*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+\[[ xX]?\]?[ \t]*|(?:[\x60]{3,}|~{3,})[^\n\x60]*|` +
    String.raw`[-*+_=~\x60#]+[ \t]*|\d{1,9}[.)]?[ \t]*|(?:[-*_][ \t]*){2,})?$`,
);
/** The last line of a block of code that may become its end. */
const HALF_FENCE = /\n[ \t]*[`~]+[ \t]*$/;
/** The head of a table whose second line is not whole, from its first line on. */
const HALF_TABLE = /(?:^|\n)[ \t]*\|[^\n]*(?:\n[|:\- \t]*)?$/;
const WHOLE_DASHES = /\n[ \t|]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*\n/;
/** A link or an image of which the address is not whole. */
const HALF_LINK =
  /(?:(?<!\S)!)?\[([^[\]\n]{0,300})(?:\](?:\((?:[^()\s]|\([^()\s]*\)){0,2000}(?:\([^()\s]*|\s[^()\n]{0,300})?)?)?$/;
/** What may become the name of an address, which is not shown. */
const HALF_NAME = /^ {0,3}\[[^[\]\n]{0,60}(?:\](?::[ \t]*)?)?$/;
const HALF_SIGN = /&(?:#\w{0,7}|[a-z]{0,7})$|\\$|(?<!\S)!$/;
const NUMBER = /^\d+[ \t]*$/;
const LOOSE_MARKS = /[*~_]+$/;
const MARKS = /\*\*\*|\*\*|\*|~~|_{1,3}/g;
const ADDRESS = /\]\([^()\s]*\)|https?:\/\/[^\s<*~]*[^\s<*~_]/g;
const WORD = /[\p{L}\p{N}]/u;
/** How far before its last line a mark may have begun that is still open. */
const LOOKS_BACK = 2000;

/**
 * Return the source of the last block as it may be shown; empty when nothing may be yet.
 * @param {string} source
 * @param {string} kind of the block, as the parser calls it
 * @param {boolean} [isAll] whether nothing stands before it: then a number is an answer, not the next item of a list
 * @returns {string}
 */
export function mended(source, kind, isAll = false) {
  if (kind === "hr" || (isAll && NUMBER.test(source))) return source;
  if (kind === "paragraph" && HALF_NAME.test(source)) return "";
  const isCode = kind === "code" ? FENCE.test(source) : isInFence(source);
  if (isCode && source.includes("\n", source.search(ANY_FENCE) + 1)) return source.replace(HALF_FENCE, "");
  if (kind === "code") return isCode ? "" : source; // a fence alone: what language it is, is not said yet
  const known = kind === "paragraph" && !WHOLE_DASHES.test(source) ? source.replace(HALF_TABLE, "") : source;
  const lines = known.replace(MARKS_ONLY, "");
  if (isInFence(lines)) return lines; // its end is what was taken away
  const paragraph = lines.lastIndexOf("\n\n") + 1;
  const start = Math.max(paragraph, lines.lastIndexOf("\n") - LOOKS_BACK, 0);
  return lines.slice(0, start) + closed(lines.slice(start));
}

/** @param {string} source @returns {boolean} */
function isInFence(source) {
  return (source.match(ANY_FENCE)?.length ?? 0) % 2 === 1;
}

/** @param {string} text running text @returns {string} */
function closed(text) {
  const ticks = openTicks(text);
  if (ticks) {
    const inside = text.slice(ticks.at + ticks.run.length);
    if (inside.trim() === "") return closed(text.slice(0, ticks.at));
    const whole = text.replace(/`+$/, "") + ticks.run;
    return whole + missing(whole);
  }
  const whole = text.replace(HALF_LINK, "$1").replace(HALF_SIGN, "");
  const shown = whole.replace(LOOSE_MARKS, (marks, at) => (isClosing(whole, marks, at) ? marks : ""));
  // Behind a space a mark would close nothing.
  const end = shown.trimEnd();
  return end + missing(end) + shown.slice(end.length);
}

/** @param {string} text @returns {{ at: number, run: string } | undefined} the run of backticks that nothing closes */
function openTicks(text) {
  /** @type {{ at: number, run: string } | undefined} */
  let open;
  for (const { 0: run, index } of text.matchAll(/(?<!\\)`+/g)) {
    if (!open) open = { at: index, run };
    else if (open.run.length === run.length) open = undefined;
  }
  return open;
}

/** @param {string} text @returns {string} as long, without the marks in code and addresses */
function withoutCode(text) {
  const hide = (/** @type {string} */ found) => "x".repeat(found.length);
  return text.replace(/(`+)[^`](?:.*?[^`])?\1(?!`)/gs, hide).replace(ADDRESS, hide).replace(/\\./g, "xx");
}

/** @param {string} text @param {string} marks @param {number} at @returns {boolean} whether they end what is open */
function isClosing(text, marks, at) {
  return missing(text.slice(0, at)) === marks;
}

/** @param {string} text @returns {string} the marks that close what is emphasised at its end, innermost first */
function missing(text) {
  /** @type {string[]} */
  const open = [];
  for (const { 0: mark, index } of withoutCode(text).matchAll(MARKS)) {
    const [before, behind] = [text[index - 1] ?? "", text[index + mark.length] ?? ""];
    // In a word, an underscore is a letter like any other.
    const isLetter = (/** @type {string} */ beside) => mark.startsWith("_") && WORD.test(beside);
    const opens = /\S/.test(behind) && !isLetter(before);
    const closes = /\S/.test(before) && !isLetter(behind);
    if (closes && open.at(-1) === mark) open.pop();
    else if (opens) open.push(mark);
  }
  return open.reverse().join("");
}
