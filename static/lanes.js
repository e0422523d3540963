// @ts-check
/** Which of the messages under way stand in the transcript, and which above the message box. Pure but for its memory. */

/** @typedef {import("./client/types.js").Outgoing} Outgoing */

/** Remembers where each message began: it does not jump from one place to the other, whatever starts meanwhile. */
export class Lanes {
  /** Ids of messages that went off while nothing ran. */ #direct = new Set();

  /**
   * Part them into what starts at once and what will wait.
   * @param {Outgoing[]} outgoing
   * @param {boolean} isBusy whether something runs or waits
   * @returns {{ direct: Outgoing[], queued: Outgoing[] }}
   */
  part(outgoing, isBusy) {
    if (!isBusy) for (const { message_id } of outgoing) this.#direct.add(message_id);
    return {
      direct: outgoing.filter(({ message_id }) => this.#direct.has(message_id)),
      queued: outgoing.filter(({ message_id }) => !this.#direct.has(message_id)),
    };
  }
}
