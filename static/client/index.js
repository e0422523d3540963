// @ts-check
/** The client of a Sessionstream server, as one module. */

export { EMPTY, fold, fromAnswer } from "./fold.js";
export { ApiError, newId, Server } from "./http.js";
export { ChatManager } from "./manager.js";
