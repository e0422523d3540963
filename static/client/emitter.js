// @ts-check
/** An `EventTarget` whose listeners may get the value alone. */

/** @import { Emits } from "./types.js" */

/** @template Events @implements {Emits<Events>} */
export class Emitter extends EventTarget {
  /** @type {Emits<Events>["on"]} */
  on = (name, listener) => {
    const hear = (/** @type {any} */ { detail }) => listener(detail);
    this.addEventListener(name, hear);
    return () => this.removeEventListener(name, hear);
  };

  /** @type {Emits<Events>["emit"]} */
  emit = (name, detail) => {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  };
}
