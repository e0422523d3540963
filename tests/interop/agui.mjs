// One official AG-UI client on a session's stream, driven by a test over stdin and stdout, one JSON object a line.
//
//     node agui.mjs <url of the stream> <session id>
//
// It prints {"event": …} for each event the client took, {"said": …} for whatever it wrote to the console, and
// {"ended": true | message} when the stream is over. "report" on stdin is answered with {"messages", "state"}.

import { onLine, print } from "./console.mjs";

import { HttpAgent, runHttpRequest, transformHttpEventStream } from "@ag-ui/client";

const [url, threadId] = process.argv.slice(2);

class SessionAgent extends HttpAgent {
    connect() {
        this.abortController = new AbortController();
        const headers = { ...this.headers, Accept: "text/event-stream" };
        const request = () => this.fetch(this.url, { method: "GET", headers, signal: this.abortController.signal });
        return transformHttpEventStream(runHttpRequest(request));
    }
}

const agent = new SessionAgent({ url, threadId, headers: { "X-Forwarded-User": "user" } });

onLine((line) => {
    if (line === "report") print({ messages: agent.messages, state: agent.state });
});

agent
    .connectAgent({}, { onEvent: ({ event }) => print({ event }) })
    .then(() => print({ ended: true }))
    .catch((error) => print({ ended: String(error) }));
