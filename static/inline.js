// @ts-check
/**
 * The running text of Markdown, as data: code, emphasis, links, citations. Pure, and linear in the text.
 */

/**
 * @typedef {{ kind: "text" | "code" | "strong" | "em" | "cite", text: string }
 *   | { kind: "link", text: string, href: string }} Inline
 */

/** Each alternative ends at its own mark or at its bound, so that no text makes the search slow. */
const INLINE = new RegExp(
  [
    /(?<code>`[^`\n]{1,2000}`)/,
    /\*\*(?<strong>[^*\n]{1,2000})\*\*/,
    /(?<![\w*])\*(?<em>[^\s*](?:[^*\n]{0,1000}[^\s*])?)\*(?![\w*])/,
    /\[(?<label>[^[\]\n]{1,500})\]\((?<href>https?:\/\/[^\s()<>"]{1,2000})\)/,
    /(?<bare>https?:\/\/[^\s<>"'`)\]]{1,2000})/,
    /\[(?<cite>\d{1,3})\](?!\()/,
  ]
    .map(({ source }) => source)
    .join("|"),
  "g",
);

/**
 * Return the spans of one line of running text. Links are http(s) only; `[1]` is a citation.
 * @param {string} text
 * @returns {Inline[]}
 */
export function parseInline(text) {
  /** @type {Inline[]} */
  const spans = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > at) spans.push({ kind: "text", text: text.slice(at, match.index) });
    const span = spanOf(match.groups ?? {});
    spans.push(span);
    at = match.index + match[0].length;
    // A full stop behind a bare address ends the sentence, not the address.
    if (span.kind === "link" && match.groups?.bare) at -= match.groups.bare.length - span.href.length;
  }
  if (at < text.length) spans.push({ kind: "text", text: text.slice(at) });
  return spans;
}

/** @param {Record<string, string | undefined>} found @returns {Inline} */
function spanOf({ code, strong, em, label, href, bare, cite }) {
  if (code) return { kind: "code", text: code.slice(1, -1) };
  if (strong) return { kind: "strong", text: strong };
  if (em) return { kind: "em", text: em };
  if (label && href) return { kind: "link", text: label, href };
  if (cite) return { kind: "cite", text: cite };
  const address = (bare ?? "").replace(/[.,;:!?]+$/, "");
  return { kind: "link", text: address, href: address };
}
