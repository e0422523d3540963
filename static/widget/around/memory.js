// @ts-check
/** What the page around remembers of the widget; nothing of what was said. */

/**
 * `kept` is there only where the browser lets the frame store nothing: what the frame would have, as it wants it back.
 * @typedef {{ isOpen?: boolean, hasSession?: boolean, kept?: object }} Remembered
 */

/** The memory of one agent's widget on this origin. */
export class Memory {
  #key;

  /** @param {string} agent */
  constructor(agent) {
    this.#key = `sessionstream.widget.${agent}`;
  }

  /** @returns {Remembered} */
  read() {
    try {
      return JSON.parse(localStorage.getItem(this.#key) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }

  /** Tell when another tab changes it. @param {() => void} listener */
  watch(listener) {
    window.addEventListener("storage", ({ key }) => key === this.#key && listener());
  }

  /** @param {Remembered} change */
  write(change) {
    try {
      localStorage.setItem(this.#key, JSON.stringify({ ...this.read(), ...change }));
    } catch {
      // Forbidden or full: the widget is closed on the next page.
    }
  }
}
