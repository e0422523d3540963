// @ts-check
/**
 * The text of messages. Pure.
 */

/** @typedef {import("./client/types.js").Source} Source */

/**
 * Return the text of a message's content, which may come in parts.
 * @param {unknown} content
 * @returns {string}
 */
export function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content === undefined || content === null ? "" : JSON.stringify(content, null, 2);
  return content.map((part) => part?.text ?? `[${part?.type ?? "part"}]`).join("\n");
}

/**
 * Return an answer without the list of its sources, when that says what the page shows below the answer anyway.
 * @param {string} text
 * @param {Source[]} sources
 * @returns {string}
 */
export function withoutSourceList(text, sources) {
  const place = (/** @type {Source} */ { file, heading }) => (heading === undefined ? file : `${file} › ${heading}`);
  const list = ["Sources:", ...sources.map((source) => `[${source.n}] ${place(source)}`)].join("\n");
  return sources.length > 0 ? text.replace(`\n\n${list}\n\n`, "\n\n").replace(`\n\n${list}`, "") : text;
}
