// @ts-check
/**
 * Where the frame keeps what must outlive it. Browsers give a frame a storage of its own for each site around it; some
 * give none, to their users' wish: then the page around keeps it. What it is given there is of no use to it, for only
 * our own pages can turn it into a visitor again.
 */

/** @typedef {import("./embedder.js").Embedder} Embedder */

/**
 * @typedef {object} Store
 * @property {boolean} isOurs whether nobody else can read it
 * @property {() => Record<string, string>} read
 * @property {(kept: Record<string, string>) => void} write
 * @property {(listener: () => void) => void} watch tell when another tab has written
 */

/**
 * @param {Embedder} embedder
 * @param {string} key
 * @param {object} [kept] what the page around has kept
 * @returns {Store}
 */
export function openStore(embedder, key, kept = {}) {
  try {
    localStorage.setItem(`${key} probe`, "1");
    localStorage.removeItem(`${key} probe`);
  } catch {
    return storeOutside(embedder, kept);
  }
  return {
    isOurs: true,
    read: () => parsed(localStorage.getItem(key)),
    write: (given) => localStorage.setItem(key, JSON.stringify(given)),
    watch: (listener) => window.addEventListener("storage", (event) => event.key === key && listener()),
  };
}

/** @param {Embedder} embedder @param {object} kept @returns {Store} */
function storeOutside(embedder, kept) {
  // A token is not kept there: one that comes from there would be somebody's who wants to read along.
  let current = withoutToken(kept);
  return {
    isOurs: false,
    read: () => current,
    write: (given) => {
      current = given;
      embedder.keep(given);
    },
    watch: (listener) => {
      embedder.onKept = (changed) => {
        current = withoutToken(changed);
        listener();
      };
    },
  };
}

/** @param {object} kept @returns {Record<string, string>} */
function withoutToken(kept) {
  const rest = /** @type {Record<string, string>} */ ({ ...kept });
  delete rest.token;
  return rest;
}

/** @param {string | null} text @returns {Record<string, string>} */
function parsed(text) {
  try {
    return JSON.parse(text ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * Give this visitor a part of the tab's own storage. What waits there to be sent would else be sent as somebody else's,
 * or be lost, when a person goes from one origin to another of the same site, or to the chat's own page.
 * @param {string} name of the visitor
 */
export function keepApart(name) {
  /** @type {Storage} */ let all;
  try {
    all = sessionStorage;
  } catch {
    return; // There is none.
  }
  const named = (/** @type {string} */ key) => `${name} ${key}`;
  const own = {
    getItem: (/** @type {string} */ key) => all.getItem(named(key)),
    setItem: (/** @type {string} */ key, /** @type {string} */ value) => all.setItem(named(key), value),
    removeItem: (/** @type {string} */ key) => all.removeItem(named(key)),
  };
  Object.defineProperty(globalThis, "sessionStorage", { value: own, configurable: true });
}

/** A frame that may store nothing is refused its locks too, at their use: better it has none. */
export async function hideDeniedLocks() {
  try {
    await navigator.locks?.query();
  } catch {
    Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  }
}
