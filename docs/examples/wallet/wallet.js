// @ts-check
/**
 * The page's half of a wallet agent: it performs what the agent asks for, and reports what nobody asked for.
 *
 * What is asked is in the session's state, under `pending`, so a page that was reloaded, or opened later, finds it.
 * Money moves once: one tab performs a call; that a payment began, and what came of it, is noted before anybody is
 * told; and one that began in a page that is gone is never begun again.
 */

/** @typedef {{ id: string, toolCallId: string, toolCallName: string, arguments: string, answered: boolean }} Question */
/** @typedef {{ request(call: { method: string, params: unknown[] }): Promise<unknown>,
 *              on(event: "chainChanged", listener: (chainId: string) => void): void }} Wallet EIP-1193 */
/** @typedef {{ role: string, content: string }} Line */
/** @typedef {{ type: string, [field: string]: any }} AgUiEvent */

const SWITCH = "wallet_switchEthereumChain";
const SEND = "eth_sendTransaction";
const METHODS = new Set([SWITCH, SEND]);
const CUT = "the page was closed before the wallet answered: look into the wallet";

/**
 * Connect a wallet to a session until `signal` ends it. `onChange` hears the transcript after every change.
 * @param {{ server: string, sessionId: string, wallet: Wallet, signal: AbortSignal,
 *           onChange: (lines: Line[]) => void }} options
 */
export function connect({ server, sessionId, wallet, signal, onChange }) {
  const stream = new EventSource(`${server}/api/chat/stream?session_id=${encodeURIComponent(sessionId)}`);
  signal.addEventListener("abort", () => stream.close());
  /** @type {Question[]} */
  let pending = [];
  /** @type {Map<string, Line>} */
  let lines = new Map();
  let expectedChain = "";

  stream.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    pending = pendingAfter(pending, event);
    lines = linesAfter(lines, event);
    onChange([...lines.values()]);
    // Only what stands is acted on: in the middle of a run the question may be closed by the next event.
    if (event.type === "RUN_FINISHED") performAll();
  };
  stream.onopen = performAll; // an answer may have been lost with the connection

  function performAll() {
    for (const question of pending) {
      if (!question.answered) perform(question).catch((error) => console.info("to be tried again:", error));
    }
  }

  wallet.on("chainChanged", (chainId) => {
    if (chainId !== expectedChain) void report(`The wallet is on chain ${chainId}.`);
    expectedChain = "";
  });

  /** @param {Question} question */
  async function perform(question) {
    await alone(`wallet ${question.toolCallId}`, async () => {
      const note = `wallet ${question.toolCallId}`;
      const known = localStorage.getItem(note);
      if (known === null && !(await isOpen(question))) return; // another tab was faster
      const answer = known === null ? await ask(question, note) : JSON.parse(known);
      const body = { session_id: sessionId, tool_call_id: question.toolCallId, ...answer };
      const { ok, status } = await post("/api/tool-result", body);
      if (status === 409 && !answer.error) await report(`The wallet had done it: ${answer.content}.`);
      if (ok || (status >= 400 && status < 500)) localStorage.removeItem(note); // else it is told again
    });
  }

  /** @param {string} message */
  async function report(message) {
    await post("/api/system", { session_id: sessionId, message });
  }

  /** @param {Question} question @param {string} note @returns {Promise<{ content: unknown, error?: string }>} */
  async function ask({ toolCallName: method, arguments: text }, note) {
    if (!METHODS.has(method)) return { content: "", error: `this page does not call ${method}` };
    // A switch may be asked for twice, a payment not.
    if (method === SEND) localStorage.setItem(note, JSON.stringify({ content: "", error: CUT }));
    const answer = await asked(method, JSON.parse(text));
    localStorage.setItem(note, JSON.stringify(answer));
    return answer;
  }

  /** @param {string} method @param {any} args @returns {Promise<{ content: unknown, error?: string }>} */
  async function asked(method, args) {
    if (method === SWITCH) expectedChain = args.chainId;
    try {
      return { content: (await wallet.request({ method, params: [args] })) ?? "done" };
    } catch (error) {
      if (method === SWITCH) expectedChain = "";
      return { content: "", error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** @param {Question} question @returns {Promise<boolean>} */
  async function isOpen({ id }) {
    const response = await fetch(`${server}/api/state?session_id=${encodeURIComponent(sessionId)}`);
    const { state } = await response.json();
    return (state.pending ?? []).some((/** @type {Question} */ one) => one.id === id && !one.answered);
  }

  /** @param {string} path @param {unknown} body */
  async function post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return fetch(server + path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  return {
    /** @param {string} message */
    say: (message) => post("/api/chat", { session_id: sessionId, message, message_id: crypto.randomUUID() }),
  };
}

/** @param {string} name @param {() => Promise<void>} work */
async function alone(name, work) {
  await navigator.locks.request(name, work);
}

/** @param {Question[]} pending @param {AgUiEvent} event @returns {Question[]} */
export function pendingAfter(pending, event) {
  if (event.type === "STATE_SNAPSHOT") return event.snapshot.pending ?? [];
  if (event.type !== "STATE_DELTA") return pending;
  let found = pending;
  for (const { op, path, value } of event.delta) {
    const mark = /^\/pending\/(\d+)\/answered$/.exec(path);
    if (path === "/pending") found = op === "remove" ? [] : value;
    else if (mark) found = found.map((one, at) => (at === Number(mark[1]) ? { ...one, answered: value } : one));
  }
  return found;
}

/** @param {Map<string, Line>} lines @param {AgUiEvent} event @returns {Map<string, Line>} */
export function linesAfter(lines, event) {
  if (event.type === "MESSAGES_SNAPSHOT") {
    const said = event.messages.filter((/** @type {any} */ one) => typeof one.content === "string");
    return new Map(said.map((/** @type {any} */ one) => [one.id, { role: one.role, content: one.content }]));
  }
  const { messageId: id, role = "assistant", delta, content } = event;
  const known = lines.get(id);
  if (event.type === "TEXT_MESSAGE_START" && !known) return new Map(lines).set(id, { role, content: "" });
  if (event.type === "TEXT_MESSAGE_CONTENT" && known) {
    return new Map(lines).set(id, { ...known, content: known.content + delta });
  }
  return event.type === "TOOL_CALL_RESULT" ? new Map(lines).set(id, { role: "tool", content }) : lines;
}
