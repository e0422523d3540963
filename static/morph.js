// @ts-check
/**
 * Make what is shown like what was made anew, changing as little as can be: text that grows is added to, so what is
 * selected, focused or scrolled stays so.
 */

/** @typedef {(shown: Element, fresh: Element) => boolean | undefined} Own undefined: not an element of its kind */

/**
 * Make one node like another, which may lose its children to it.
 * @param {ChildNode} shown
 * @param {ChildNode} fresh
 * @param {Own} [own] knows better how to do it for elements of its own
 * @returns {boolean} whether it could; if not, the one must be put in the place of the other
 */
export function become(shown, fresh, own) {
  if (shown instanceof Text && fresh instanceof Text) {
    setText(shown, fresh.data);
    return true;
  }
  if (!(shown instanceof Element && fresh instanceof Element) || shown.nodeName !== fresh.nodeName) return false;
  if (shown.className !== fresh.className) return false;
  const done = own?.(shown, fresh);
  if (done !== undefined) return done;
  copyAttributes(shown, fresh);
  becomeInside(shown, fresh, own);
  return true;
}

/** @param {Element} shown @param {Element} fresh @param {Own | undefined} own */
function becomeInside(shown, fresh, own) {
  let place = shown.firstChild;
  for (const node of [...fresh.childNodes]) {
    if (!place) {
      shown.append(node);
      continue;
    }
    const next = place.nextSibling;
    if (!become(place, node, own)) place.replaceWith(node);
    place = next;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

/** @param {Text} node @param {string} text */
function setText(node, text) {
  if (node.data === text) return;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

/** @param {Element} shown @param {Element} fresh */
function copyAttributes(shown, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  for (const { name } of [...shown.attributes]) if (!fresh.hasAttribute(name)) shown.removeAttribute(name);
}
