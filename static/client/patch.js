// @ts-check
/** JSON Patch (RFC 6902) that leaves its input alone. */

/** @import { PatchParts } from "./types.js" */

/** @type {PatchParts["applyPatch"]} */
export const applyPatch = (doc, operations) => operations.reduce(apply, doc);

/** @type {PatchParts["apply"]} */
function apply(doc, { op, path, from, value }) {
  const keys = keysOf(path);
  if (op === "test" && JSON.stringify(read(doc, keys)) === JSON.stringify(value)) return doc;
  if (/^(add|replace|remove)$/.test(op)) return edit(doc, keys, op, value);
  if (op !== "copy" && op !== "move") throw new TypeError(path);
  const rest = op === "move" ? edit(doc, keysOf(from), "remove") : doc;
  return edit(rest, keys, "add", read(doc, keysOf(from)));
}

/** @type {PatchParts["keysOf"]} */
function keysOf(pointer = "?") {
  const [start, ...keys] = pointer.split("/").map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (start || keys.includes("__proto__")) throw new TypeError(pointer);
  return keys;
}

/** @type {PatchParts["read"]} */
const read = (doc, keys) => keys.reduce((node, key) => node[known(node, key)], doc);

/** @type {PatchParts["known"]} */
function known(node, key) {
  const isThere = Array.isArray(node) ? /^(0|[1-9]\d*)$/.test(key) : node !== null && typeof node === "object";
  if (!isThere || !Object.hasOwn(node, key)) throw new TypeError(key);
  return key;
}

/** @type {PatchParts["edit"]} */
function edit(doc, [key, ...rest], op, value) {
  if (key === undefined) return op === "remove" ? null : value;
  if (rest.length > 0) value = edit(doc[known(doc, key)], rest, op, value);
  const isNew = op === "add" && rest.length === 0;
  const isGone = op === "remove" && rest.length === 0;
  if (Array.isArray(doc)) {
    const at = isNew && (key === "-" || Number(key) === doc.length) ? doc.length : known(doc, key);
    return doc.toSpliced(Number(at), isNew ? 0 : 1, ...(isGone ? [] : [value]));
  }
  if (!isNew || doc === null || typeof doc !== "object") known(doc, key);
  const copy = { ...doc, [key]: value };
  if (isGone) delete copy[key];
  return copy;
}
