"""What the tests of the remote agent share: an endpoint of another server, and an agent that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.agents.remote import RemoteAgent
from tests.support.remote import Remote, remote_endpoint, running


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    async with remote_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def agent(remote: Remote) -> AsyncIterator[RemoteAgent]:
    opened = RemoteAgent(remote.url, headers={"Authorization": "Bearer key"}, timeout_s=5)
    async with running(opened):
        yield opened
