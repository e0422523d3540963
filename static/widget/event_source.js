// @ts-check
/**
 * An `EventSource` over `fetch`, for the one thing that the browser's own cannot do: carry an `Authorization` header.
 *
 * The same rules as the standard's: a cut is followed by another attempt, with `Last-Event-ID`, after what `retry:`
 * said; any answer but 200 `text/event-stream` ends it for good.
 */

import { EventParser } from "./event_parser.js";

const FIRST_RETRY_MS = 1000;

/**
 * Return a class that can stand for `EventSource` and opens its streams by `get`.
 * @param {typeof fetch} get
 */
export function eventSourceOver(get) {
  return class FetchEventSource extends EventTarget {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSED = 2;
    CONNECTING = 0;
    OPEN = 1;
    CLOSED = 2;
    readyState = 0;
    withCredentials = false;
    /** @type {((event: Event) => void) | null} */ onopen = null;
    /** @type {((event: MessageEvent<string>) => void) | null} */ onmessage = null;
    /** @type {((event: Event) => void) | null} */ onerror = null;
    url;
    #ending = new AbortController();
    #lastEventId = "";
    #retryMs = FIRST_RETRY_MS;
    #timer = 0;

    /** @param {string | URL} url */
    constructor(url) {
      super();
      this.url = new URL(url, location.href).href;
      void this.#follow();
    }

    /** End it, now. Idempotent. */
    close() {
      this.readyState = 2;
      clearTimeout(this.#timer);
      this.#ending.abort();
    }

    async #follow() {
      const signal = this.#ending.signal;
      /** @type {Record<string, string>} */
      const headers = { Accept: "text/event-stream" };
      if (this.#lastEventId) headers["Last-Event-ID"] = this.#lastEventId;
      try {
        const response = await get(this.url, { headers, signal, cache: "no-store" });
        const type = response.headers.get("Content-Type") ?? "";
        if (response.status !== 200 || !type.startsWith("text/event-stream") || !response.body) {
          void response.body?.cancel();
          this.#fail();
          return;
        }
        this.#become(1, new Event("open"));
        await this.#read(response.body);
      } catch (error) {
        // A network that is gone looks like this; a defect of whoever listens must not.
        if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
      }
      this.#comeBack();
    }

    /** @param {ReadableStream<Uint8Array>} body */
    async #read(body) {
      const reader = body.getReader();
      const decoder = new TextDecoder();
      const parser = new EventParser(this.#lastEventId);
      for (;;) {
        const { done, value } = await reader.read();
        if (done || this.readyState === 2) return;
        for (const { data, id } of parser.push(decoder.decode(value, { stream: true }))) {
          this.#lastEventId = id;
          this.#tell(new MessageEvent("message", { data, lastEventId: id, origin: location.origin }));
          if (/** @type {number} */ (this.readyState) === 2) return;
        }
        this.#retryMs = parser.retryMs ?? this.#retryMs;
      }
    }

    #comeBack() {
      if (this.readyState === 2) return;
      this.#become(0, new Event("error"));
      if (/** @type {number} */ (this.readyState) !== 2) {
        this.#timer = setTimeout(() => void this.#follow(), this.#retryMs);
      }
    }

    #fail() {
      if (this.readyState !== 2) this.#become(2, new Event("error"));
    }

    /** @param {number} readyState @param {Event} event */
    #become(readyState, event) {
      if (this.readyState === 2) return;
      this.readyState = readyState;
      this.#tell(event);
    }

    /** @param {Event} event */
    #tell(event) {
      const listener = { open: this.onopen, message: this.onmessage, error: this.onerror }[event.type];
      // Reported as the browser reports what a listener throws: it is no fault of the stream.
      try {
        listener?.(/** @type {MessageEvent<string>} */ (event));
      } catch (error) {
        reportError(error);
      }
      this.dispatchEvent(event);
    }
  };
}
