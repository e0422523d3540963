"""Check from outside that the sessions of several users at once are kept apart, and that each is one conversation.

    scripts/verify_sessions                     on a server of its own, with a temporary folder, stopped afterwards
    scripts/verify_sessions http://host:8000    on a running one; what it makes there it deletes again

Users are told apart by `X-Forwarded-User`, or, where the server makes visitors, by its cookies. The default agent
must be one that knows what was said before (`documents` does). Prints a line for each check; exits 1 when one fails.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import orjson

from scripts.blackbox.arena import STREAM_FAULTS
from scripts.blackbox.caller import Caller
from scripts.blackbox.fold import differences
from scripts.blackbox.follower import Follower, Ledger
from scripts.blackbox.process import Server
from scripts.blackbox.tally import Tally
from scripts.blackbox.wire import Broken, Frame, Wire

NAMES: Final = ("Alice", "Robert", "Carolina")
TIMEOUT_S: Final = 120.0


class Listener(Follower):
    """A follower that also keeps everything it was sent, to look for what belongs to others."""

    def __init__(self, caller: Caller, session_id: str, ledger: Ledger) -> None:
        super().__init__(caller, session_id, ledger)
        self.seen = b""

    def _take(self, frame: Frame) -> None:
        self.seen += orjson.dumps(frame.event)
        super()._take(frame)


class Person:
    """A user with a name to remember, a session and a stream of it."""

    def __init__(self, wire: Wire, name: str) -> None:
        self.name = name
        self.caller = Caller(wire, f"verify-{name.lower()}")
        self.session_id = ""
        self.listener: Listener | None = None
        self.made: list[str] = []

    async def ask(self, text: str, session_id: str | None = None) -> str:
        """Say something and return the answer's text; without a session, a new one is made and kept in `made`."""
        fields = {"session_id": session_id} if session_id else {}
        answer = await self.caller.chat(text, wait=True, **fields)
        if answer.status != 200:
            raise ValueError(f"POST /api/chat answered {answer.status} {answer.body[:200]!r}")
        receipt = answer.json()
        if receipt["session_id"] not in self.made:
            self.made.append(receipt["session_id"])
        return "".join(str(message["content"]) for message in receipt["messages"] if message["role"] == "assistant")


