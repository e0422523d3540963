"""Move all sessions of a stopped deployment from one storage to another, and prove that they are the same there.

    scripts/migrate sqlite:///data redis://localhost:6379/0
    scripts/migrate redis://localhost:6379/0 sqlite:////var/lib/sessionstream
    scripts/migrate --verify sqlite:///data redis://localhost:6379/0      compares only, writes nothing

Cursors of clients stay good: they resume where they were. The source is only read. Interrupted, or killed, it goes on
when it is called again: what is there and equal is passed over. At the end both sides are read and compared by counts
and hashes; exits 1 when anything differs, 2 when it refuses.

`sqlite:///` is followed by a data folder, or a .db file in one: relative to the repository, or absolute (four slashes).
Redis is as in REDIS_URL, its keys begin with REDIS_PREFIX; TOMBSTONE_DAYS says how long it keeps what has ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio

from scripts.migration.compare import compare
from scripts.migration.move import Move
from server.core.ports import StorageError
from server.errors import ConfigError
from server.settings import Settings, read_settings
from server.storage.moving import Movable, MoveRefused
from server.storage.sqlite_moving import MovableSqlite

_SQLITE: Final = "sqlite:///"
_DIFFERENT: Final = 1
_REFUSED: Final = 2
_INTERRUPTED: Final = 130


def storage_at(url: str, settings: Settings, *, is_forced: bool) -> Movable:
    """Return the storage that a URL names, not opened.

    Raises:
        ConfigError: it names none.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return MovableSqlite(Path(url.removeprefix(_SQLITE)))
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ConfigError("a storage is sqlite:///FOLDER, or a URL that begins with redis://, rediss:// or unix://")
    try:
        # Imported when it is wanted: its package is an extra.
        from server.storage.redis.moving import MovableRedis
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ConfigError("redis needs an extra: pip install 'sessionstream[redis]'") from error
    try:
        return MovableRedis(
            url,
            prefix=settings.redis_prefix,
            tombstone_s=settings.tombstone_days * 86_400,
            is_forced=is_forced,
        )
    except ValueError:  # its text may hold a piece of the password
        raise ConfigError("the Redis URL must be redis://user:password@host:port/database") from None


async def migrate(source: Movable, target: Movable, *, is_only_compared: bool) -> bool:
    """Move and compare; return whether both are equal."""
    async with AsyncExitStack() as stack:
        for storage in (source, target):
            stack.push_async_callback(storage.close)
            await storage.open()
        if is_only_compared:
            await source.require_settled()
        else:
            move = Move(source, target)
            await move.run()
            print(f"{move.written:,} sessions written, {move.passed:,} were there already")
        found = await compare(source, target)
    print(found.report())
    return found.is_equal


async def _main(arguments: argparse.Namespace) -> int:
    try:
        if arguments.source == arguments.target:
            raise MoveRefused("source and target are the same")
        settings = read_settings(os.environ)
        source, target = (
            storage_at(url, settings, is_forced=arguments.force) for url in (arguments.source, arguments.target)
        )
        is_equal = await migrate(source, target, is_only_compared=arguments.verify)
    except (MoveRefused, ConfigError, StorageError, ExceptionGroup) as error:
        cause = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]  # several in flight met the same
        if not isinstance(cause, (MoveRefused, ConfigError, StorageError)):
            raise
        print(f"scripts/migrate: {cause}", file=sys.stderr)
        return _DIFFERENT if isinstance(cause, StorageError) else _REFUSED
    return 0 if is_equal else _DIFFERENT


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/migrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="where the sessions are; never changed")
    parser.add_argument("target", help="where they go: empty, or what an earlier call has begun")
    parser.add_argument("--verify", action="store_true", help="only compare both sides")
    parser.add_argument("--force", action="store_true", help="also while a node's lease in Redis is not over")
    return parser.parse_args()


if __name__ == "__main__":
    # Ended by a time limit, it ends as by Ctrl-C, also where a shell hands that on ignored: what is being written is
    # finished first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        sys.exit(anyio.run(_main, _arguments()))
    except KeyboardInterrupt:
        print("scripts/migrate: interrupted; the same call goes on from here", file=sys.stderr)
        sys.exit(_INTERRUPTED)
