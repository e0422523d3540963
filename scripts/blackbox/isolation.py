"""Another user's id, cursor, search and events: user B gets exactly what B gets for one that does not exist.

Every probe is sent twice by users that do nothing else: once with what belongs to A, once with something made up of
the same form. Status, headers and body must be equal once the ids that were sent, times and request ids are masked;
nothing of A may be in the answer; and A's session must be what it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import orjson

from .arena import STREAM_FAULTS, Arena, script, stall
from .caller import Caller
from .follower import Follower, Ledger
from .kills import compare
from .tally import Tally
from .wire import Wire

SECRET: Final = "zebrafish"
FAULTS: Final = ("told_apart", "leaked", "changed", "owner_refused")

_MASKS: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z"), "TIME"),
    (re.compile(r'("timestamp":) ?\d+'), r"\1 TIME"),
    (re.compile(r"\b[a-z0-9]{12}-\d+\b"), "CURSOR"),
    (re.compile(r'("request_id": ?)"[^"]*"'), r'\1"REQUEST"'),
)
_VARYING_HEADERS: Final = frozenset({"date", "content-length", "x-request-id", "set-cookie"})


@dataclass(frozen=True, slots=True)
class Probe:
    """One request; `{session}`, `{run}`, `{message}`, `{call}`, `{cursor}`, `{page}` and `{word}` are filled in."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    streams: bool = False


_RUN_INPUT: Final = {
    "threadId": "{session}",
    "runId": "{run}",
    "state": {},
    "messages": [{"id": "{message}", "role": "user", "content": "hello"}],
    "tools": [],
    "context": [],
    "forwardedProps": {},
}
_EXPORT: Final = {"version": 1, "session": {"session_id": "{session}"}, "messages": []}

PROBES: Final = (
    Probe("GET", "/api/sessions/{session}"),
    Probe("PATCH", "/api/sessions/{session}", body={"title": "mine", "metadata": {"a": 1}}),
    Probe("DELETE", "/api/sessions/{session}"),
    Probe("GET", "/api/sessions/{session}/messages"),
    Probe("GET", "/api/sessions/{session}/messages", {"limit": "5", "before": "3"}),
    Probe("DELETE", "/api/sessions/{session}/messages"),
    Probe("GET", "/api/sessions/{session}/export"),
    Probe("GET", "/api/sessions/{session}/export", {"format": "markdown"}),
    Probe("GET", "/api/sessions/{session}/slides"),
    Probe("GET", "/api/sessions/{session}/queue"),
    Probe("PATCH", "/api/sessions/{session}/queue/{message}", body={"position": 0}),
    Probe("PATCH", "/api/sessions/{session}/queue/{message}", body={"message": "mine"}),
    Probe("DELETE", "/api/sessions/{session}/queue/{message}"),
    Probe("GET", "/api/state", {"session_id": "{session}"}),
    Probe("POST", "/api/interrupt", body={"session_id": "{session}"}),
    Probe("POST", "/api/interrupt", body={"session_id": "{session}", "run_id": "{run}"}),
    Probe("POST", "/api/interrupt", body={"session_id": "{session}", "message_id": "{message}"}),
    Probe("POST", "/api/tool-result", body={"session_id": "{session}", "tool_call_id": "{call}", "content": "x"}),
    Probe("POST", "/api/mcp-command", body={"command": "tools/list", "args": {}, "session_id": "{session}"}),
    Probe("POST", "/api/system", body={"message": "hello", "session_id": "{session}", "message_id": "{message}"}),
    Probe("POST", "/api/chat", body={"message": "hello", "session_id": "{session}", "message_id": "{message}"}),
    Probe("POST", "/api/chat", body={"message": "hello", "session_id": "{session}", "wait": True}),
    Probe("POST", "/api/chat", body={"message": "hello", "session_id": "{session}"}, streams=True),
    Probe("POST", "/api/sessions", body={"session_id": "{session}"}),
    Probe("POST", "/api/sessions/import", body=_EXPORT),
    Probe("POST", "/api/agents/scripted/run", body=_RUN_INPUT, streams=True),
    Probe("GET", "/api/chat/stream", {"session_id": "{session}"}, streams=True),
    Probe("GET", "/api/chat/stream", {"session_id": "{session}", "last_event_id": "{cursor}"}, streams=True),
    Probe("GET", "/api/chat/stream", {"session_id": "my-own", "last_event_id": "{cursor}"}, streams=True),
    Probe("GET", "/api/sessions", {"q": "{word}"}),
    Probe("GET", "/api/sessions", {"q": "{session}"}),
    Probe("GET", "/api/sessions", {"cursor": "{page}"}),
    Probe("GET", "/api/sessions/stream", {"session_id": "{session}"}, streams=True),
    Probe("GET", "/api/documents", {"q": "{word}"}),
    Probe("POST", "/api/documents", body={"name": "{session}.md", "content": "hello"}),
    Probe("DELETE", "/api/documents/{session}.md"),
    Probe("GET", "/api/stats", {"session_id": "{session}"}),
    Probe("GET", "/api/agents", {"session_id": "{session}"}),
)


