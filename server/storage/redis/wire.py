"""Wire: the way to Redis. Commands go out together, answers come back in their order, each bounded in time.

One server, or a cluster: a command names the key it is about, and goes to the server that has it. redis-py's
connections carry the bytes; pools, slots and redirections are here, because its clients try again on their own, and
a commit must know what was sent.

No server is talked to before it is known (`Continuity` says which are): a connection to a new one first asks whether it
is the one that had the data, so that nothing is ever written beside a gap that nobody noticed. A replica is refused.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, NoScriptError, ReadOnlyError, RedisError, ResponseError

from .script import Script
from .scripts import SCRIPTS

_pack: Callable[[Any], bytes] | None = None
with suppress(ImportError):  # it is faster, and need not be there
    from hiredis import pack_command as _pack

_CONNECT_TIMEOUT_S: Final = 2.0
_IDLE_S: Final = 10.0  # what was not used for so long is asked first whether it is still there
_READERS: Final = 8  # more at once only wait for each other in the server
_ROUNDS: Final = 4
_SLOTS: Final = 16_384

Address = tuple[str, int]
Info = Mapping[str, str]


class Command(NamedTuple):
    """One command; `key` says which server of a cluster gets it."""

    key: str | bytes
    args: Sequence[Any]
    script: Script | None = None


class WireError(Exception):
    """No answer. `is_sent`: the command may have been carried out."""

    def __init__(self, detail: str, *, is_sent: bool, is_stranger: bool = False, is_timeout: bool = False) -> None:
        self.is_sent = is_sent
        self.is_timeout = is_timeout
        self.is_stranger = is_stranger
        super().__init__(detail)


class Wire:
    """All connections of one storage, except the one that listens."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.is_cluster = query.pop("cluster", "").lower() in ("1", "true", "yes", "on")
        self._options: dict[str, Any] = dict(parse_url(urlunsplit(parts._replace(query=urlencode(query)))))
        self._class: type[Connection] = self._options.pop("connection_class", Connection)
        self.database = int(self._options.get("db") or 0)
        if self.is_cluster and (self.database or "path" in self._options):
            raise ValueError("a cluster has neither databases nor a socket")
        self._timeout_s = timeout_s
        self._first = (self._options.pop("host", "localhost"), int(self._options.pop("port", 6379)))
        self._servers: dict[Address, _Server] = {}
        self._slots: list[Address] | None = None
        self._readers = anyio.Semaphore(_READERS)
        self.is_closed = False
        self.known: set[str] = set()
        """Run ids of servers that have all there is."""
        self.on_stranger: Callable[[], Awaitable[None]] | None = None
        """Called when a server is met that is not known; makes it known, or raises."""

    async def close(self) -> None:
        """Close every connection."""
        self.is_closed = True
        servers, self._servers = self._servers, {}
        for server in servers.values():
            await server.close()

    async def forget(self, server: _Server) -> None:
        """Meet a server anew, and learn which one has what."""
        self._slots = None
        await server.close()

    def new_connection(self, address: Address) -> Connection:
        """Return a connection of its own to a server; the caller connects and closes it."""
        place = {} if "path" in self._options else {"host": address[0], "port": address[1]}
        return self._class(
            **{
                # `timeout_s` bounds a whole exchange; one more timer for each answer would cost more than the answer.
                "socket_timeout": None,
                "socket_connect_timeout": min(_CONNECT_TIMEOUT_S, self._timeout_s),
                "retry": Retry(NoBackoff(), 0),
                "retry_on_error": [],
                "health_check_interval": 0,
                "socket_keepalive": True,
                # Nothing here is said better in RESP3, and its pushes would come between the answers.
                "protocol": 2,
                **self._options,
                **place,
            }
        )

    # --- commands

    async def read(self, commands: Sequence[Command], *, is_urgent: bool = False) -> list[Any]:
        """Run commands that change nothing; once more when the connection was a dead one."""
        async with nullcontext() if is_urgent else self._readers:
            try:
                return await self.run(commands)
            except WireError as error:
                if not error.is_sent or error.is_timeout:
                    raise
            return await self.run(commands)

    async def run(self, commands: Sequence[Command], *, is_guarded: bool = True) -> list[Any]:
        """Run commands; return their answers, an exception for each that was refused.

        Raises:
            WireError: a server did not answer (in time).
        """
        answers: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        was_sent = False
        for _ in range(_ROUNDS):
            fault = await self._round(commands, left, answers, is_guarded=is_guarded)
            if fault is not None:
                was_sent = was_sent or fault.is_sent
                if not fault.is_stranger or self.on_stranger is None:
                    raise WireError(str(fault), is_sent=was_sent, is_timeout=fault.is_timeout)
                await self.on_stranger()
            if any(isinstance(answers[at], MovedError) for at in left):
                self._slots = None
            left = [at for at in left if isinstance(answers[at], (WireError, MovedError, AskError, NoScriptError))]
            if not left:
                return answers
            was_sent = True
        raise WireError("a command finds no server", is_sent=was_sent)

    async def _round(
        self, commands: Sequence[Command], left: Sequence[int], answers: list[Any], *, is_guarded: bool
    ) -> WireError | None:
        """Send what is left to the servers that have it; return the worst that happened."""
        groups: dict[Address, list[int]] = {}
        slots = await self._learned() if self.is_cluster else None
        for at in left:
            answer = answers[at]
            if isinstance(answer, AskError):
                address = self._address(answer.host, answer.port)
            else:
                address = self._first if slots is None else slots[key_slot(_encoded(commands[at].key))]
            groups.setdefault(address, []).append(at)

        async def send(address: Address, group: list[int]) -> None:
            packed = [sent for at in group for sent in _as_sent(commands[at], answers[at])]
            places = [place for at in group for place in _places(at, answers[at])]
            try:
                found = await self._server(address).exchange(packed, is_guarded=is_guarded)
            except WireError as error:
                found = [error] * len(packed)
                self._slots = None
            for at, answer in zip(places, found, strict=True):
                answers[at] = answer

        if len(groups) == 1:
            await send(*groups.popitem())
        else:
            async with anyio.create_task_group() as tasks:
                for address, group in groups.items():
                    tasks.start_soon(send, address, group)
        faults = [answers[at] for at in left if isinstance(answers[at], WireError)]
        return min(faults, key=lambda fault: fault.is_stranger) if faults else None

    def _server(self, address: Address) -> _Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = _Server(self, address, self._timeout_s)
        return server

    def _address(self, host: str | bytes, port: int) -> Address:
        name = host.decode() if isinstance(host, bytes) else host
        return (name or self._first[0], int(port))

    # --- servers

    async def primaries(self) -> list[Address]:
        """Return every server that has data."""
        return sorted(set(await self._learned())) if self.is_cluster else [self._first]

    async def info(self, address: Address) -> Info:
        """Return what a server says of itself, known or not."""
        [answer] = await self._server(address).exchange([("INFO",)], is_guarded=False)
        if isinstance(answer, Exception):
            raise WireError(str(answer), is_sent=False)
        return _info(answer)

    async def setting(self, address: Address, name: str) -> bytes | None:
        """Return a setting of a server, None when it does not say."""
        [answer] = await self._server(address).exchange([("CONFIG", "GET", name)], is_guarded=False)
        return answer[1] if isinstance(answer, list) and len(answer) > 1 else None

    async def _learned(self) -> list[Address]:
        if self._slots is not None:
            return self._slots
        fault: WireError | None = None
        for address in [*self._servers, self._first]:
            try:
                [found] = await self._server(address).exchange([("CLUSTER", "SLOTS")], is_guarded=False)
            except WireError as error:
                fault = error
                continue
            if isinstance(found, Exception):
                raise WireError(f"no cluster: {found}", is_sent=False)
            slots = [self._first] * _SLOTS
            for first, last, primary, *_ in found:
                slots[first : last + 1] = [self._address(primary[0], primary[1])] * (last + 1 - first)
            self._slots = slots
            return slots
        raise fault or WireError("no server is known", is_sent=False)


