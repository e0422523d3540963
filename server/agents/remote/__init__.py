"""The remote agent: any endpoint that speaks AG-UI over HTTP, run as one of ours."""

from __future__ import annotations

from .agent import RemoteAgent

__all__ = ["RemoteAgent"]