async def isolation(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("isolation", faults=STREAM_FAULTS + FAULTS)
    async with arena.server() as server, anyio.create_task_group() as tasks:
        owner = Caller(server.wire, "owner")
        follower = Follower(owner, "session-of-owner", Ledger(tally))
        theirs = await _set_up(owner, follower.session_id)
        made_up = {name: _made_up(value) for name, value in theirs.items()} | {"session": "session-of-nobody"}
        made_up["page"] = await _page_of_another(server.wire)
        found = (await owner.call("GET", "/api/sessions", query={"q": SECRET})).json()["count"]
        tally.expect(found == 1, "owner_refused", f"the owner's search finds {found} sessions")
        tasks.start_soon(follower.follow)
        await follower.until_attached()
        before, cursor = await _owned(owner, follower.session_id), follower.cursor
        for number, probe in enumerate(PROBES):
            await _compare(server.wire, number, probe, theirs, made_up, tally)
        after = await _owned(owner, follower.session_id)
        is_same = before == after and follower.cursor == cursor
        tally.expect(is_same, "changed", f"the owner's session was {before}, is {after}; {cursor}, {follower.cursor}")
        await _events_stay_apart(server.wire, owner, follower, theirs, tally)
        tasks.cancel_scope.cancel()
    return tally


async def _set_up(owner: Caller, session_id: str) -> dict[str, str]:
    """Give A a session with a secret, a tool call, an active run and a queued message; return what names them."""
    tool = {"tool": {"name": "search", "args": {"q": SECRET}}}
    first = await owner.chat(script({"text": SECRET}, tool), session_id=session_id, wait=True)
    calls = [call["id"] for message in first.json()["messages"] for call in message.get("toolCalls", ())]
    await owner.call("PATCH", f"/api/sessions/{session_id}", {"title": f"about {SECRET}"})
    running = await owner.chat(script({"text": SECRET}, stall(600)), session_id=session_id)
    queued = await owner.chat(SECRET, session_id=session_id, message_id="queued-by-owner", on_busy="queue")
    await owner.call("POST", "/api/sessions", {"session_id": "second-of-owner"})
    page = await owner.call("GET", "/api/sessions", query={"limit": 1})
    if not (calls and queued.json()["status"] == "queued" and page.json()["next_cursor"]):
        raise ValueError(f"the owner's session is not as planned: {calls} {queued.json()} {page.json()}")
    return {
        "session": session_id,
        "run": str(running.json()["run_id"]),
        "message": "queued-by-owner",
        "call": str(calls[0]),
        "cursor": str(running.json()["cursor"]),
        "page": str(page.json()["next_cursor"]),
        "word": SECRET,
    }


def _made_up(value: str) -> str:
    """Return another value of the same form: letters moved by one, so that an id stays an id and a cursor a cursor."""
    head, dash, tail = value.rpartition("-")
    moved = "".join(chr((ord(char) - 97 + 1) % 26 + 97) if char.islower() else char for char in head or tail)
    return f"{moved}{dash}{tail}" if dash else moved


async def _page_of_another(wire: Wire) -> str:
    """Return a list cursor that belongs to neither: a made up one would be refused for its form."""
    another = Caller(wire, "another")
    for number in range(2):
        await another.call("POST", "/api/sessions", {"session_id": f"other-{number}"})
    return str((await another.call("GET", "/api/sessions", query={"limit": 1})).json()["next_cursor"])


async def _owned(owner: Caller, session_id: str) -> dict[str, Any]:
    """Return the owner's session without what time alone changes."""
    answer = await owner.state(session_id)
    state: dict[str, Any] = answer.json()
    for part in (state["session"], state["state"]["session"]):
        part.pop("last_activity", None)
        part.pop("expires_at", None)
    return state


async def _compare(
    wire: Wire, number: int, probe: Probe, theirs: dict[str, str], made_up: dict[str, str], tally: Tally
) -> None:
    answers = []
    for kind, names in (("foreign", theirs), ("missing", made_up)):
        intruder = Caller(wire, f"intruder-{number}-{kind}")
        raw = await _send(intruder, probe, names)
        answers.append(_masked(raw, {**names, "user": intruder.user}))
        sent = orjson.dumps(_filled({"p": probe.path, "q": dict(probe.query), "b": probe.body}, names)).decode()
        unsent = [value for name, value in theirs.items() if value in raw and value not in sent and name != "message"]
        tally.expect(not unsent, "leaked", f"{probe.method} {probe.path}: {unsent} in {raw[:300]}")
    tally.count("probes")
    tally.count("probes_of_paths_not_there", '"code": "not_found"' in answers[0])
    is_alike = answers[0] == answers[1]
    tally.expect(is_alike, "told_apart", f"{probe.method} {probe.path} {probe.body}:\n  {answers[0]}\n  {answers[1]}")
    tally.progress(f"{number + 1} of {len(PROBES)} probes")


async def _send(intruder: Caller, probe: Probe, names: dict[str, str]) -> str:
    """Send a probe; return status, headers and body (of a stream: what comes first) as one text."""
    filled = _filled({"path": probe.path, "query": dict(probe.query), "body": probe.body}, names)
    if not probe.streams:
        answer = await intruder.call(probe.method, filled["path"], filled["body"], query=filled["query"] or None)
        return _text(answer.status, answer.headers, answer.body.decode())
    target = filled["path"] + (f"?{urlencode(filled['query'])}" if filled["query"] else "")
    stream = await intruder.wire.stream(target, headers=intruder.headers, method=probe.method, body=filled["body"])
    if stream.status != 200:
        refusal = await stream.refusal()
        return _text(refusal.status, refusal.headers, refusal.body.decode())
    seen = []
    with anyio.move_on_after(0.3):
        while (frames := await stream.read()) is not None:
            seen += [orjson.dumps([frame.cursor, frame.event]).decode() for frame in frames]
    stream.close()
    # How deltas were merged is a matter of the moment; their text is not.
    return _text(stream.status, stream.headers, "\n".join(line for line in seen if "_CONTENT" not in line))


def _text(status: int, headers: Mapping[str, str], body: str) -> str:
    kept = sorted(f"{name}: {value}" for name, value in headers.items() if name not in _VARYING_HEADERS)
    return "\n".join([str(status), *kept, body])


def _masked(text: str, sent: dict[str, str]) -> str:
    for name in ("session", "user", "run", "message", "call", "cursor", "page", "word"):
        text = text.replace(sent[name], name.upper())
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], value)
    if isinstance(value, Mapping):
        return {key: _filled(item, names) for key, item in value.items()}
    return [_filled(item, names) for item in value] if isinstance(value, list) else value


