"""One server for all tests that need no settings of their own; each test is a user that nobody was before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from tests.http.kit import serving, somebody


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with short heartbeats and no limits."""
    async with serving(tmp_path_factory.mktemp("http"), HEARTBEAT_SECONDS="0.2") as running:
        yield running


@pytest.fixture
def user(server: Server) -> Caller:
    """A user."""
    return somebody(server)


@pytest.fixture
def other(server: Server) -> Caller:
    """Another user."""
    return somebody(server)


@pytest.fixture
def admin(server: Server) -> Caller:
    """The one who needs no name on his own machine."""
    return Caller(server.wire, "")