class _Server:
    """One server's idle connections."""

    def __init__(self, wire: Wire, address: Address, timeout_s: float) -> None:
        self._wire = wire
        self._address = address
        self._timeout_s = timeout_s
        self._idle: list[tuple[Connection, float]] = []

    async def close(self) -> None:
        while self._idle:
            await _drop(self._idle.pop()[0])

    async def exchange(self, commands: Sequence[Any], *, is_guarded: bool) -> list[Any]:
        """Send commands and return the answers. Raises WireError."""
        connection: Connection | None = None
        is_sent = is_whole = False
        try:
            with _translated(self._address, lambda: is_sent), anyio.fail_after(self._timeout_s):
                connection = await self._acquire(is_guarded=is_guarded)
                packed = _packed(connection, commands)
                is_sent = True
                await connection.send_packed_command(packed, check_health=False)
                answers = [await _answer(connection) for _ in commands]
                is_whole = True
            if any(type(answer) is ReadOnlyError for answer in answers):
                # It was made a replica: its name may lead to another server by now.
                is_whole = False
                await self._wire.forget(self)
        except WireError:
            await self.close()  # the others are as old as this one was
            raise
        finally:
            is_whole = is_whole and not self._wire.is_closed
            if connection is not None and not (is_whole and is_guarded):
                await _drop(connection)
        if is_whole and is_guarded:
            self._idle.append((connection, time.monotonic()))
        return answers

    async def _acquire(self, *, is_guarded: bool) -> Connection:
        now = time.monotonic()
        while is_guarded and self._idle:
            connection, since = self._idle.pop()
            if now - since < _IDLE_S or await _is_alive(connection):
                return connection
            await _drop(connection)
        connection = self._wire.new_connection(self._address)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
            if is_guarded:
                await self._greet(connection)
        except BaseException:
            await _drop(connection)
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        """See who answers, and teach it the scripts."""
        commands: list[Any] = [("INFO",), *(("SCRIPT", "LOAD", script.text) for script in SCRIPTS)]
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        told, *loaded = [await _answer(connection) for _ in commands]
        for answer in (told, *loaded):
            if isinstance(answer, Exception):
                raise WireError(f"redis {self._address[0]}: {answer}", is_sent=False)
        info = _info(told)
        if info.get("role") != "master":
            raise WireError(f"redis {self._address[0]}:{self._address[1]} is a replica", is_sent=False)
        if info.get("run_id", "") not in self._wire.known:
            raise WireError("an unknown redis server", is_sent=False, is_stranger=True)


