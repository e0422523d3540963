// @ts-check
/**
 * What a new chat begins with: the agent, its persona and greeting, and a name. Agents are asked for once.
 */

import { api, ApiError } from "./api.js";
import { byId, h } from "./dom.js";
import { keep, recall } from "./kept.js";

/**
 * @typedef {{ name: string, kind: string, description?: string, default: boolean, persona: string | null,
 *   personas: string[] | null }} Agent
 * @typedef {{ name: string, description: string, greeting: string }} Persona
 * @typedef {{ agents: Agent[], personas: Persona[], default: string }} Catalog
 * @typedef {{ agent?: string, persona?: string, title?: string }} Choice what differs from the server's own choice
 */

const LONG_GREETING = 80;
/** Kinds of agents that say the same whoever they are, unless their section names personas. */
const DEAF = ["documents", "scripted"];
const EXAMPLES = [
  "How do I resume a stream after a lost connection?",
  "What happens to an answer when I press Stop?",
  "How do I plug in my own agent?",
];

/** The welcome of a new chat. */
export class Setup {
  #agent = /** @type {HTMLSelectElement} */ (byId("agent"));
  #persona = /** @type {HTMLSelectElement} */ (byId("persona"));
  #name = /** @type {HTMLInputElement} */ (byId("name"));
  /** @type {Catalog} */ #catalog = { agents: [], personas: [], default: "" };
  /** The agents may come after the list that says so. */ #isFirst = false;
  #last = recall("setup", { agent: "", persona: "" });

  /** @param {{ onAsk: (text: string) => void, onReady: () => void }} listeners */
  constructor({ onAsk, onReady }) {
    this.#agent.addEventListener("change", () => {
      this.#fillPersonas(this.#persona.value);
      this.#chosen();
    });
    this.#persona.addEventListener("change", () => this.#chosen());
    byId("setup").addEventListener("submit", (event) => {
      event.preventDefault();
      onReady();
    });
    byId("examples").addEventListener("click", ({ target }) => {
      const example = /** @type {HTMLElement} */ (target).closest(".example");
      if (example) onAsk(example.textContent ?? "");
    });
  }

  /** Ask who can answer. Without an answer the server chooses, as it does for any other client. */
  async load() {
    try {
      this.#catalog = await api.agents();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    const { agents } = this.#catalog;
    const known = agents.find(({ name }) => name === this.#last.agent);
    fillSelect(
      this.#agent,
      agents.map(({ name, description }) => ({ value: name, label: worded(name), title: description })),
      known?.name ?? this.#catalog.default,
    );
    byId("agent-field").hidden = agents.length < 2;
    this.#fillPersonas(this.#last.persona);
    this.draw();
  }

  /** What was chosen for the chat that begins now; the name is for this one only. @returns {Choice} */
  take() {
    const title = this.#name.value.trim();
    this.#name.value = "";
    const agent = this.#agent.value;
    return {
      ...(agent && agent !== this.#catalog.default && { agent }),
      ...(this.#persona.value && { persona: this.#persona.value }),
      ...(title && { title }),
    };
  }

  /** Choose for the next chat what another one had. @param {{ agent?: string | null, persona?: string | null } | null} session */
  prefer(session) {
    if (!session?.agent) return;
    this.#agent.value = session.agent;
    this.#fillPersonas(session.persona ?? "");
  }

  /** Show the greeting and the hints. @param {boolean} [isFirst] nobody has chatted here yet; left out: as before */
  draw(isFirst = this.#isFirst) {
    this.#isFirst = isFirst;
    const agent = this.#catalog.agents.find(({ name }) => name === this.#agent.value);
    const named = this.#persona.value || agent?.persona;
    const persona = this.#catalog.personas.find(({ name }) => name === named);
    const greeting = persona?.greeting || "What would you like to know?";
    const heading = byId("greeting");
    heading.textContent = greeting;
    heading.classList.toggle("long", greeting.length > LONG_GREETING);
    byId("greeting-more").textContent = persona?.description ?? agent?.description ?? "";
    const hasExamples = agent?.kind === "documents";
    byId("examples").hidden = !hasExamples;
    byId("hints").hidden = !isFirst;
    if (hasExamples && !byId("examples").hasChildNodes()) byId("examples").append(...EXAMPLES.map(exampleElement));
  }

  #chosen() {
    this.#last = { agent: this.#agent.value, persona: this.#persona.value };
    keep("setup", this.#last);
    this.draw();
  }

  /** @param {string} wanted */
  #fillPersonas(wanted) {
    const agent = this.#catalog.agents.find(({ name }) => name === this.#agent.value);
    const names = agent?.personas;
    const isDeaf = DEAF.includes(agent?.kind ?? "") && !names && !agent?.persona;
    const known = isDeaf ? [] : this.#catalog.personas.filter(({ name }) => !names || names.includes(name));
    const choices = known.map(({ name, description }) => ({ value: name, label: worded(name), title: description }));
    const own = known.find(({ name }) => name === agent?.persona)?.name ?? "";
    if (!own) choices.unshift({ value: "", label: "None", title: "As the agent speaks by itself" });
    fillSelect(this.#persona, choices, known.some(({ name }) => name === wanted) ? wanted : own);
    byId("persona-field").hidden = known.length === 0;
  }
}

/**
 * Return a name as people read it: `technical-support` is "Technical support".
 * @param {string} name
 * @returns {string}
 */
export function worded(name) {
  const words = name.replace(/[-_]+/g, " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {HTMLSelectElement} select @param {{ value: string, label: string, title?: string }[]} choices @param {string} chosen */
function fillSelect(select, choices, chosen) {
  select.replaceChildren(
    ...choices.map(({ value, label, title }) => h("option", { value, text: label, title: title || undefined })),
  );
  select.value = chosen;
}

/** @param {string} text @returns {HTMLElement} */
function exampleElement(text) {
  return h("li", {}, h("button", { type: "button", class: "example", text }));
}
