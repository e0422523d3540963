"""Places to move from and to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.storage.sqlite import SqliteStorage
from tests.storage.places import Place
from tests.support.redis import RedisServer, is_installed, new_prefix, redis_storage


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if not is_installed():
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], Place]:
    """Return what makes a data folder's place; the folder is not made."""

    def make(name: str) -> Place:
        folder = tmp_path / name
        return Place(f"sqlite:///{folder}", "", lambda: SqliteStorage(folder, durability="normal"))

    return make


@pytest.fixture
def shared(redis: RedisServer) -> Place:
    prefix = new_prefix()
    return Place(redis.url, prefix, lambda: redis_storage(redis.url, prefix))


@pytest.fixture(params=["sqlite to redis", "redis to sqlite", "sqlite to sqlite"])
def pair(request: pytest.FixtureRequest, files: Callable[[str], Place], shared: Place) -> tuple[Place, Place]:
    places = {"sqlite": files("a"), "redis": shared}
    source, _, target = request.param.partition(" to ")
    return places[source], files("b") if source == target else places[target]
