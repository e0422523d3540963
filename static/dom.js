// @ts-check
/**
 * Elements from data: text goes through `textContent` only, so nothing an agent or user writes becomes markup.
 */

/**
 * Make an element. `class`, `text` and listeners (`onclick`) are set as properties, the rest as attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [props]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/**
 * Return an element of the page that is known to be there.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * Return a part of an element of ours that is known to be there.
 * @param {HTMLElement} element
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}

/**
 * Return a copy of an icon from the page's templates.
 * @param {string} name
 * @returns {Node}
 */
export function icon(name) {
  const template = /** @type {HTMLTemplateElement} */ (byId(`icon-${name}`));
  return template.content.cloneNode(true);
}

/**
 * Make a button with an icon and a name for those who do not see it.
 * @param {string} name of the icon
 * @param {string} label
 * @param {(event: MouseEvent) => void} onclick
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, label, onclick) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick }, icon(name));
}

/**
 * Put other children into an element of ours. A button that has the focus leaves it to the one of the same name.
 * @param {HTMLElement} parent
 * @param {...(Node | string)} children
 */
export function refill(parent, ...children) {
  const focused = document.activeElement;
  const { action } = focused instanceof HTMLElement && parent.contains(focused) ? focused.dataset : {};
  parent.replaceChildren(...children);
  if (action) /** @type {HTMLElement | null} */ (parent.querySelector(`[data-action="${action}"]`))?.focus();
}
