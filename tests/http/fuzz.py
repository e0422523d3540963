"""Requests made up by a seeded generator: every endpoint, wrong in every way a client can be wrong.

What is made is bytes, so that also what no client library would send is sent. The same seed makes the same requests.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import anyio
import orjson
from anyio.abc import SocketStream

from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer

WAIT_S: Final = 15.0

TEXTS: Final = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202eevil\u202c",
    "\u2066x\u2069",
    "\ufeff",
    "\u2028",
    "\r\nSet-Cookie: a=b",
    "../../etc/passwd",
    "a/b",
    "%00",
    "%s%n",
    "{0.__class__}",
    "'; DROP TABLE sessions; --",
    '" OR 1=1',
    "-1",
    "0",
    "1e999",
    "null",
    "true",
    "A" * 129,
    "x" * 5000,
    "💥" * 50,
    "東京",
    "e\u0301",
    "__proto__",
    "sync-1",
    "s",
    "m",
)
NUMBERS: Final = (0, -1, 1, 1.5, -0.0, 1e308, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400)
FIELDS: Final = (
    "message",
    "session_id",
    "message_id",
    "run_id",
    "agent",
    "persona",
    "on_busy",
    "options",
    "wait",
    "respond",
    "title",
    "metadata",
    "config",
    "position",
    "version",
    "session",
    "messages",
    "artifacts",
    "exported_at",
    "unheard_of",
    "",
    "__class__",
)
ROUTES: Final = (
    ("POST", "/api/chat"),
    ("POST", "/api/chat"),
    ("GET", "/api/chat/stream"),
    ("POST", "/api/interrupt"),
    ("POST", "/api/system"),
    ("GET", "/api/state"),
    ("GET", "/api/sessions"),
    ("POST", "/api/sessions"),
    ("GET", "/api/sessions/stream"),
    ("POST", "/api/sessions/import"),
    ("GET", "/api/sessions/{id}"),
    ("PATCH", "/api/sessions/{id}"),
    ("DELETE", "/api/sessions/{id}"),
    ("GET", "/api/sessions/{id}/messages"),
    ("DELETE", "/api/sessions/{id}/messages"),
    ("GET", "/api/sessions/{id}/export"),
    ("GET", "/api/sessions/{id}/queue"),
    ("PATCH", "/api/sessions/{id}/queue/{id}"),
    ("DELETE", "/api/sessions/{id}/queue/{id}"),
    ("GET", "/api/stats"),
    ("GET", "/api/agents"),
    ("POST", "/api/agents/scripted/run"),
    ("GET", "/health"),
    ("GET", "/health/ready"),
    ("GET", "/"),
    ("GET", "/static/{id}"),
    ("GET", "/api/{id}"),
    ("GET", "/{id}"),
)
METHODS: Final = ("GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "PROPFIND")
QUERIES: Final = ("session_id", "last_event_id", "limit", "cursor", "q", "before", "format", "unheard_of")


_RIGHT: Final[dict[str, dict[str, Any]]] = {
    "/chat": {"message": "hello"},
    "/system": {"message": "hello"},
    "/interrupt": {"session_id": "s"},
    "/import": {"version": 1, "session": {}, "messages": []},
    "/queue": {"position": 0},
    "/run": {"threadId": "s", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "hello"}]},
}


class Request(NamedTuple):
    """One request, and how to say it to people."""

    sent: bytes
    said: str


class Fuzz:
    """A source of requests for one user."""

    def __init__(self, seed: int, user: str, ids: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._user = user
        self._ids = ids

    def requests(self, count: int) -> Iterator[Request]:
        """Make requests, most of them almost right."""
        for _ in range(count):
            yield self.request()

    def request(self) -> Request:
        """Make one."""
        pick = self._random
        method, template = pick.choice(ROUTES)
        path = self._path(template)
        if pick.random() < 0.2:
            method = pick.choice(METHODS)
        body = self._body(path) if pick.random() < 0.8 else b""
        headers = [f"Host: localhost\r\nX-Forwarded-User: {self._user}".encode(), *self._headers()]
        if body:
            headers.append(b"Content-Length: %d" % len(body))
        if pick.random() < 0.9:
            headers.append(b"Content-Type: application/json")
        head = f"{method} {path} HTTP/1.1\r\n".encode() + b"\r\n".join(headers)
        sent = head + b"\r\nConnection: close\r\n\r\n" + body
        return Request(sent, repr(sent[:1500]))

    def _path(self, template: str) -> str:
        pick = self._random
        path = template
        while "{id}" in path:
            text = pick.choice(self._ids) if pick.random() < 0.6 else pick.choice(TEXTS)
            path = path.replace("{id}", quote(text, safe="" if pick.random() < 0.8 else "/."), 1)
        pairs = [
            f"{pick.choice(QUERIES)}{pick.choice(('=', '=', '=', ''))}{quote(pick.choice((*TEXTS, *self._ids)))}"
            for _ in range(pick.choice((0, 0, 1, 2, 5)))
        ]
        return f"{path}?{'&'.join(pairs)}" if pairs else path

    def _headers(self) -> list[bytes]:
        pick = self._random
        possible = (
            b"Accept: text/event-stream",
            b"Accept: */*, text/event-stream;q=0",
            b"Accept: " + b"x" * 3000,
            b"Last-Event-ID: " + pick.choice(TEXTS).encode().translate(None, b"\r\n\0"),
            b"Last-Event-ID: \xff\xfe",
            b"Origin: null",
            b"Origin: http://localhost",
            b"Origin: " + b"a" * 2000,
            b"Referer: http://[::1",
            b"Referer: //\xff\xff/",
            b"Cookie: sessionstream_visitor=\xff; =; a",
            b"Authorization: Bearer \xff",
            b"X-Request-Id: \xff",
            b"Range: bytes=0-1,5-,-7,9-2",
            b"If-None-Match: *",
            b"If-Modified-Since: yesterday",
            b"Content-Type: application/json; charset=\xff",
            b"Content-Encoding: gzip",
            b"Expect: 100-continue",
            b"Upgrade: websocket",
            b"Access-Control-Request-Method: PATCH",
            b"X-Forwarded-Proto: \xff",
            b"X-Http-Method-Override: DELETE",
        )
        return [pick.choice(possible) for _ in range(pick.choice((0, 0, 1, 1, 3)))]

    # --- bodies

    def _body(self, path: str) -> bytes:
        pick = self._random
        makers = (partial(self._right, path), self._object, self._twice, self._garbage, self._deep)
        return pick.choices(makers, weights=(3, 5, 1, 1, 1))[0]()

    def _right(self, path: str) -> bytes:
        pick = self._random
        body = next((right for part, right in _RIGHT.items() if part in path), {"title": "a"})
        if "message" in body and pick.random() < 0.5:
            body = {**body, "session_id": pick.choice(self._ids)}
        return orjson.dumps(body)

    def _object(self) -> bytes:
        pick = self._random
        fields = {name: self._value() for name in pick.choices(FIELDS, k=pick.choice((0, 1, 2, 4)))}
        if pick.random() < 0.7:
            fields = {"message": "hello", "session_id": pick.choice(self._ids)} | fields
        body = _dumped(fields)
        if pick.random() < 0.1:
            at = pick.randrange(len(body) + 1)
            body = body[:at] + bytes(pick.choices(range(256), k=pick.randrange(4))) + body[at:]
        return body

    def _value(self, level: int = 0) -> Any:
        pick = self._random
        kind = pick.randrange(9 if level < 4 else 6)
        if kind < 3:
            return pick.choice(TEXTS)
        if kind < 5:
            return pick.choice(NUMBERS)
        if kind == 5:
            return pick.choice((None, True, False))
        if kind == 6:
            return [self._value(level + 1) for _ in range(pick.randrange(4))]
        return {pick.choice((*FIELDS, *TEXTS)): self._value(level + 1) for _ in range(pick.randrange(4))}

    def _twice(self) -> bytes:
        name = orjson.dumps(self._random.choice(FIELDS))
        return b'{"message": "a", %s: 1, %s: {"a": 1, "a": 2}}' % (name, name)

    def _garbage(self) -> bytes:
        pick = self._random
        return pick.choice(
            (
                b"\xff\xfe\x00",
                b'{"message": "\xed\xa0\x80"}',
                b'{"message": "\\ud800"}',
                b'{"message": "\\u0000"}',
                b'{"message": NaN}',
                b'{"message": Infinity, "wait": -Infinity}',
                b"{" * 1000,
                b'"' * 999,
                b"[1, 2",
                b"\xef\xbb\xbf{}",
                b"null",
                b"[]",
                b" " * 3000,
                bytes(pick.choices(range(256), k=200)),
                b'{"message": "a"}{"message": "b"}',
                b'{"message": "a"} x',
                b'{"a": ' + b"9" * 5000 + b"}",
            )
        )

    def _deep(self) -> bytes:
        levels = self._random.choice((9, 63, 64, 65, 5000))
        name = orjson.dumps(self._random.choice(("options", "metadata", "message", "artifacts", "messages")))
        return b'{"message": "a", %s: %s%s}' % (name, b'[{"a":' * (levels // 2), b"}]" * (levels // 2))


def _dumped(value: Any) -> bytes:
    """Return a value as JSON: unlike orjson's, numbers may be of any size, and surrogates may be alone."""
    if isinstance(value, dict):
        return b"{%s}" % b",".join(b"%s:%s" % (_dumped(str(key)), _dumped(item)) for key, item in value.items())
    if isinstance(value, list):
        return b"[%s]" % b",".join(map(_dumped, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    return orjson.dumps(value)


# --- sending


async def shoot(server: Server, sent: bytes) -> Answer | None:
    """Send a request; return its answer (of a stream its head), or None when the server closed without one."""
    received = b""
    with anyio.fail_after(WAIT_S):
        async with await anyio.connect_tcp(server.wire.host, server.wire.port) as connection:
            with suppress(anyio.BrokenResourceError):
                await connection.send(sent)
            async for piece in _pieces(connection):
                received += piece
                if b"\r\n\r\n" in received and b"content-type: text/event-stream" in received.lower():
                    break
    return _parsed(received) if received else None


async def _pieces(connection: SocketStream) -> Any:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            yield await connection.receive()


def _parsed(received: bytes) -> Answer:
    while received.startswith(b"HTTP/1.1 100"):
        received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Answer(int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)
