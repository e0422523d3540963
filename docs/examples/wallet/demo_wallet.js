// @ts-check
/**
 * A wallet for trying the page without one: it asks on the page, holds nothing, and sends nothing anywhere.
 * The same interface as a browser's `window.ethereum` (EIP-1193), as far as the page uses it.
 */

/**
 * @param {HTMLElement} place where it asks
 * @returns {import("./wallet.js").Wallet & { change(chainId: string): void }}
 */
export function demoWallet(place) {
  /** @type {((chainId: string) => void)[]} */
  const listeners = [];

  /** @param {string} text @returns {Promise<boolean>} */
  function isAllowed(text) {
    return new Promise((resolve) => {
      const card = document.createElement("div");
      const confirm = button("Confirm", true);
      card.append(document.createTextNode(`${text} `), confirm, button("Reject", false));
      place.append(card);

      /** @param {string} label @param {boolean} answer */
      function button(label, answer) {
        const made = document.createElement("button");
        made.textContent = label;
        made.addEventListener("click", () => {
          card.remove();
          resolve(answer);
        });
        return made;
      }
    });
  }

  /** @param {string} chainId */
  function change(chainId) {
    for (const listener of listeners) listener(chainId);
  }

  return {
    change,
    on: (_, listener) => void listeners.push(listener),
    async request({ method, params }) {
      if (!(await isAllowed(`${method} ${JSON.stringify(params[0])}`))) throw new Error("rejected in the wallet");
      const { chainId } = /** @type {{ chainId: string }} */ (params[0]);
      if (method === "wallet_switchEthereumChain") return void change(chainId);
      const digits = crypto.getRandomValues(new Uint8Array(32));
      return `0x${Array.from(digits, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    },
  };
}
