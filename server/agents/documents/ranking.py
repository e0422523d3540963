"""From a question to the passages that answer it best: candidates from the index, then our own ranking.

The index gives the passages that share a word with the question, best by its BM25. They are ranked again with what it
cannot know: a related word counts less than the asked one, and no more than its own rarity allows; a heading or file
name says more than a text; words that stand together as in the question say more than apart; a passage that misses
most of what was asked is no answer (`coverage`); a file that speaks of the question in several places is the likelier
one; and a second passage of the same file tells less than the first of another. The index's own score is mixed in: it
errs in other ways than ours. Everything here blocks and belongs into a worker thread.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from .shapes import HEADING_MARK
from .thesaurus import related
from .words import STOP_WORDS, content_words, stem, stems

MAX_WORDS: Final = 24
"""The first words of a long question; the rest is detail that no passage repeats."""
_CANDIDATES: Final = 80
_RELATED_WEIGHT: Final = 0.6
_PREFIX_WEIGHT: Final = 0.6
_CONTEXT_WEIGHT: Final = 0.45
_LEAF, _ABOVE, _NAME, _TEXT, _CODE = 5.0, 2.0, 2.5, 1.0, 0.8
_K1, _B, _USUAL_WORDS = 2.0, 0.5, 110
_COVERAGE = 0.6
_TOGETHER = 0.3
_FILE = 0.2
_INDEX = 0.35
"""What the best passage by the index's BM25 gets, where the best by ours gets 1."""
_AGAIN = 0.7
"""What a passage keeps for each better one of the same file."""


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

    A longer list begins with the shorter one.

    Raises:
        sqlite3.Error: the index cannot be read, or the connection's time is over.
    """
    total = connection.execute("SELECT coalesce(max(passage_id), 0) FROM places").fetchone()[0]
    if question.is_empty or not total:
        return []
    candidates = _candidates(connection, question, names)
    scale = _Scale(question, _Rarity(connection, total))
    weighed = {row: scale.weigh(row) for row in candidates}
    files = _of_files(weighed)
    best = max((one.score + files[row.name] for row, one in weighed.items()), default=0.0) or 1.0
    best_of_index = max(candidates.values(), default=0.0) or 1.0
    places: dict[tuple[str, str], Found] = {}
    for row, one in weighed.items():
        score = (one.score + files[row.name]) / best + _INDEX * candidates[row] / best_of_index
        held = places.get(row[:2])
        if held is None or score > held.score:
            places[row[:2]] = Found(*row, score, one.coverage)
    return _spread(places.values(), limit)


def _of_files(weighed: Mapping[_Row, _Weighed]) -> Mapping[str, float]:
    """Return what a file's passages say together: each word of the question where it is said best."""
    said: dict[str, dict[str, float]] = defaultdict(dict)
    for row, one in weighed.items():
        for word, share in one.shares.items():
            said[row.name][word] = max(share, said[row.name].get(word, 0.0))
    return defaultdict(float, {name: _FILE * sum(shares.values()) for name, shares in said.items()})


def _spread(places: Iterable[Found], limit: int) -> list[Found]:
    """Return the best passages, those of a file that was taken already for less; scores are in order."""
    left = sorted(places, key=lambda found: (-found.score, found.name, found.heading))
    chosen: list[Found] = []
    taken: Counter[str] = Counter()
    while left and len(chosen) < limit:
        at = max(range(len(left)), key=lambda at: (left[at].score * _AGAIN ** taken[left[at].name], -at))
        found = left.pop(at)
        chosen.append(found._replace(score=found.score * _AGAIN ** taken[found.name]))
        taken[found.name] += 1
    return chosen


# --- the index


class _Row(NamedTuple):
    """A passage as the index has it."""

    name: str
    heading: str
    text: str


def _quoted(word: str) -> str:
    return '"' + word.replace('"', "") + '"'


class _Rarity:
    """How much a word tells, by how many passages have it."""

    def __init__(self, connection: sqlite3.Connection, total: int) -> None:
        self._connection = connection
        self._total = total
        self._known: dict[str, float] = {}

    def of(self, word: str) -> float:
        """Return the rarity of a word."""
        if word not in self._known:
            self._known[word] = self._looked_up(word)
        return self._known[word]

    def _looked_up(self, word: str) -> float:
        query = "SELECT count(*) FROM (SELECT 1 FROM passages WHERE passages MATCH ? LIMIT 20000)"
        count = self._connection.execute(query, (_quoted(word),)).fetchone()[0]
        return math.log(1 + (self._total - count + 0.5) / (count + 0.5)) if self._total >= count else 0.1


