import assert from "node:assert/strict";
import { test } from "node:test";

import { choicesOf, fieldsOf, singleChoice } from "../../static/asked.js";
import { isApproval } from "../../static/pending.js";

test("choices come from whatever a schema calls them", () => {
  const one = { label: "One", value: 1 };

  assert.deepEqual(choicesOf({ enum: ["a", 2] }), [{ label: "a", value: "a" }, { label: "2", value: 2 }]);
  assert.deepEqual(choicesOf({ oneOf: [{ const: 1, title: "One" }] }), [one]);
  assert.deepEqual(choicesOf({ anyOf: [{ const: 1, title: "One" }] }), [one]);
  assert.deepEqual(choicesOf({ type: "boolean" }).map(({ value }) => value), [true, false]);
});

test("a schema that is none leaves a plain question", () => {
  for (const schema of [undefined, null, 1, "x", [], {}, { enum: 1 }, { oneOf: [null] }, { properties: [] }, { type: [] }]) {
    assert.deepEqual(choicesOf(schema), []);
    assert.deepEqual(fieldsOf(schema), []);
    assert.equal(singleChoice(schema), null);
  }
});

test("one property with few choices is a choice, with more a form", () => {
  const schema = (count) => ({ properties: { place: { enum: Array.from({ length: count }, (_, at) => at) } } });

  assert.equal(singleChoice(schema(3))?.name, "place");
  assert.equal(singleChoice(schema(13)), null);
  assert.equal(fieldsOf(schema(13))[0]?.choices.length, 13);
});

test("fields say what they are and which must be there", () => {
  const schema = { properties: { first_name: { type: "string" }, age: { type: "integer", title: "Age" } }, required: ["age"] };

  assert.deepEqual(
    fieldsOf(schema).map(({ name, label, type, isRequired }) => [name, label, type, isRequired]),
    [["first_name", "first name", "string", false], ["age", "Age", "integer", true]],
  );
  assert.deepEqual(fieldsOf({ type: "number" }).map(({ name, type }) => [name, type]), [["", "number"]]);
});

test("what asks for leave is an approval, by its reason or by its answer", () => {
  const asks = (more) => isApproval({ id: "1", reason: "input", answered: false, ...more });

  assert.equal(asks({ reason: "approval" }), true);
  assert.equal(asks({ responseSchema: { properties: { approved: { type: "boolean" } } } }), true);
  assert.equal(asks({}), false);
  assert.equal(asks({ responseSchema: { properties: null } }), false);
});
