"""From a question to the passages that answer it best: candidates from the index, then our own ranking.

The index gives every passage that shares a word with the question, best by its BM25. These are ranked again with what
it cannot know: a related word counts less than the asked one and never twice, a heading or file name says more than a
text, words that stand together as in the question say more than apart, and a passage that misses most of what was asked
is no answer at all (`coverage`). Everything here blocks and belongs into a worker thread.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from .shapes import HEADING_MARK
from .words import STOP_WORDS, content_words, related, stem, stems

MAX_WORDS: Final = 24
"""The first words of a long question; the rest is detail that no passage repeats."""
_CANDIDATES: Final = 80
_RELATED_WEIGHT: Final = 0.45
_PREFIX_WEIGHT: Final = 0.6
_CONTEXT_WEIGHT: Final = 0.45
_LEAF, _ABOVE, _NAME, _TEXT, _CODE = 5.0, 2.0, 2.5, 1.0, 0.5
_K1, _B, _USUAL_WORDS = 2.0, 0.5, 110
_COVERAGE = 0.6
_TOGETHER = 0.3


@dataclass(frozen=True, slots=True)
class Question:
    """Words to look for, each with its weight: 1 for what was asked, less for what the question before it was about."""

    weights: dict[str, float] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing to look for."""
        return not self.weights


class Found(NamedTuple):
    """A passage that answers. `coverage`: which part of the question's weight it speaks of, 0 to 1."""

    name: str
    heading: str
    text: str
    score: float
    coverage: float


def ask(text: str, context: str = "") -> Question:
    """Return what to look for: the words of `text`, and with less weight those of `context`."""
    weights = dict.fromkeys(content_words(context)[:MAX_WORDS], _CONTEXT_WEIGHT)
    asked = dict.fromkeys(content_words(text)[:MAX_WORDS], 1.0)
    mine = {stem(word) for word in asked}
    return Question(asked | {word: weight for word, weight in weights.items() if stem(word) not in mine})


def find(connection: sqlite3.Connection, question: Question, names: list[str] | None, limit: int) -> list[Found]:
    """Return the best passages, one for each heading of a file, best first; `names` restricts the files.

    Raises:
        sqlite3.Error: the index cannot be read, or the connection's time is over.
    """
    total = connection.execute("SELECT coalesce(max(passage_id), 0) FROM places").fetchone()[0]
    if question.is_empty or not total:
        return []
    rarity = {word: _rarity(connection, word, total) for word in question.weights}
    scale = _Scale(question, rarity)
    best: dict[tuple[str, str], Found] = {}
    for name, heading, text in _candidates(connection, question, names):
        found = scale.weigh(name, heading, text)
        held = best.get((name, heading))
        if held is None or found.score > held.score:
            best[name, heading] = found
    return sorted(best.values(), key=lambda found: (-found.score, found.name, found.heading))[:limit]


def _quoted(word: str) -> str:
    return '"' + word.replace('"', "") + '"'


def _rarity(connection: sqlite3.Connection, word: str, total: int) -> float:
    query = "SELECT count(*) FROM (SELECT 1 FROM passages WHERE passages MATCH ? LIMIT 20000)"
    count = connection.execute(query, (_quoted(word),)).fetchone()[0]
    return math.log(1 + (total - count + 0.5) / (count + 0.5)) if total >= count else 0.1


def _candidates(
    connection: sqlite3.Connection, question: Question, names: list[str] | None
) -> list[tuple[str, str, str]]:
    asked = [_quoted(word) for word in question.weights]
    prefixes = [f"{_quoted(word)}*" for word in question.weights if len(word) >= 5]
    others = [_quoted(other) for word in question.weights for other in related(word)]
    filtered = "" if names is None else "AND name IN (SELECT value FROM json_each(:names))"
    query = f"""
        SELECT name, heading, text FROM passages WHERE passages MATCH :match {filtered}
        ORDER BY bm25(passages, 2.0, 4.0, 1.0, 0.5) LIMIT :limit
    """
    rows: dict[tuple[str, str, str], None] = {}
    for words in (asked, [*asked, *prefixes, *others]):
        bound = {"match": " OR ".join(words), "names": json.dumps(names), "limit": _CANDIDATES}
        rows.update(dict.fromkeys(connection.execute(query, bound)))
    return list(rows)


class _Scale:
    """Weighs passages against one question."""

    def __init__(self, question: Question, rarity: dict[str, float]) -> None:
        self._terms = [
            (stem(word), frozenset(map(stem, related(word))), weight * rarity[word])
            for word, weight in question.weights.items()
        ]
        self._pairs = {(first[0], second[0]): min(first[2], second[2]) for first, second in pairwise(self._terms)}
        self._whole = sum(weight for _, _, weight in self._terms) or 1.0

    def weigh(self, name: str, heading: str, text: str) -> Found:
        """Return the passage with its score."""
        above, _, leaf = heading.rpartition(HEADING_MARK)
        parts = text.split("```")  # prose and code in turn
        told, shown = stems(" ".join(parts[::2])), stems(" ".join(parts[1::2]))
        fields = [(stems(leaf), _LEAF), (stems(above), _ABOVE), (stems(name), _NAME), (told, _TEXT), (shown, _CODE)]
        counts = [(Counter(found), weight) for found, weight in fields]
        dampened = _K1 * (1 - _B + _B * (len(told) + len(shown)) / _USUAL_WORDS)
        score = covered = 0.0
        for word, others, weight in self._terms:
            part = _share(counts, word, others, dampened)
            score += weight * part[0]
            covered += weight * part[1]
        coverage = covered / self._whole
        score *= 1 - _COVERAGE + _COVERAGE * coverage
        return Found(name, heading, text, score + _TOGETHER * self._together(fields), coverage)

    def _together(self, fields: list[tuple[list[str], float]]) -> float:
        near = {pair for found, _ in fields for pair in pairwise(_carrying(found))} & self._pairs.keys()
        return sum(self._pairs[pair] for pair in near)


def _carrying(found: list[str]) -> list[str]:
    return [word for word in found if word not in STOP_WORDS]


def _share(
    counts: list[tuple[Counter[str], float]], word: str, others: frozenset[str], dampened: float
) -> tuple[float, float]:
    """Return how strongly a passage speaks of one word (0 to 1), and whether it does (1, or less for a relative)."""
    own = sum(weight * found[word] for found, weight in counts)
    if own:
        return own / (own + dampened), 1.0
    akin = sum(weight * found[other] for found, weight in counts for other in others)
    if akin:
        return _RELATED_WEIGHT * akin / (akin + dampened), _RELATED_WEIGHT
    if len(word) < 5:
        return 0.0, 0.0
    begun = sum(weight * count for found, weight in counts for other, count in found.items() if _is_begun(word, other))
    return _PREFIX_WEIGHT * begun / (begun + dampened), _PREFIX_WEIGHT if begun else 0.0


def _is_begun(word: str, other: str) -> bool:
    return (len(word) >= 5 and other.startswith(word)) or (len(other) >= 6 and word.startswith(other))
