"""The storage that several nodes share: Redis, Valkey, or a cluster of either."""

from __future__ import annotations

from .storage import RedisStorage

__all__ = ["RedisStorage"]
