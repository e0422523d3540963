// @ts-check
/**
 * What the page remembers in this browser, as JSON. Storage may be full, forbidden, or hold something else: then
 * nothing is remembered, and the page works as on the first day.
 */

const PREFIX = "sessionstream.";

/**
 * Return what is kept under `name`, else `fallback`.
 * @template T
 * @param {string} name
 * @param {T} fallback
 * @returns {T}
 */
export function recall(name, fallback) {
  try {
    const value = JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
    return value === null || typeof value !== typeof fallback ? fallback : value;
  } catch {
    return fallback;
  }
}

/**
 * Keep a value under `name`; null and undefined forget it.
 * @param {string} name
 * @param {unknown} value
 */
export function keep(name, value) {
  try {
    if (value === null || value === undefined) localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // It lives as long as the page.
  }
}

/**
 * Hear that another tab keeps something else under `name`.
 * @param {string} name
 * @param {() => void} listener
 */
export function onKept(name, listener) {
  window.addEventListener("storage", ({ key }) => {
    if (key === PREFIX + name || key === null) listener();
  });
}
