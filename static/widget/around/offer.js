// @ts-check
/** What the server offers to a page that may embed the agent. */

/**
 * What the page around wishes; of what it leaves out, "".
 * @typedef {{ agent: string, title: string, color: string, position: string, theme: string, persona: string }} Options
 */
/** @typedef {{ agent: string, persona: string | null, greeting: string, ticket: string }} Offer */

/** The server's own place. */
export const BASE = new URL("../../../", import.meta.url);
const TIMEOUT_MS = 20_000;

/** Why the server says no; nothing will change that until somebody changes a setting. */
export class Refused extends Error {}

/** @param {"warn" | "error"} level @param {string} text */
export function say(level, text) {
  console[level](`[sessionstream] ${text}`);
}

/**
 * Ask whether this page may embed the agent.
 * @param {Options} options
 * @returns {Promise<Offer>}
 */
export async function ask({ agent, persona }) {
  const url = new URL("api/widget", BASE);
  if (agent) url.searchParams.set("agent", agent);
  if (persona) url.searchParams.set("persona", persona);
  const { status, text } = await get(url.href);
  const answer = parsed(text);
  if (status === 200 && answer.ticket) return answer;
  const detail = answer.detail ?? `it answered ${status}`;
  throw status >= 400 && status < 500 && status !== 429 ? new Refused(detail) : new Error(detail);
}

/** @param {string} url @returns {Promise<{ status: number, text: string }>} */
async function get(url) {
  try {
    const response = await fetch(url, { credentials: "omit", cache: "no-store", referrerPolicy: "origin" });
    return { status: response.status, text: await response.text() };
  } catch {
    // Pages replace `fetch` by what adds headers or cookies, or fails: then the older way may still be there.
    return await getByXhr(url);
  }
}

/** @param {string} url @returns {Promise<{ status: number, text: string }>} */
function getByXhr(url) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.timeout = TIMEOUT_MS;
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = request.ontimeout = () => reject(new Error("The server cannot be reached."));
    request.send();
  });
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}
