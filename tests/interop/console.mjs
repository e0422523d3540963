// What the clients of this folder have in common: they talk to their test over stdin and stdout, one JSON object a line.
// Whatever the library writes to its console is a fact too: {"said": …}.

import { createInterface } from "node:readline";

export function print(fact) {
    process.stdout.write(`${JSON.stringify(fact)}\n`);
}

for (const name of ["log", "info", "debug", "warn", "error"]) {
    console[name] = (...words) => print({ said: `${name}: ${words.map(String).join(" ")}` });
}

/** Call `obey` with each line of stdin. */
export function onLine(obey) {
    createInterface({ input: process.stdin }).on("line", obey);
}
