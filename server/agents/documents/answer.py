"""The words of an answer: what was found, quoted and with its sources, or that nothing was.

An answer is made of the documents' own sentences: the best stretch of each good passage, each with the number of its
source, then the list of all sources. No sentence is made up, and every answer says that no model is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .ranking import Found, Question
from .reading import is_item
from .shapes import HEADING_MARK
from .thesaurus import related
from .words import cut, sentences, stem, stems

NOTE: Final = "Quoted from the documents by word search; no language model is involved."
SURE_COVERAGE: Final = 0.5
"""Passages that speak of less of the question are called the closest ones, not the answer."""
_FIRST_CHARS, _OTHER_CHARS, _CODE_CHARS = 650, 320, 900
_MAX_QUOTED: Final = 3
_MIN_SHARE: Final = 0.5
"""Of the best score: what is weaker is named as a source but not quoted."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the agent says, and the sources it names."""

    text: str
    sources: list[dict[str, Any]] = field(default_factory=list)
    sure: bool = False
    """Whether the sources speak of most of what was asked."""


class _Unit(NamedTuple):
    """The smallest thing to quote; `paragraph` numbers the block that it belongs to."""

    text: str
    paragraph: int
    is_code: bool
    worth: float


def compose(found: Sequence[Found], question: Question, *, sure: bool, first: int = 1) -> Reply:
    """Return the answer that `found` (best first, not empty) gives; sources are numbered from `first`."""
    worths = _worths(question)
    parts: list[str] = []
    shown: set[str] = set()
    for number, passage in enumerate(found[:_MAX_QUOTED]):
        if passage.score >= _MIN_SHARE * found[0].score:
            limit = _OTHER_CHARS if number else _FIRST_CHARS
            units = [unit for unit in _units(passage.text, worths) if unit.text not in shown]
            chosen = _stretch(units, limit)
            if number and all(unit.is_code for unit in chosen):
                continue  # code alone explains nothing; its place is named below
            shown.update(unit.text for unit in chosen)
            if chosen:
                parts.append(_written(chosen, first + number))
    opening = [] if sure else ["I found no passage that answers this exactly. The closest ones say:"]
    listing = "\n".join(["Sources:", *(_source_line(first + at, passage) for at, passage in enumerate(found))])
    sources = [source(first + at, passage) for at, passage in enumerate(found)]
    return Reply("\n\n".join([*opening, *parts, listing, NOTE]), sources, sure)


def _source_line(number: int, passage: Found) -> str:
    return f"[{number}] {passage.name}{HEADING_MARK}{passage.heading}"


def source(number: int, passage: Found) -> dict[str, Any]:
    """Return a source as clients get it: in the metadata of a message, or of a tool's result."""
    return {"n": number, "file": passage.name, "heading": passage.heading, "score": round(passage.score, 3)}


def _worths(question: Question) -> dict[str, float]:
    worths: dict[str, float] = {}
    for word, weight in question.weights.items():
        for other in related(word):
            worths.setdefault(stem(other), 0.4 * weight)
    return worths | {stem(word): weight for word, weight in question.weights.items()}


def _units(text: str, worths: dict[str, float]) -> list[_Unit]:
    units: list[_Unit] = []
    for paragraph, block in enumerate(_blocks(text)):
        is_code = block.startswith("```")
        pieces = [block] if is_code else block.split("\n") if is_item(block) else sentences(block)
        for piece in pieces:
            found = set(stems(piece))
            worth = sum(weight for word, weight in worths.items() if word in found)
            units.append(_Unit(piece, paragraph, is_code, worth * (0.5 if is_code else 1.0)))
    return units


def _blocks(text: str) -> list[str]:
    """Return the paragraphs of a passage; blank lines inside code do not part it."""
    blocks: list[str] = []
    in_code = False
    for part in text.split("\n\n"):
        if in_code:
            blocks[-1] += "\n\n" + part
        else:
            blocks.append(part)
        in_code = blocks[-1].startswith("```") and (len(blocks[-1]) < 7 or not blocks[-1].endswith("```"))
    return blocks


def _stretch(units: list[_Unit], limit: int) -> list[_Unit]:
    """Return the run of units that says most within `limit` characters; an example that was announced comes with it."""
    if not units:
        return []
    start = max(range(len(units)), key=lambda at: (_value(units, at, limit), -at))
    chosen = _run(units, start, limit)
    after = start + len(chosen)
    while chosen[-1].text.endswith(":") and after < len(units) and _fits(units[after], chosen):
        chosen.append(units[after])
        after += 1
    while len(chosen) > 1 and chosen[-1].text.endswith(":"):
        chosen.pop()
    return chosen


def _run(units: list[_Unit], start: int, limit: int) -> list[_Unit]:
    chosen: list[_Unit] = []
    size = 0
    for unit in units[start:]:
        size += len(unit.text)
        room = limit + (_CODE_CHARS if unit.is_code and chosen and chosen[-1].text.endswith(":") else 0)
        if chosen and size > room:
            break
        chosen.append(unit)
    return chosen


def _value(units: list[_Unit], start: int, limit: int) -> float:
    # Each next unit counts a little less, so that a run begins where it matters; code alone explains nothing.
    run = _run(units, start, limit)
    worth = sum(unit.worth * 0.85**at for at, unit in enumerate(run))
    return worth * (0.5 if run[0].is_code else 1.0) + (0.2 if start == 0 else 0.0)


def _fits(unit: _Unit, chosen: list[_Unit]) -> bool:
    return len(unit.text) + sum(len(other.text) for other in chosen) <= _FIRST_CHARS + _CODE_CHARS


def _written(chosen: list[_Unit], number: int) -> str:
    """Write units as they stood, the source's number after the last sentence before any final code."""
    last = max((at for at, unit in enumerate(chosen) if not unit.is_code), default=-1)
    parts: list[str] = [] if last >= 0 else [f"[{number}]"]
    for at, unit in enumerate(chosen):
        text = _shortened(unit)
        if at == last:
            text = f"{text[:-1]} [{number}]:" if text.endswith(":") else f"{text} [{number}]"
        if at and unit.paragraph == chosen[at - 1].paragraph:
            parts[-1] += ("\n" if is_item(unit.text) or is_item(chosen[at - 1].text) else " ") + text
        else:
            parts.append(text)
    return "\n\n".join(parts)


def _shortened(unit: _Unit) -> str:
    if len(unit.text) <= _CODE_CHARS:
        return unit.text
    if not unit.is_code:
        return unit.text[: cut(unit.text, _CODE_CHARS)].rstrip() + " \N{HORIZONTAL ELLIPSIS}"
    at = unit.text.rfind("\n", 0, _CODE_CHARS)
    kept = unit.text[: at if at > 0 else cut(unit.text, _CODE_CHARS)]
    return f"{kept}\n\N{HORIZONTAL ELLIPSIS}\n```"
