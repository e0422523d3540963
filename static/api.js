// @ts-check
/**
 * Every request of the page. Each answers with JSON or throws `ApiError`; each ends within its timeout.
 * Addresses are relative to the page, so that it works behind a path of a proxy too.
 */

/** @typedef {import("./types.js").Session} Session */
/** @typedef {{ session_id: string, run_id: string, message_id: string, cursor: string, status: string }} Accepted */

const TIMEOUT_MS = 20_000;

/** What the server refused, or that it could not be asked (`status` 0, `code` "unreachable"). */
export class ApiError extends Error {
  /**
   * @param {{ status?: number, code?: string, detail?: string, title?: string, retryable?: boolean }} problem
   * @param {number} [retryAfterMs]
   */
  constructor(problem, retryAfterMs = 0) {
    super(problem.detail || problem.title || "The server did not say why.");
    this.status = problem.status ?? 0;
    this.code = problem.code ?? "unknown";
    this.retryable = problem.retryable ?? false;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the session that was asked for is not there, or no more. @returns {boolean} */
  get gone() {
    return this.status === 410 || this.code === "session_not_found";
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
async function request(method, path, body) {
  const options = { method, signal: AbortSignal.timeout(TIMEOUT_MS), headers: { Accept: "application/json" } };
  if (body !== undefined) {
    Object.assign(options, { body: JSON.stringify(body) });
    Object.assign(options.headers, { "Content-Type": "application/json" });
  }
  try {
    const response = await fetch(path, options);
    if (response.ok) return await response.json();
    throw await errorOf(response);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError({ code: "unreachable", detail: "The server cannot be reached.", retryable: true });
  }
}

/** @param {Response} response @returns {Promise<ApiError>} */
async function errorOf(response) {
  const retryAfterMs = 1000 * (Number(response.headers.get("Retry-After")) || 0);
  const problem = await response.json().catch(() => ({}));
  // A proxy's own error page is not ours: a 5xx of it is worth another attempt.
  const fallback = { status: response.status, code: `http_${response.status}`, retryable: response.status >= 500 };
  return new ApiError({ ...fallback, ...problem }, retryAfterMs);
}

/** @param {string} id @returns {string} */
function sessionPath(id) {
  return `api/sessions/${encodeURIComponent(id)}`;
}

export const api = {
  /** @param {{ message: string, session_id: string, message_id: string }} body @returns {Promise<Accepted>} */
  chat: (body) => request("POST", "api/chat", { ...body, on_busy: "queue" }),
  /** @param {{ session_id: string, run_id?: string, message_id?: string }} body @returns {Promise<unknown>} */
  interrupt: (body) => request("POST", "api/interrupt", body),
  /** @param {string} id @returns {Promise<any>} */
  state: (id) => request("GET", `api/state?session_id=${encodeURIComponent(id)}`),
  /** @param {string} text @returns {Promise<{ sessions: Session[] }>} */
  search: (text) => request("GET", `api/sessions?limit=50&q=${encodeURIComponent(text)}`),
  /** @param {string} id @param {string} title @returns {Promise<Session>} */
  rename: (id, title) => request("PATCH", sessionPath(id), { title }),
  /** @param {string} id @returns {Promise<unknown>} */
  remove: (id) => request("DELETE", sessionPath(id)),
  /** @param {string} id @param {string} messageId @returns {Promise<unknown>} */
  unqueue: (id, messageId) => request("DELETE", `${sessionPath(id)}/queue/${encodeURIComponent(messageId)}`),
};

/**
 * Return a new UUID. `crypto.randomUUID` is missing on plain HTTP beyond loopback.
 * @returns {string}
 */
export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (Number(bytes[6]) & 0x0f) | 0x40;
  bytes[8] = (Number(bytes[8]) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
