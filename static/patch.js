// @ts-check
/**
 * JSON Patch (RFC 6902) that leaves its input alone: what changes is copied along the path, the rest is shared.
 */

/** @typedef {{ op: string, path: string, from?: string, value?: any }} Operation */

/**
 * Return `doc` with `operations` applied, in order.
 * @template T
 * @param {T} doc
 * @param {Operation[]} operations
 * @returns {T}
 * @throws {TypeError} an operation does not fit the document: the caller has lost the thread and needs a snapshot
 */
export function applyPatch(doc, operations) {
  return operations.reduce((current, operation) => apply(current, operation), doc);
}

/** @param {any} doc @param {Operation} operation @returns {any} */
function apply(doc, { op, path, from, value }) {
  switch (op) {
    case "add":
    case "replace":
      return edit(doc, keysOf(path), op, value);
    case "remove":
      return edit(doc, keysOf(path), op);
    case "copy":
      return edit(doc, keysOf(path), "add", read(doc, keysOf(from)));
    case "move":
      return edit(edit(doc, keysOf(from), "remove"), keysOf(path), "add", read(doc, keysOf(from)));
    case "test":
      if (JSON.stringify(read(doc, keysOf(path))) !== JSON.stringify(value)) throw new TypeError(`test of ${path}`);
      return doc;
    default:
      throw new TypeError(`unknown operation ${op}`);
  }
}

/** @param {string | undefined} pointer @returns {string[]} */
function keysOf(pointer) {
  if (pointer === "") return [];
  if (!pointer?.startsWith("/")) throw new TypeError(`not a JSON pointer: ${pointer}`);
  const keys = pointer
    .slice(1)
    .split("/")
    .map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (keys.includes("__proto__")) throw new TypeError("__proto__ is no key of ours");
  return keys;
}

/** @param {any} doc @param {string[]} keys @returns {any} */
function read(doc, keys) {
  return keys.reduce((node, key) => child(node, key), doc);
}

/** @param {any} node @param {string} key @returns {any} */
function child(node, key) {
  if (node === null || typeof node !== "object" || !Object.hasOwn(node, key)) throw new TypeError(`no ${key} here`);
  return node[key];
}

/** @param {any} doc @param {string[]} keys @param {string} op @param {any} [value] @returns {any} */
function edit(doc, keys, op, value) {
  const [key, ...rest] = keys;
  if (key === undefined) return op === "remove" ? null : value;
  if (rest.length > 0) {
    const copy = copyOf(doc);
    copy[key] = edit(child(doc, key), rest, op, value);
    return copy;
  }
  return Array.isArray(doc) ? editArray(doc, key, op, value) : editObject(doc, key, op, value);
}

/** @param {any} node @returns {any} */
function copyOf(node) {
  if (node === null || typeof node !== "object") throw new TypeError("not a container");
  return Array.isArray(node) ? [...node] : { ...node };
}

/** @param {any[]} list @param {string} key @param {string} op @param {any} value @returns {any[]} */
function editArray(list, key, op, value) {
  const index = key === "-" ? list.length : Number(key);
  const last = op === "add" ? list.length : list.length - 1;
  if (!/^(-|0|[1-9]\d*)$/.test(key) || index > last) throw new TypeError(`no index ${key}`);
  const copy = [...list];
  if (op === "add") copy.splice(index, 0, value);
  else if (op === "remove") copy.splice(index, 1);
  else copy[index] = value;
  return copy;
}

/** @param {any} node @param {string} key @param {string} op @param {any} value @returns {any} */
function editObject(node, key, op, value) {
  const copy = copyOf(node);
  if (op !== "add") child(node, key);
  if (op === "remove") delete copy[key];
  else copy[key] = value;
  return copy;
}