def _packed(connection: Connection, commands: Sequence[Any]) -> list[bytes]:
    """Return commands as they are sent; redis-py packs them in Python, which would be most of what a commit costs."""
    if _pack is None:
        return connection.pack_commands(commands)
    return [b"".join([_pack(tuple(command)) for command in commands])]


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _is_alive(connection: Connection) -> bool:
    try:
        with anyio.fail_after(_CONNECT_TIMEOUT_S):
            await connection.send_command("PING", check_health=False)
            return bool(await connection.read_response())
    except (RedisError, OSError, TimeoutError):
        return False


async def _drop(connection: Connection) -> None:
    with anyio.CancelScope(shield=True):
        try:
            await connection.disconnect(nowait=True)
        except (RedisError, OSError):
            return  # it is gone


@contextmanager
def _translated(address: Address, is_sent: Callable[[], bool]) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        what = str(error) or "no answer in time"
        is_timeout = isinstance(error, TimeoutError)
        raise WireError(f"redis {address[0]}:{address[1]}: {what}", is_sent=is_sent(), is_timeout=is_timeout) from error


def _as_sent(command: Command, answer: Any) -> Iterator[Sequence[Any]]:
    """Yield what is sent for a command, in the light of the answer before."""
    if isinstance(answer, AskError):
        yield ("ASKING",)
    if isinstance(answer, NoScriptError) and command.script is not None:
        yield ("EVAL", command.script.text, *command.args[2:])
    else:
        yield command.args


def _places(at: int, answer: Any) -> tuple[int, ...]:
    """Return where the answers to `_as_sent` belong: the last one counts."""
    return (at, at) if isinstance(answer, AskError) else (at,)


def _encoded(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _info(answer: bytes) -> Info:
    lines = answer.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
