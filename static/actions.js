// @ts-check
/**
 * What a person does to a chat that the server may refuse: each says so when it does.
 */

import { api, ApiError } from "./api.js";
import { byId, h } from "./dom.js";
import { titleOf } from "./list.js";
import { complain, toast } from "./toast.js";

/** @typedef {import("./client/types.js").Session} Session */

const UNDO_MS = 7000;

/**
 * Do something that the server may refuse, and say so; null when it did.
 * @template T
 * @param {string} failure
 * @param {() => Promise<T>} action
 * @returns {Promise<T | null>}
 */
export async function attempt(failure, action) {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    complain(`${failure}. ${error.message}`);
    return null;
  }
}

/**
 * Delete a chat, unless that is taken back in time.
 * @param {import("./deletions.js").Deletions} deletions
 * @param {Session} session
 * @param {() => void} onUndone
 */
export function deleteWithUndo(deletions, session, onUndone) {
  const { session_id: id } = session;
  const title = titleOf(session);
  deletions.begin(id, title, UNDO_MS);
  toast(["Deleted ", h("span", { class: "title", text: title, dir: "auto" })], {
    ms: UNDO_MS,
    action: "Undo",
    onAction: () => {
      deletions.undo(id);
      onUndone();
    },
    onGone: () => void deletions.finish(id),
  });
}

/**
 * Make the import work: `choose` asks for a file, `onDone` gets the session that it became.
 * @param {(session: Session) => void} onDone
 * @returns {{ choose: () => void }}
 */
export function enableImport(onDone) {
  const input = /** @type {HTMLInputElement} */ (byId("import"));
  const take = async () => {
    const file = input.files?.[0];
    input.value = "";
    if (!file) return;
    const content = parsed(await file.text());
    if (content === undefined) return complain("Not imported. The file is not an export of a chat: it is not JSON.");
    const session = await attempt("Not imported", () => api.importSession(content));
    if (session) onDone(session);
  };
  input.addEventListener("change", () => void take());
  return { choose: () => input.click() };
}

/** @param {string} text @returns {object | undefined} */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
