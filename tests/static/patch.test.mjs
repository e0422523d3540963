// JSON Patch as RFC 6902 defines it, without changing its input.

import assert from "node:assert/strict";
import { test } from "node:test";

import { applyPatch } from "../../static/client/patch.js";

const CASES = [
  ["add to an object", { a: 1 }, [{ op: "add", path: "/b", value: 2 }], { a: 1, b: 2 }],
  ["add replaces what is there", { a: 1 }, [{ op: "add", path: "/a", value: 2 }], { a: 2 }],
  ["insert into an array", [1, 3], [{ op: "add", path: "/1", value: 2 }], [1, 2, 3]],
  ["append to an array", [1], [{ op: "add", path: "/-", value: 2 }], [1, 2]],
  ["replace in an array", [1, 2], [{ op: "replace", path: "/0", value: 3 }], [3, 2]],
  ["remove from an array", [1, 2], [{ op: "remove", path: "/0" }], [2]],
  ["replace the document", { a: 1 }, [{ op: "replace", path: "", value: [] }], []],
  ["escaped keys", { "a/b": { "m~n": 1 } }, [{ op: "replace", path: "/a~1b/m~0n", value: 2 }], { "a/b": { "m~n": 2 } }],
  ["the empty key", { "": 1 }, [{ op: "remove", path: "/" }], {}],
  ["move", { a: { x: 1 }, b: {} }, [{ op: "move", from: "/a/x", path: "/b/y" }], { a: {}, b: { y: 1 } }],
  ["copy", { a: [1] }, [{ op: "copy", from: "/a/0", path: "/b" }], { a: [1], b: 1 }],
  ["a test that holds", { a: [1] }, [{ op: "test", path: "/a", value: [1] }], { a: [1] }],
];

for (const [name, doc, operations, expected] of CASES) {
  test(name, () => {
    const before = structuredClone(doc);

    assert.deepEqual(applyPatch(doc, operations), expected);
    assert.deepEqual(doc, before, "the input is as it was");
  });
}

const REFUSED = [
  ["replace of what is not there", {}, { op: "replace", path: "/a", value: 1 }],
  ["remove of what is not there", {}, { op: "remove", path: "/a" }],
  ["a parent that is not there", {}, { op: "add", path: "/a/b", value: 1 }],
  ["an index beyond the end", [1], { op: "add", path: "/2", value: 1 }],
  ["an index with a leading zero", [1, 2], { op: "remove", path: "/01" }],
  ["a path into a number", { a: 1 }, { op: "add", path: "/a/b", value: 1 }],
  ["a path without a slash", {}, { op: "add", path: "a", value: 1 }],
  ["the prototype", {}, { op: "add", path: "/__proto__/polluted", value: 1 }],
  ["a method of the prototype", {}, { op: "add", path: "/constructor/polluted", value: 1 }],
  ["a test that does not hold", { a: 1 }, { op: "test", path: "/a", value: 2 }],
  ["an unknown operation", {}, { op: "merge", path: "/a", value: 1 }],
];

for (const [name, doc, operation] of REFUSED) {
  test(`refuses ${name}`, () => {
    assert.throws(() => applyPatch(doc, [operation]), TypeError);
    assert.equal({}.polluted, undefined);
  });
}
