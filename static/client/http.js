// @ts-check
/** Requests: JSON in, JSON out or `ApiError`. */

/** @import { Config, Persist, Refusal } from "./types.js" */

const TIMEOUT_MS = 20_000;
const LOAD_TIMEOUT_MS = 60_000;
const LONGEST_DELAY_MS = 30_000;

/** `status` 0: the server could not be asked. */
export class ApiError extends Error {
  /** @param {Refusal} refusal */
  constructor({ status = 0, code = "unknown", detail, title, retryable = false }, retryAfterMs = 0) {
    super(detail || title || "The server did not say why.");
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }

  get problem() {
    return { code: this.code, detail: this.message };
  }

  get gone() {
    return this.status === 410 || this.code === "session_not_found";
  }
}

export class Server {
  #config;

  /** @param {Config} [config] */
  constructor(config = {}) {
    const { backendUrl } = config;
    this.#config = config;
    this.base = new URL(backendUrl ? backendUrl.replace(/\/*$/, "/api/") : "api/", globalThis.document?.baseURI).href;
  }

  /** @param {string} path @param {Record<string, string>} [query] */
  url(path, query) {
    return `${this.base}${path}?${new URLSearchParams({ ...query, ...this.#config.query?.() })}`;
  }

  /** @param {string} method @param {string} path @param {object} [body] @returns {Promise<any>} */
  async ask(method, path, body) {
    try {
      const response = await fetch(this.base + path, {
        method,
        headers: { ...(body && { "Content-Type": "application/json" }), ...this.#config.headers?.() },
        body: JSON.stringify(body),
        credentials: "include",
        signal: AbortSignal.timeout(body ? TIMEOUT_MS : LOAD_TIMEOUT_MS),
      });
      if (response.ok) return await response.json();
      const { status } = response;
      // An error page of a proxy is not ours.
      const problem = await response.json().catch(() => ({}));
      const fallback = { status, code: `http_${status}`, retryable: status === 429 || status >= 500 };
      throw new ApiError({ ...fallback, ...problem }, 1000 * Number(response.headers.get("Retry-After")) || 0);
    } catch (error) {
      if (error instanceof ApiError) throw error;
      throw new ApiError({ code: "unreachable", detail: "The server cannot be reached.", retryable: true });
    }
  }
}

/** @type {Persist} */
export async function persist(action, { reconnectAttempts = Infinity, reconnectDelay }, pause = sleep) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof ApiError) || !error.retryable || attempt >= reconnectAttempts) throw error;
      const wait = Math.max(delayMs(attempt - 1, reconnectDelay), error.retryAfterMs);
      if ((await pause(wait, error)) === false) throw error;
    }
  }
}

/** Doubling, with jitter: tabs must not come in step. */
export function delayMs(attempt = 0, first = 1000, random = Math.random()) {
  return Math.round(Math.min(LONGEST_DELAY_MS, first * 2 ** attempt) * (0.5 + random / 2));
}

/** In ms; long, when the clock was set back. */
export const since = (moment = 0) => Math.abs(Date.now() - moment);

export const sleep = (ms = 0) => new Promise((resolve) => setTimeout(resolve, ms));

/** `randomUUID` is missing on plain HTTP beyond loopback. */
export const newId = () =>
  Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36).padStart(7, "0")).join("");
