// @ts-check
/**
 * The shapes that cross files: what the server sends (its contract is the README's) and what the page keeps.
 * Types only; nothing here runs.
 */

/**
 * One conversation, as `GET /api/sessions/{id}` and the list stream show it.
 * @typedef {object} Session
 * @property {string} session_id
 * @property {string | null} [title]
 * @property {string} [created_at]
 * @property {string} [last_activity]
 * @property {number} [message_count]
 * @property {{ run_id: string, status: string } | null} [run]
 */

/** @typedef {{ n: number, file: string, heading?: string, score?: number }} Source */
/** @typedef {{ run_id?: string, created_at?: string, status?: string, code?: string }} Marks */
/** @typedef {{ sources?: Source[], sessionstream?: Marks, [key: string]: unknown }} Metadata */
/** @typedef {{ id: string, type?: string, function: { name: string, arguments: string } }} ToolCall */

/**
 * One AG-UI message. Never changed in place: another content is another object, so views compare by identity.
 * @typedef {object} Message
 * @property {string} id
 * @property {string} role
 * @property {unknown} [content]
 * @property {ToolCall[]} [toolCalls]
 * @property {string} [toolCallId]
 * @property {string} [error]
 * @property {Metadata} [metadata]
 */

/** @typedef {{ message_id: string, run_id?: string, message: string, created_at?: string }} QueueEntry */
/** @typedef {{ run_id: string, status?: string, agent?: string }} Run */

/**
 * How the last run ended, when it did not end well.
 * @typedef {{ kind: "stopped" | "failed", run_id: string, message: string, code: string }} Ending
 */


/**
 * A question that the last run ended by: AG-UI's interrupt, and the tool call it is about.
 * @typedef {object} Pending
 * @property {string} id
 * @property {string} reason
 * @property {string} [message]
 * @property {string} [toolCallId]
 * @property {string} [toolCallName]
 * @property {string} [arguments] JSON text
 * @property {Record<string, unknown>} [responseSchema]
 * @property {string} [expiresAt]
 * @property {boolean} answered
 */

/**
 * The session's state document; `pending` is there only while a question waits.
 * @typedef {{ session: Session | null, run: Run | null, queue: QueueEntry[], artifacts?: unknown,
 *             pending?: Pending[] }} Shared
 */

/**
 * What one session looks like: the fold of its log.
 * @typedef {object} ChatState
 * @property {Message[]} messages
 * @property {string[]} open ids of the messages that are still being written
 * @property {Shared} shared the session's state document
 * @property {string} runId the run that the stream is in, housekeeping included; empty between runs
 * @property {Ending | null} ending
 */

/** @typedef {{ type: string, [field: string]: any }} AgUiEvent */

/**
 * Where a stream stands. `until` is when the next attempt starts, in ms since the epoch.
 * @typedef {{ phase: "idle" | "connecting" | "reconnecting" | "live" | "ended" }
 *   | { phase: "waiting", until: number }} Status
 */

/**
 * A message on its way to the server; it leaves the outbox when the transcript or the queue shows it.
 * @typedef {object} Outgoing
 * @property {string} message_id
 * @property {string} session_id
 * @property {string} text
 * @property {"sending" | "waiting" | "refused" | "accepted"} phase
 * @property {string} detail what went wrong last, for people
 * @property {number} until when the next attempt starts
 * @property {string} cursor where the server put it, once accepted
 */

export {};
