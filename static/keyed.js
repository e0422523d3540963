// @ts-check
/**
 * A list of elements that follows a list of items. An element is made once, updated when what it shows has changed,
 * and otherwise left alone: the cost of a change is that of one element, however long the list.
 */

/**
 * @typedef {object} Item
 * @property {string} key unique in its list
 * @property {unknown[]} shows what the element is made of; compared by identity
 * @property {() => HTMLElement} make an empty element
 * @property {(element: HTMLElement) => void} fill called after `make` and whenever `shows` changed
 */

/** @typedef {{ element: HTMLElement, shows: unknown[] }} Known */

/** @type {WeakMap<Element, Map<string, Known>>} */
const lists = new WeakMap();

/**
 * Make the children of `parent` those of `items`, in their order.
 * @param {Element} parent has no other children
 * @param {Item[]} items
 */
export function renderKeyed(parent, items) {
  const before = lists.get(parent) ?? new Map();
  /** @type {Map<string, Known>} */
  const after = new Map();
  for (const item of items) after.set(item.key, current(before.get(item.key), item));
  for (const [key, { element }] of before) if (!after.has(key)) element.remove();
  let next = parent.firstElementChild;
  for (const { element } of after.values()) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
  lists.set(parent, after);
}

/** @param {Known | undefined} known @param {Item} item @returns {Known} */
function current(known, { shows, make, fill }) {
  if (known && known.shows.length === shows.length && known.shows.every((value, index) => value === shows[index])) {
    return known;
  }
  const element = known?.element ?? make();
  fill(element);
  return { element, shows };
}
