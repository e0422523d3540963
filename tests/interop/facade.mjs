// One official AG-UI client as it is published, on a URL that runs an agent, driven by a test as console.mjs says.
//
//     node facade.mjs <url that runs the agent> <thread id>
//
// Orders, one JSON object a line: {"add": message}, {"run": parameters}, {"abort": true}, {"report": true}.
// It prints {"event": …} for each event the client took, {"finished": what onRunFinishedEvent got} and {"failed": what
// onRunErrorEvent got}, {"ended": true | {"message", "status", "payload"}} when a run's promise is settled, and for
// "report" {"messages", "state", "pending"}.

import { onLine, print } from "./console.mjs";

import { HttpAgent } from "@ag-ui/client";

const [url, threadId] = process.argv.slice(2);
const agent = new HttpAgent({ url, threadId, headers: { "X-Forwarded-User": "user" } });

const subscriber = {
    onEvent: ({ event }) => print({ event }),
    onRunFinishedEvent: ({ outcome, interrupts, pendingToolCallIds }) =>
        print({ finished: { outcome, interrupts, pendingToolCallIds } }),
    onRunErrorEvent: ({ event }) => print({ failed: { message: event.message, code: event.code } }),
};

function run(parameters) {
    agent
        .runAgent(parameters, subscriber)
        .then(() => print({ ended: true }))
        .catch(({ message, status, payload }) => print({ ended: { message, status, payload } }));
}

onLine((line) => {
    const order = JSON.parse(line);
    if (order.add) agent.addMessage(order.add);
    if (order.run) run(order.run);
    if (order.abort) agent.abortRun();
    if (order.report) {
        print({ messages: agent.messages, state: agent.state, pending: agent.pendingInterrupts });
    }
});
