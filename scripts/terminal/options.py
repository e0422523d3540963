"""The command line of `scripts/chat`."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import httpx

from .clean import one_line, whole
from .terminal import is_dumb

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_FORWARDED: Final = "X-Forwarded-User, for AUTH=local and AUTH=proxy (CHAT_USER)"
_BEARER: Final = "Authorization: Bearer (CHAT_TOKEN, unseen by others here; it goes to CHAT_URL alone if that is set)"

_EPILOG: Final = """\
In the terminal: Enter sends, Alt-Enter begins a new line, Ctrl-C stops the answer, Ctrl-D leaves; /help lists the
commands. The last session is opened again. With `-`, or when stdin is no terminal, stdin is one question: its answer
alone goes to stdout, errors go to stderr. Exit status then: 0 answered, 1 failed, stopped or refused, 2 wrong usage,
3 no server, 4 it waits for a person, 130 stopped by Ctrl-C.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    url: str
    is_pipe: bool
    user: str
    token: str
    session_id: str
    is_new: bool
    goes_on: bool
    agent: str
    persona: str
    as_json: bool
    shows_thinking: bool
    is_plain: bool
    patience_s: float
    folder: Path

    @property
    def creation(self) -> dict[str, str]:
        """Fields of the message that begins a session."""
        return {name: value for name, value in (("agent", self.agent), ("persona", self.persona)) if value}


def _environment(name: str, default: str) -> str:
    return whole(os.environ.get(name, default))


def _place(url: str) -> tuple[str, str]:
    """Return the server of an address, without its last slash, and the session that the address of its page names.

    Both are empty when it is no address of a server.
    """
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts, host = httpx.URL(url), httpx.URL(url).host
    except (httpx.InvalidURL, ValueError):
        return "", ""
    is_server = parts.scheme in ("http", "https") and host and (parts.port or 0) < 65536 and not parts.query
    session_id = unquote(parts.fragment.removeprefix("/s/")) if parts.fragment.startswith("/s/") else ""
    return (url.partition("#")[0].rstrip("/"), session_id) if is_server else ("", "")


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = httpx.URL(url) if url else httpx.URL()
    return parts.scheme, parts.host, parts.port


def parse(arguments: list[str]) -> Options:
    """Return the options; ends the program with status 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/chat", description="Chat with a server in the terminal, or in a pipe.", epilog=_EPILOG
    )
    env = _environment
    add = parser.add_argument
    add(
        "where",
        nargs="*",
        metavar="URL | -",
        help=f"the server (CHAT_URL, else {DEFAULT_URL}); - reads one question from stdin",
    )
    add("--session", metavar="ID", default="", help="open this session (made if it is not there)")
    add("--new", action="store_true", help="begin a new session")
    add("-c", "--continue", action="store_true", dest="goes_on", help="in a pipe: go on in the session opened last")
    add("--agent", metavar="NAME", default="", help="who answers in a new session")
    add("--persona", metavar="NAME", default="", help="as whom, in a new session")
    add("--user", metavar="NAME", default=env("CHAT_USER", ""), help=f"who you are: {_FORWARDED}")
    add("--token", metavar="TOKEN", default="", help=f"who you are: {_BEARER}")
    add("--json", action="store_true", dest="as_json", help="in a pipe: the answer as one JSON object")
    add("--thinking", action="store_true", help="show reasoning in full")
    add("--plain", action="store_true", help="line by line, nothing redrawn: for screen readers, and for TERM=dumb")
    add("--patience", metavar="SECONDS", type=float, default=10.0, help="in a pipe: how long to look for the server")
    add("--folder", metavar="DIR", type=Path, default=Path.cwd(), help="where /export writes (here)")
    # Intermixed: `-` may stand behind options too.
    given = parser.parse_intermixed_args([whole(argument) for argument in arguments])
    urls = [one for one in given.where if one != "-"]
    if len(urls) > 1:
        parser.error("one URL, please")
    theirs = env("CHAT_URL", "") or DEFAULT_URL
    url, session_id = _place(urls[0] if urls else theirs)
    if not url:
        parser.error(f"{one_line((urls or [theirs])[0].rpartition('@')[2], 80)} is no URL of a server")
    if not f"{given.user}{given.token}".isprintable():
        parser.error("--user and --token are one line of text")
    # A token in the environment is for the server that is named beside it.
    is_for_it = not env("CHAT_URL", "") or _origin(url) == _origin(_place(theirs)[0])
    return Options(
        url=url,
        is_pipe="-" in given.where,
        user=given.user,
        token=given.token or (env("CHAT_TOKEN", "") if is_for_it else ""),
        session_id=given.session or session_id,
        is_new=given.new,
        goes_on=given.goes_on,
        agent=given.agent,
        persona=given.persona,
        as_json=given.as_json,
        shows_thinking=given.thinking,
        is_plain=given.plain or is_dumb(),
        patience_s=given.patience,
        folder=given.folder,
    )
