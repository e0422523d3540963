"""The commands that begin with a slash: what each does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from .api import Api, ApiError, Refused, session_path
from .clean import one_line
from .exporting import place, write_new
from .memory import Memory
from .options import Options
from .pieces import Note, Table
from .talk import Talk
from .times import is_zone, shown_time

FORMATS: Final = {"markdown": ".md", "json": ".json"}
_LISTED: Final = 20
_LOOKED_THROUGH: Final = 200
_NEEDS_SESSION: Final = "There is no session yet: your first message makes one."


class Person(Protocol):
    """Who typed the command."""

    async def confirm(self, question: str) -> bool:
        """Ask; only a yes is a yes."""

    def clear(self) -> None:
        """Clear the screen."""

    def leave(self) -> None:
        """End the program."""


class Command(NamedTuple):
    """One command; `usage` names its arguments."""

    usage: str
    about: str
    run: Callable[[Commands, str], Awaitable[None]]


class Commands:
    """What the commands work on. `run` raises `ApiError` when the server does not do it."""

    def __init__(self, talk: Talk, api: Api, memory: Memory, options: Options, person: Person) -> None:
        self._talk, self._api, self._memory, self._options, self._person = talk, api, memory, options, person
        self.listed: list[str] = []
        """The sessions that were listed last, in order."""

    async def run(self, line: str) -> None:
        """Carry out a line that begins with a slash."""
        name, _, rest = line[1:].partition(" ")
        command = COMMANDS.get(_ALIASES.get(name, name))
        if command is None:
            self._talk.say(_unknown(name))
        else:
            await command.run(self, rest.strip())

    # --- one each

    async def help(self, rest: str) -> None:
        """List what there is."""
        rows = [(f"/{name} {command.usage}".strip(), command.about) for name, command in COMMANDS.items()]
        keys = [
            ("Enter · Alt-Enter", "send · begin a new line (or end the line with \\)"),
            ("Ctrl-C", "stop the answer; else drop what is typed; twice quickly: leave"),
            ("Ctrl-D", "leave; an answer goes on at the server"),
            ("↑ ↓ · Ctrl-R · Tab", "what was typed before · search it · complete a command"),
            ("//…", "a message that begins with a slash"),
        ]
        self._talk.say(Table(("", ""), (*rows, ("", ""), *keys)))

    async def clear(self, rest: str) -> None:
        """Forget the messages."""
        session_id = self._require_session()
        if session_id and await self._person.confirm("Forget all messages of this session, for good?"):
            await self._api.call("DELETE", session_path(session_id, "/messages"))
            self._person.clear()

    async def status(self, rest: str) -> None:
        """Show connection, run and queue."""
        talk, view = self._talk, self._talk.view
        try:
            ready = str((await self._api.call("GET", "health/ready")).get("status", "unknown"))
        except ApiError as error:
            ready = str(error)
        rows = [("server", f"{self._api.url}, {ready}")]
        rows.append(("connection", "lost, trying again" if talk.lost_at is not None else "live"))
        if view.session:
            rows += [("user", view.session["user_id"]), ("session", view.session["title"] or talk.session_id)]
            rows += [("agent", _agent_of(view.session))]
        rows.append(("run", "answering" if talk.is_running else "waits for you" if talk.questions else "idle"))
        rows += [("waiting", one_line(entry["message"], 60)) for entry in view.queue]
        talk.say(Table((), tuple(rows)))

    async def stats(self, rest: str) -> None:
        """Show totals."""
        self._talk.say(Table((), tuple(_flat(await self._api.call("GET", "api/stats")))))

    async def timezone(self, rest: str) -> None:
        """Show or set the time zone."""
        if not rest:
            kept = self._memory.timezone
            self._talk.say(Note(f"Times are shown in {kept or 'the time of this machine'}.", "plain"))
            return
        zone = "" if rest == "local" else rest
        if zone and not is_zone(zone):
            self._talk.say(Note(f"There is no time zone {one_line(zone, 40)}. Try Europe/Berlin, UTC or local.", "bad"))
            return
        self._memory.remember(timezone=zone)
        if self._talk.made_id:
            await self._talk.tell_timezone()
        self._talk.say(Note(f"Times are shown in {zone or 'the time of this machine'} from now on.", "good"))

    async def session(self, rest: str) -> None:
        """Show the session, or open another."""
        if rest:
            await self._open(rest)
            return
        session_id = self._require_session()
        if session_id:
            self._talk.say(Table((), self._described(await self._api.session(session_id))))

    async def sessions(self, rest: str) -> None:
        """List sessions."""
        found = await self._api.sessions(rest, limit=_LISTED + 1)
        has_more, found = len(found) > _LISTED, found[:_LISTED]
        self.listed = [session["session_id"] for session in found]
        if not found:
            self._talk.say(Note("No session holds that." if rest else "There are no sessions yet.", "plain"))
            return
        rows = tuple(self._row(number, session) for number, session in enumerate(found, 1))
        self._talk.say(Table(("", "", "title", "messages", "last activity"), rows), Note("/session 1 opens the first."))
        if has_more:
            self._talk.say(Note(f"These are the latest {_LISTED}; /sessions WORDS finds others."))

    async def new(self, rest: str) -> None:
        """Begin a new session."""
        if rest:
            told = {"metadata": self._talk.zone_metadata} if self._talk.zone_metadata else {}
            fields = {"title": rest, **self._options.creation, **told}
            made = await self._api.call("POST", "api/sessions", fields, holds="session_id")
            self._talk.open(made["session_id"], is_new=True)
            self._talk.say(Note(f"A new session, “{rest}”.", "plain"))
        else:
            self._memory.remember(session_id="")
            self._talk.begin()
            self._talk.say(Note("A new session begins with your next message.", "plain"))

    async def rename(self, rest: str) -> None:
        """Give the session a title."""
        session_id = self._require_session()
        if session_id and not rest:
            self._talk.say(Note("/rename needs a title.", "bad"))
        elif session_id:
            changed = await self._api.change(session_id, title=rest)
            self._talk.say(Note(f"This session is “{changed['title']}” now.", "good"))

    async def decline(self, rest: str) -> None:
        """Say no to what is asked."""
        asked = next(iter(self._talk.questions), None)
        if asked is None:
            self._talk.say(Note("Nothing is asked.", "plain"))
            return
        await self._talk.decline(asked, rest)

    async def export(self, rest: str) -> None:
        """Write the session into a file."""
        session_id = self._require_session()
        if not session_id:
            return
        first, _, other = rest.partition(" ")
        kind, name = (first, other.strip()) if first in FORMATS else (_format_of(rest), rest)
        path = session_path(session_id, "/export")
        content = await self._api.download("GET", path, query={"format": kind})
        folder = self._options.folder
        own_name = f"chat-{session_id[:8]}{FORMATS[kind]}"
        wanted = place(folder, name or own_name)
        try:
            written = write_new(wanted / own_name if wanted.is_dir() else wanted, content)
        except OSError as error:
            self._talk.say(Note(f"It cannot be written: {error}", "bad"))
        else:
            self._talk.say(Note(f"Written: {written}", "good"))

    async def exit(self, rest: str) -> None:
        """Leave."""
        self._person.leave()

    # --- parts

    def _require_session(self) -> str:
        if not self._talk.made_id:
            self._talk.say(Note(_NEEDS_SESSION, "plain"))
        return self._talk.made_id

    async def _open(self, wanted: str) -> None:
        """Open a session by its number in the list, its id, or the beginning of its id or title."""
        numbered = {str(number): session_id for number, session_id in enumerate(self.listed, 1)}
        if wanted in numbered:
            self._talk.open(numbered[wanted])
            return
        found = await self._api.sessions(limit=_LOOKED_THROUGH)
        exact = [one for one in found if wanted in (one["session_id"], one["title"])]
        begun = [one for one in found if one["session_id"].startswith(wanted) or one["title"].startswith(wanted)]
        matches = exact[:1] or begun
        if not matches and await self._is_session(wanted):
            self._talk.open(wanted)
        elif len(matches) == 1:
            self._talk.open(matches[0]["session_id"])
        else:
            many = "Several sessions begin so" if matches else "No session is called, or numbered, so"
            self._talk.say(Note(f"{many}: {one_line(wanted, 60)}. /sessions lists them.", "bad"))

    async def _is_session(self, wanted: str) -> bool:
        """Whether this is the id of a session that was not looked through."""
        try:
            await self._api.session(wanted)
        except Refused:
            return False
        return True

    def _described(self, session: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
        zone = self._memory.timezone
        times = ("created_at", "last_activity", "expires_at")
        return (
            ("title", session["title"] or ""),
            ("id", session["session_id"]),
            ("agent", _agent_of(session)),
            ("messages", str(session["message_count"])),
            *((name.replace("_", " "), shown_time(session[name], zone)) for name in times if session.get(name)),
        )

    def _row(self, number: int, session: dict[str, Any]) -> tuple[str, ...]:
        is_open = session["session_id"] == self._talk.session_id
        return (
            str(number),
            ">" if is_open else "●" if session["run"] else "",
            one_line(session["title"] or session["session_id"], 48),
            str(session["message_count"]),
            shown_time(session["last_activity"], self._memory.timezone),
        )


def _unknown(name: str) -> Note:
    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean /{near[0]}? " if near else ""
    return Note(f"There is no /{one_line(name, 30)}. {hint}/help lists what there is.", "bad")


def _agent_of(session: dict[str, Any]) -> str:
    return f"{session['agent']} as {session['persona']}" if session["persona"] else str(session["agent"])


def _format_of(name: str) -> str:
    return "json" if Path(name).suffix == ".json" else "markdown"


def _flat(found: Any, name: str = "") -> list[tuple[str, str]]:
    """Return the single figures in an object, each with its path; lists and long maps are for other places."""
    rows = []
    for key, value in found.items() if isinstance(found, dict) else ():
        path = f"{name} {key}".strip().replace("_", " ")
        if isinstance(value, dict) and not key.startswith("by_"):
            rows += _flat(value, path)
        elif isinstance(value, str | int | float):
            rows.append((path, f"{value:g}" if isinstance(value, float) else str(value)))
    return rows


COMMANDS: Final[dict[str, Command]] = {
    "help": Command("", "this list", Commands.help),
    "new": Command("[TITLE]", "begin a new session", Commands.new),
    "sessions": Command("[WORDS]", "list your sessions, or those that hold these words", Commands.sessions),
    "session": Command("[NUMBER|ID|TITLE]", "show this session, or open another", Commands.session),
    "rename": Command("TITLE", "give this session a title", Commands.rename),
    "export": Command("[markdown|json] [FILE]", "write this session into a file", Commands.export),
    "clear": Command("", "forget the messages of this session", Commands.clear),
    "decline": Command("[WHY]", "say no to what the agent asks", Commands.decline),
    "status": Command("", "server, connection, run and queue", Commands.status),
    "stats": Command("", "totals of the server", Commands.stats),
    "timezone": Command("[ZONE|local]", "in which times are shown; the agent is told", Commands.timezone),
    "exit": Command("", "leave; the session stays, and is opened at the next start", Commands.exit),
}
_ALIASES: Final = {"quit": "exit", "?": "help", "h": "help", "q": "exit"}