class Checks:
    """The checks, in their order; `failed` counts."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0

    def check(self, is_right: bool, text: str, detail: object = "") -> None:
        """Print one line."""
        self.done += 1
        self.failed += not is_right
        shown = "" if is_right or not detail else f": {str(detail)[:300]}"
        print(f"{'ok  ' if is_right else 'FAIL'} {text}{shown}", flush=True)


async def verify(wire: Wire) -> Checks:
    """Run all checks against one server."""
    checks = Checks()
    tally = Tally("verify", faults=STREAM_FAULTS)
    people = [Person(wire, name) for name in NAMES]
    try:
        async with anyio.create_task_group() as tasks:
            await _meet(people, checks)
            for person in people:
                person.listener = Listener(person.caller, person.session_id, Ledger(tally))
                tasks.start_soon(person.listener.follow)
            await _converse(people, checks)
            await _keep_apart(people, checks)
            await _refuse(people, checks)
            await _list(people, checks)
            await _watch(people, checks)
            tasks.cancel_scope.cancel()
        checks.check(
            tally.is_clean, "every stream obeys the protocol, nothing lost, repeated or reordered", tally.details
        )
    finally:
        await _clean_up(people)
    return checks


async def _meet(people: list[Person], checks: Checks) -> None:
    """All at once: everybody says a name, without a session id."""

    async def greet(person: Person) -> None:
        await person.ask(f"My name is {person.name}")
        person.session_id = person.made[0]

    async with anyio.create_task_group() as tasks:
        for person in people:
            tasks.start_soon(greet, person)
    ids = {person.session_id for person in people}
    checks.check(len(ids) == len(people), f"{len(people)} users at once get {len(people)} sessions", ids)


async def _converse(people: list[Person], checks: Checks) -> None:
    """All at once: everybody asks for the name."""
    answers: dict[str, str] = {}

    async def ask(person: Person) -> None:
        answers[person.name] = await person.ask("What is my name?", person.session_id)

    async with anyio.create_task_group() as tasks:
        for person in people:
            tasks.start_soon(ask, person)
    for person in people:
        answer = answers[person.name]
        others = [name for name in NAMES if name != person.name and name in answer]
        checks.check(person.name in answer, f"{person.name}'s follow-up is answered in context", answer)
        checks.check(not others, f"{person.name}'s answer names nobody else", answer)
    answer = await people[0].ask("What is my name?")
    told = [name for name in NAMES if name in answer]
    checks.check(not told, f"a second session of {people[0].name} knows nothing of the first", answer)
    checks.check(
        len(set(people[0].made)) == 2, f"{people[0].name}'s second session has an id of its own", people[0].made
    )


async def _keep_apart(people: list[Person], checks: Checks) -> None:
    for person in people:
        history = await person.caller.messages(person.session_id)
        said = [message["content"] for message in history if message["role"] == "user"]
        expected = [f"My name is {person.name}", "What is my name?"]
        checks.check(said == expected, f"{person.name}'s history holds exactly what {person.name} said", said)


async def _refuse(people: list[Person], checks: Checks) -> None:
    """Everything that takes an id answers a foreign one exactly as one that does not exist."""
    owner, intruder = people[0], people[1]
    missing = "0" * len(owner.session_id)
    before = (await owner.caller.state(owner.session_id)).json()
    for method, path, takes_body in (
        ("GET", "/api/sessions/{}", None),
        ("GET", "/api/sessions/{}/messages", None),
        ("GET", "/api/sessions/{}/export", None),
        ("GET", "/api/sessions/{}/queue", None),
        ("GET", "/api/state?session_id={}", None),
        ("PATCH", "/api/sessions/{}", {"title": "mine"}),
        ("POST", "/api/interrupt", {"session_id": "{}"}),
        ("DELETE", "/api/sessions/{}/messages", None),
        ("DELETE", "/api/sessions/{}", None),
    ):
        answers = []
        for session_id in (owner.session_id, missing):
            body = {key: value.format(session_id) for key, value in takes_body.items()} if takes_body else None
            answer = await intruder.caller.call(method, path.format(session_id), body)
            problem = answer.json()
            problem.pop("request_id", None)
            answers.append((answer.status, orjson.dumps(problem).replace(session_id.encode(), b"ID")))
        is_alike = answers[0] == answers[1] and answers[0][0] == 404
        checks.check(is_alike, f"{method} {path.format('foreign')} answers as for a missing id", answers)
    after = (await owner.caller.state(owner.session_id)).json()
    checks.check(before["messages"] == after["messages"], f"{owner.name}'s session is what it was", after)


async def _list(people: list[Person], checks: Checks) -> None:
    for person in people:
        listed = (await person.caller.call("GET", "/api/sessions")).json()
        ids = {session["session_id"] for session in listed["sessions"]}
        checks.check(set(person.made) <= ids, f"{person.name}'s active sessions are listed", ids)
        foreign = ids & {session_id for other in people if other is not person for session_id in other.made}
        checks.check(not foreign, f"{person.name}'s list holds nobody else's sessions", foreign)


async def _watch(people: list[Person], checks: Checks) -> None:
    """Every stream showed its own session, as the server has it, and nothing of the others."""
    for person in people:
        listener = person.listener
        assert listener is not None
        answered = (await person.caller.state(person.session_id)).json()
        await listener.until_reached(answered["cursor"])
        found = differences(listener.fold, answered)
        checks.check(not found, f"{person.name}'s stream adds up to the server's own state", found)
        leaked = [
            word
            for other in people
            if other is not person
            for word in (other.name, *other.made)
            if word.encode() in listener.seen
        ]
        checks.check(not leaked, f"{person.name}'s stream shows nothing of the others", leaked)


async def _clean_up(people: list[Person]) -> None:
    with anyio.CancelScope(shield=True):
        for person in people:
            for session_id in person.made:
                try:
                    await person.caller.call("DELETE", f"/api/sessions/{session_id}", timeout_s=5)
                except Broken as broken:
                    print(f"could not delete {session_id}: {broken}", file=sys.stderr)


@asynccontextmanager
async def _server_of_its_own() -> AsyncIterator[Wire]:
    with tempfile.TemporaryDirectory(prefix="sessionstream-verify-") as folder:
        server = Server(Path(folder), scripted=False)
        try:
            print(f"starting a server at {server.url}", flush=True)
            await server.start()
            yield server.wire
        finally:
            server.kill_now()


async def _main(url: str | None) -> int:
    try:
        with anyio.fail_after(TIMEOUT_S):
            if url is None:
                async with _server_of_its_own() as wire:
                    checks = await verify(wire)
            else:
                parts = urlsplit(url if "://" in url else f"http://{url}")
                is_secure = parts.scheme == "https"
                port = parts.port or (443 if is_secure else 80)
                checks = await verify(Wire(parts.hostname or "127.0.0.1", port, is_secure=is_secure))
    except (Broken, ValueError, RuntimeError, TimeoutError, ExceptionGroup) as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]  # all at once met the same
        print(f"FAIL {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{checks.done - checks.failed} of {checks.done} checks passed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/verify_sessions", description="Check that sessions are kept apart.")
    parser.add_argument("url", nargs="?", help="a running server; without one, its own is started")
    arguments = parser.parse_args()
    # Ended by a time limit, it ends as by Ctrl-C: the server it started goes with it.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    sys.exit(anyio.run(_main, arguments.url))
