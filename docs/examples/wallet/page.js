// @ts-check
/** The page: one session, kept in the address, the browser's wallet or the demo one, and a transcript. */

import { demoWallet } from "./demo_wallet.js";
import { connect } from "./wallet.js";

const query = new URLSearchParams(location.search);
const server = query.get("server") ?? "http://localhost:8000";
if (!location.hash) location.hash = crypto.randomUUID();

/** @param {string} id @returns {HTMLElement} */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const demo = demoWallet(element("wallet"));
const own = /** @type {{ ethereum?: import("./wallet.js").Wallet }} */ (window).ethereum;
const { say } = connect({
  server,
  sessionId: location.hash.slice(1),
  wallet: own ?? demo,
  signal: new AbortController().signal,
  onChange: show,
});

const change = element("change");
change.hidden = own !== undefined;
change.addEventListener("click", () => demo.change("0x1"));

const form = /** @type {HTMLFormElement} */ (document.querySelector("form"));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void say(String(new FormData(form).get("message")));
});

/** @param {import("./wallet.js").Line[]} lines */
function show(lines) {
  const shown = lines.map(({ role, content }) => {
    const line = document.createElement("p");
    line.dataset.role = role;
    line.textContent = content;
    return line;
  });
  element("lines").replaceChildren(...shown);
}
