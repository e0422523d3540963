// Prints what the client's fold makes of a recording, after each of its events: `node fold_recording.mjs FILE`.
// Of a file with many `logs`, what it makes of each at its end.

import { readFileSync } from "node:fs";

import { EMPTY, fold } from "../../static/client/fold.js";

const { events = [], logs } = JSON.parse(readFileSync(process.argv[2], "utf8"));
let state = EMPTY;
const states = logs ? logs.map((log) => log.reduce(fold, EMPTY)) : events.map((event) => (state = fold(state, event)));
process.stdout.write(JSON.stringify(states.map(({ messages, shared, open }) => ({ messages, shared, open }))));
