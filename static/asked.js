// @ts-check
/**
 * The form of a question: what may be answered, by the JSON Schema that an agent gives, as buttons or fields. What the
 * schema says beyond that is the agent's to check: it comes from outside, and a person must always be able to answer.
 */

import { h } from "./dom.js";

/** @typedef {Record<string, unknown>} Schema */
/** @typedef {{ label: string, value: unknown }} Choice */
/** @typedef {{ name: string, label: string, hint: string, type: string, choices: Choice[], isRequired: boolean }} Field */

const MOST_CHOICES = 12;
const MOST_FIELDS = 20;
const LONGEST_LABEL = 120;

/**
 * Return what is to be chosen from; empty if that is not how it is asked.
 * @param {unknown} schema
 * @returns {Choice[]}
 */
export function choicesOf(schema) {
  const { type, enum: values, oneOf, anyOf } = objectOf(schema);
  const named = [oneOf, anyOf].find((list) => Array.isArray(list) && list.every((one) => "const" in objectOf(one)));
  const found = Array.isArray(values)
    ? values.map((value) => ({ label: labelOf(value), value }))
    : Array.isArray(named)
      ? named.map((one) => ({ label: labelOf(one.title ?? one.const), value: one.const }))
      : [];
  if (found.length === 0 && type === "boolean") return [{ label: "Yes", value: true }, { label: "No", value: false }];
  return found.slice(0, 100);
}

/**
 * Return what is to be filled in; empty when any text will do.
 * @param {unknown} schema
 * @returns {Field[]}
 */
export function fieldsOf(schema) {
  const { type, properties, required } = objectOf(schema);
  const names = Array.isArray(required) ? required : [];
  if (type === "number" || type === "integer") return [fieldOf("", schema, true)];
  if (choicesOf(schema).length > MOST_CHOICES) return [fieldOf("", schema, true)];
  const all = Object.entries(objectOf(properties));
  return all.slice(0, MOST_FIELDS).map(([name, one]) => fieldOf(name, one, names.includes(name)));
}

/**
 * Return the one choice that a question is, and how its answer is wrapped; null when it takes more than a click.
 * @param {unknown} schema
 * @returns {{ choices: Choice[], name: string } | null}
 */
export function singleChoice(schema) {
  const own = choicesOf(schema);
  if (own.length > 0) return own.length <= MOST_CHOICES ? { choices: own, name: "" } : null;
  const entries = Object.entries(objectOf(objectOf(schema).properties));
  const [name, one] = entries[0] ?? ["", null];
  const choices = entries.length === 1 ? choicesOf(one) : [];
  return choices.length > 0 && choices.length <= MOST_CHOICES ? { choices, name } : null;
}

/** @param {Field} field @returns {HTMLElement} */
export function fieldElement({ name, label, hint, type, choices, isRequired }) {
  const props = { "data-name": name, "data-type": type, required: isRequired, "aria-label": label || "Your answer" };
  const more = hint ? [h("small", { text: hint })] : [];
  if (type === "boolean") {
    const box = h("input", { ...props, type: "checkbox", required: false });
    return h("label", { class: "tick" }, box, h("span", { text: label }), ...more);
  }
  const isNumber = type === "number" || type === "integer";
  const none = isRequired ? [] : [h("option", { value: "", text: "–" })];
  const options = choices.map(({ label: text }, index) => h("option", { value: String(index), text }));
  const input =
    choices.length > 0
      ? h("select", props, ...none, ...options)
      : h("input", {
          ...props,
          type: isNumber ? "number" : "text",
          step: isNumber && (type === "integer" ? "1" : "any"),
          autocomplete: "off",
          dir: "auto",
        });
  return h("label", { class: "field" }, h("span", { text: label }), input, ...more);
}

/**
 * Return what was filled in: an object, or the value itself when the schema asks for one.
 * @param {HTMLElement} form
 * @param {Field[]} fields
 * @returns {unknown}
 */
export function valueOf(form, fields) {
  const inputs = /** @type {NodeListOf<HTMLInputElement | HTMLSelectElement>} */ (form.querySelectorAll("[data-name]"));
  const entries = fields.map((field, at) => [field.name, inputValue(field, inputs[at])]);
  if (fields.length === 1 && fields[0]?.name === "") return entries[0]?.[1];
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** @param {Field} field @param {HTMLInputElement | HTMLSelectElement | undefined} input @returns {unknown} */
function inputValue({ type, choices }, input) {
  if (!input) return undefined;
  if (type === "boolean") return /** @type {HTMLInputElement} */ (input).checked;
  if (choices.length > 0) return input.value === "" ? undefined : choices[Number(input.value)]?.value;
  const text = input.value.trim();
  if (text === "") return undefined;
  return type === "number" || type === "integer" ? Number(text) : text;
}

/** @param {string} name @param {unknown} schema @param {boolean} isRequired @returns {Field} */
function fieldOf(name, schema, isRequired) {
  const { title, description, type } = objectOf(schema);
  const label = labelOf(title ?? (name.replace(/[-_]+/g, " ") || "Your answer"));
  const hint = typeof description === "string" ? description.slice(0, 300) : "";
  const choices = type === "boolean" ? [] : choicesOf(schema);
  return { name, label, hint, type: typeof type === "string" ? type : "string", choices, isRequired };
}

/** @param {unknown} value @returns {string} */
function labelOf(value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return text.length > LONGEST_LABEL ? `${text.slice(0, LONGEST_LABEL)}…` : text;
}

/** @param {unknown} value @returns {any} */
function objectOf(value) {
  return typeof value === "object" && value !== null ? value : {};
}
