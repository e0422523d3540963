"""Every storage the contract is held against: each adapter a line in `BACKENDS`.

`storage` is any of them, `lone` one that belongs to one node, `shared` one that nodes share, `other` a second node on
that one. `again` and `lone_again` open the same data once more, as the next process would.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest
import redis

from server.core.storage import Storage
from server.storage.redis import RedisStorage
from server.storage.sqlite import SqliteStorage
from tests.support.redis import RedisCluster, RedisServer, is_installed, new_prefix, opened_redis, redis_storage

Made = Callable[[], Storage]
Again = Callable[[], AbstractAsyncContextManager[Storage]]


def _sqlite(durability: str) -> Callable[[pytest.FixtureRequest, Path], Made]:
    return lambda request, folder: lambda: SqliteStorage(folder, durability=durability)


def _redis(fixture: str) -> Callable[[pytest.FixtureRequest, Path], Made]:
    def made(request: pytest.FixtureRequest, folder: Path) -> Made:
        url, prefix = request.getfixturevalue(fixture), new_prefix()
        return lambda: redis_storage(url, prefix)

    return made


LONE: Final = {"sqlite-normal": _sqlite("normal"), "sqlite-full": _sqlite("full")}
SHARED: Final = {"redis": _redis("redis_url"), "redis-cluster": _redis("cluster_url")}
BACKENDS: Final = {**LONE, **SHARED}


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server for all tests; each has a prefix of its own."""
    if not is_installed():
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a cluster of three for all tests."""
    if not is_installed():
        pytest.skip("no redis-server on this machine")
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a server that one test may kill."""
    if not is_installed():
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path / "redis")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def own_redis(redis_server: RedisServer) -> AsyncIterator[RedisStorage]:
    """Open a storage on it."""
    async with opened_redis(redis_server.url) as storage:
        yield storage


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Look at it without the storage."""
    with redis.Redis(port=redis_server.port, protocol=2) as client:
        yield client


@pytest.fixture(params=list(BACKENDS.values()), ids=list(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Return what makes a storage on this test's data."""
    made: Made = request.param(request, tmp_path)
    return made


@pytest.fixture(params=list(LONE.values()), ids=list(LONE))
def lone_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Return what makes a storage of one node."""
    made: Made = request.param(request, tmp_path)
    return made


@pytest.fixture(params=list(SHARED.values()), ids=list(SHARED))
def shared_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    """Return what makes the storage of one of several nodes."""
    made: Made = request.param(request, tmp_path)
    return made


@asynccontextmanager
async def opened(backend: Made) -> AsyncIterator[Storage]:
    storage = backend()
    with anyio.fail_after(10):
        await storage.open()
        try:
            yield storage
        finally:
            await storage.close()


@pytest.fixture
async def storage(backend: Made) -> AsyncIterator[Storage]:
    async with opened(backend) as storage:
        yield storage


@pytest.fixture
def again(backend: Made, storage: Storage) -> Again:
    """Close the storage and open the same data once more."""
    return _again(backend, storage)


@pytest.fixture
async def lone(lone_backend: Made) -> AsyncIterator[Storage]:
    async with opened(lone_backend) as storage:
        yield storage


@pytest.fixture
def lone_again(lone_backend: Made, lone: Storage) -> Again:
    """The same for a storage of one node."""
    return _again(lone_backend, lone)


@pytest.fixture
async def shared(shared_backend: Made) -> AsyncIterator[Storage]:
    async with opened(shared_backend) as storage:
        yield storage


@pytest.fixture
async def other(shared_backend: Made, shared: Storage) -> AsyncIterator[Storage]:
    """Another node on the storage of `shared`."""
    async with opened(shared_backend) as storage:
        yield storage


def _again(backend: Made, storage: Storage) -> Again:
    @asynccontextmanager
    async def reopened() -> AsyncIterator[Storage]:
        await storage.close()
        async with opened(backend) as other:
            yield other

    return reopened
