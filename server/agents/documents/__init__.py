"""The embedded default agent: answers from a folder of files, and from what was said in the session."""

from __future__ import annotations

from .agent import DocumentsAgent

__all__ = ["DocumentsAgent"]
