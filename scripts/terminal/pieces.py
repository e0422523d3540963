"""Pieces: what can be shown, one value each, in the order in which it was said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["plain", "good", "bad", "quiet"]


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the person's."""

    text: str


@dataclass(frozen=True, slots=True)
class Typed:
    """A command of the person's."""

    text: str


@dataclass(frozen=True, slots=True)
class Prose:
    """Markdown of an answer: whole blocks, or, while it grows, the beginning of one."""

    text: str
    continues: bool = False
    """It belongs to the block before it."""


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A tool call; `arguments` are JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answered:
    """What a tool returned."""

    content: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that waits for the person: an interrupt as the session's state has it."""

    question: dict[str, Any]

    @property
    def id(self) -> str:
        """What to answer to."""
        return str(self.question["id"])

    @property
    def is_approval(self) -> bool:
        """Whether the answer is yes or no."""
        schema = self.question.get("responseSchema")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        return self.question.get("reason") == "approval" or (isinstance(properties, dict) and "approved" in properties)


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the program's own."""

    text: str
    tone: Tone = "quiet"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings, which may be empty."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Piece = Said | Typed | Prose | Thought | Called | Answered | Asked | Note | Table