async def _events_stay_apart(
    wire: Wire, owner: Caller, follower: Follower, theirs: dict[str, str], tally: Tally
) -> None:
    """While A's session lives on, B's streams of the same id and of B's list show B's own events only."""
    intruder = Caller(wire, "listener")
    spy = await intruder.stream(follower.session_id, theirs["cursor"])
    watcher = await wire.stream("/api/sessions/stream", headers=intruder.headers)
    await owner.interrupt(follower.session_id)
    await owner.chat(script({"text": SECRET}), session_id="second-of-owner", wait=True)
    await intruder.chat("my own words", session_id=follower.session_id, message_id="own", wait=True)
    for name, stream in (("session", spy), ("list", watcher)):
        seen = b""
        with anyio.move_on_after(2):
            while (frames := await stream.read()) is not None:
                seen += b"\n".join(orjson.dumps(frame.event) for frame in frames)
        stream.close()
        tally.expect(b"own words" in seen, "owner_refused", f"the {name} stream did not show its owner's own events")
        tally.expect(SECRET.encode() not in seen, "leaked", f"the {name} stream showed the secret")
        tally.expect(theirs["run"].encode() not in seen, "leaked", f"the {name} stream showed the foreign run")
        tally.count("streams_watched")
    answered = await owner.state(follower.session_id)
    tally.expect(answered.status == 200, "owner_refused", f"state: {answered.status}")
    await compare(follower, answered.json(), tally)
