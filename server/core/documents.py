"""A folder of documents that an agent answers from, as requests see it: listed, added to, taken from.

Names are paths below the folder, with `/`. Methods wait for the disk and for the index, each in bounded time, and may
be called at the same time. What is wrong with a request is raised as `SessionstreamError`: `invalid_field` (422, field
`name`), `document_not_found`, `document_exists`, `document_too_large`, `documents_read_only`, `documents_unavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file. `size` in bytes, `modified_at` in Unix seconds, `reason`: why it gives no text, or not all of it."""

    name: str
    size: int
    modified_at: float
    passages: int = 0
    status: Literal["indexed", "unreadable", "pending"] = "pending"
    """`pending`: the file is in the folder and the index has not read it yet."""
    reason: str = ""


class DocumentPage(NamedTuple):
    """Documents by name, and whether there are more after the last of them."""

    documents: Sequence[Document]
    has_more: bool


class Documents(Protocol):
    """The documents of one agent."""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be added or taken: they are this project's own."""

    async def page(self, after: str, limit: int, containing: str) -> DocumentPage:
        """Return those that the index has read: by name, those after `after`, with `containing` in it (any case)."""

    async def add(self, name: str, content: bytes, *, replace: bool) -> tuple[Document, bool]:
        """Put a file into the folder, whole or not at all; return what the index made of it, and whether it is new."""

    async def remove(self, name: str) -> bool:
        """Take a file out of the folder; return whether the index has forgotten it already."""
