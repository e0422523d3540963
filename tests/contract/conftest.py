"""Every storage the contract is held against: each adapter a line in `BACKENDS`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest

from server.core.ports import Storage
from server.storage.sqlite import SqliteStorage

BACKENDS: Final[dict[str, Callable[[Path], Storage]]] = {
    "sqlite-normal": lambda folder: SqliteStorage(folder, durability="normal"),
    "sqlite-full": lambda folder: SqliteStorage(folder, durability="full"),
}


@pytest.fixture(params=list(BACKENDS.values()), ids=list(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """Return what makes a storage on this test's data."""
    return lambda: request.param(tmp_path)


@asynccontextmanager
async def opened(backend: Callable[[], Storage]) -> AsyncIterator[Storage]:
    storage = backend()
    with anyio.fail_after(10):
        await storage.open()
        try:
            yield storage
        finally:
            await storage.close()


@pytest.fixture
async def storage(backend: Callable[[], Storage]) -> AsyncIterator[Storage]:
    async with opened(backend) as storage:
        yield storage


@pytest.fixture
def again(backend: Callable[[], Storage], storage: Storage) -> Callable[[], AbstractAsyncContextManager[Storage]]:
    """Close the storage and open the same data once more."""

    @asynccontextmanager
    async def reopened() -> AsyncIterator[Storage]:
        await storage.close()
        async with opened(backend) as other:
            yield other

    return reopened
