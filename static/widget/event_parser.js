// @ts-check
/**
 * The text of an event stream, in whatever pieces it arrives, as events. Follows the grammar of the HTML standard;
 * event names are left aside, for this server sends none.
 */

/** One parser for one connection. */
export class EventParser {
  /** What `retry:` said last, in milliseconds. @type {number | undefined} */ retryMs;
  #rest = "";
  #isStart = true;
  #endsInCarriageReturn = false;
  /** @type {string[]} */ #data = [];
  #id;

  /** @param {string} [lastEventId] where the connection before this one stopped */
  constructor(lastEventId = "") {
    this.#id = lastEventId;
  }

  /**
   * Return the events that `text` completes.
   * @param {string} text
   * @returns {{ data: string, id: string }[]}
   */
  push(text) {
    if (text === "") return [];
    let fresh = text;
    if (this.#isStart) fresh = fresh.replace(/^\uFEFF/, "");
    this.#isStart = false;
    // The second half of a line end that was cut in two.
    if (this.#endsInCarriageReturn && fresh.startsWith("\n")) fresh = fresh.slice(1);
    this.#endsInCarriageReturn = text.endsWith("\r");
    const lines = (this.#rest + fresh).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#read(line));
  }

  /** @param {string} line @returns {{ data: string, id: string }[]} */
  #read(line) {
    if (line === "") {
      const data = this.#data;
      this.#data = [];
      return data.length > 0 ? [{ data: data.join("\n"), id: this.#id }] : [];
    }
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
    return [];
  }
}