def _candidates(connection: sqlite3.Connection, question: Question, names: list[str] | None) -> dict[_Row, float]:
    """Return passages with what the index gives them for the asked words alone."""
    asked = [_quoted(word) for word in question.weights]
    prefixes = [f"{_quoted(word)}*" for word in question.weights if len(word) >= 5]
    others = [_quoted(other) for word in question.weights for other in related(word)]
    rows = _matching(connection, asked, names)
    for row in _matching(connection, [*asked, *prefixes, *others], names):
        rows.setdefault(row, 0.0)
    return rows


def _matching(connection: sqlite3.Connection, words: list[str], names: list[str] | None) -> dict[_Row, float]:
    filtered = "" if names is None else "AND name IN (SELECT value FROM json_each(:names))"
    query = f"""
        SELECT name, heading, text, -rank FROM passages WHERE passages MATCH :match {filtered}
        ORDER BY rank LIMIT :limit
    """
    bound = {"match": " OR ".join(words), "names": json.dumps(names), "limit": _CANDIDATES}
    return {_Row(name, heading, text): score for name, heading, text, score in connection.execute(query, bound)}


# --- the ranking


class _Term(NamedTuple):
    """A stem to look for and what it weighs; `others`: stems that mean the same, and what each weighs at most."""

    word: str
    weight: float
    others: tuple[tuple[str, float], ...]


class _Weighed(NamedTuple):
    """What a passage is worth, which part of the question it speaks of, and how strongly of each word."""

    score: float
    coverage: float
    shares: dict[str, float]


class _Scale:
    """Weighs passages against one question."""

    def __init__(self, question: Question, rarity: _Rarity) -> None:
        self._terms = [_term(word, weight, rarity) for word, weight in question.weights.items()]
        self._pairs = {
            (first.word, second.word): min(first.weight, second.weight) for first, second in pairwise(self._terms)
        }
        self._whole = sum(term.weight for term in self._terms) or 1.0

    def weigh(self, row: _Row) -> _Weighed:
        """Return what a passage is worth by itself."""
        above, _, leaf = row.heading.rpartition(HEADING_MARK)
        parts = row.text.split("```")  # prose and code in turn
        told, shown = stems(" ".join(parts[::2])), stems(" ".join(parts[1::2]))
        fields = [(stems(leaf), _LEAF), (stems(above), _ABOVE), (stems(row.name), _NAME), (told, _TEXT), (shown, _CODE)]
        strengths: dict[str, float] = defaultdict(float)
        for found, weight in fields:
            for word in found:
                strengths[word] += weight
        dampened = _K1 * (1 - _B + _B * (len(told) + len(shown)) / _USUAL_WORDS)
        covered = 0.0
        shares: dict[str, float] = {}
        for term in self._terms:
            weight, strength = _said(strengths, term)
            if strength:
                shares[term.word] = weight * strength / (strength + dampened)
                covered += weight
        coverage = covered / self._whole
        score = sum(shares.values()) * (1 - _COVERAGE + _COVERAGE * coverage)
        return _Weighed(score + _TOGETHER * self._together(fields), coverage, shares)

    def _together(self, fields: list[tuple[list[str], float]]) -> float:
        near = {pair for found, _ in fields for pair in pairwise(_carrying(found))} & self._pairs.keys()
        return sum(self._pairs[pair] for pair in near)


def _term(word: str, weight: float, rarity: _Rarity) -> _Term:
    own = weight * rarity.of(word)
    others = {stem(other): _RELATED_WEIGHT * min(own, weight * rarity.of(other)) for other in related(word)}
    return _Term(stem(word), own, tuple(others.items()))


def _carrying(found: list[str]) -> list[str]:
    return [word for word in found if word not in STOP_WORDS]


def _said(strengths: Mapping[str, float], term: _Term) -> tuple[float, float]:
    """Return what a passage's speaking of a term weighs, by itself or by a word like it, and how strongly it does."""
    if own := strengths.get(term.word):
        return term.weight, own
    akin = [(weight, strengths[other]) for other, weight in term.others if other in strengths]
    if akin:
        return max(akin)
    if len(term.word) < 5:
        return 0.0, 0.0
    begun = sum(strength for other, strength in strengths.items() if _is_begun(term.word, other))
    return _PREFIX_WEIGHT * term.weight, begun


def _is_begun(word: str, other: str) -> bool:
    return (len(word) >= 5 and other.startswith(word)) or (len(other) >= 6 and word.startswith(other))
