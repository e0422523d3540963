"""What every test shares."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests, and the fixtures of any scope they use, on one asyncio loop."""
    return "asyncio"
