// @ts-check
/**
 * What the page asks the server for beside the open session. Each answers with JSON or throws `ApiError`.
 * Addresses are relative to the page, so that it works behind a path of a proxy too.
 */

import { Server } from "./client/index.js";

export { ApiError, newId } from "./client/index.js";

/** @typedef {import("./client/types.js").Session} Session */
/** @typedef {{ session_id: string, title?: string, agent?: string, persona?: string }} NewSession */

const server = new Server();

/** @param {string} id @returns {string} */
function sessionPath(id) {
  return `sessions/${encodeURIComponent(id)}`;
}

/** @param {string} id @param {string} messageId @returns {string} */
function queuePath(id, messageId) {
  return `${sessionPath(id)}/queue/${encodeURIComponent(messageId)}`;
}

export const api = {
  /** @returns {Promise<import("./setup.js").Catalog>} */
  agents: () => server.ask("GET", "agents"),
  /** @param {string} text @returns {Promise<{ sessions: Session[] }>} */
  search: (text) => server.ask("GET", `sessions?limit=50&q=${encodeURIComponent(text)}`),
  /** @param {NewSession} session @returns {Promise<Session>} */
  create: (session) => server.ask("POST", "sessions", session),
  /** @param {object} content an export @returns {Promise<Session>} */
  importSession: (content) => server.ask("POST", "sessions/import", content),
  /** @param {string} id @param {string} title @returns {Promise<Session>} */
  rename: (id, title) => server.ask("PATCH", sessionPath(id), { title }),
  /**
   * @param {string} id
   * @param {boolean} [isLeaving] the page goes: nobody waits for the answer
   * @returns {Promise<unknown>}
   */
  remove: (id, isLeaving = false) =>
    isLeaving
      ? fetch(server.base + sessionPath(id), { method: "DELETE", keepalive: true }).catch(() => undefined)
      : server.ask("DELETE", sessionPath(id)),
  /** @param {string} id @param {string} messageId @returns {Promise<unknown>} */
  unqueue: (id, messageId) => server.ask("DELETE", queuePath(id, messageId)),
  /** @param {string} id @param {string} messageId @param {{ message?: string, position?: number }} change */
  requeue: (id, messageId, change) => server.ask("PATCH", queuePath(id, messageId), change),
};

/**
 * Return where a session can be downloaded from.
 * @param {string} id
 * @param {"json" | "markdown"} format
 * @returns {string}
 */
export function exportUrl(id, format) {
  return `${server.base}${sessionPath(id)}/export?format=${format}`;
}
