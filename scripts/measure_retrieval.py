"""Measure retrieval: how often the right file is among the first three sources, beside plain BM25 by heading.

    scripts/measure_retrieval [FOLDER QUESTIONS]

Without arguments: this project's own documents and the questions about them. QUESTIONS is a TOML file: lists of
`{text, files}` by name, where `files` are paths below FOLDER, each of which answers. Plain BM25 is what SQLite's FTS5
gives out of the box: a row for each heading with all that stands under it, English stems, the question's words joined
by OR. `--misses` prints the questions that were missed in the lists that are named after it.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import threading
import tomllib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.agents.documents.folder import Folder, own_documents
from server.agents.documents.index import Index
from server.agents.documents.ranking import ask, find
from server.agents.documents.words import STOP_WORDS, words

ROOT: Final = Path(__file__).resolve().parents[1]
OWN_QUESTIONS: Final = ROOT / "tests" / "agents" / "retrieval" / "own_questions.toml"
TOP: Final = 3
_TIMEOUT_S: Final = 60.0

Search = Callable[[str], list[str]]
"""From a question to the files of the best passages, best first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question; each of `files` answers it."""

    text: str
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tally:
    """How one search did on one list of questions."""

    asked: int
    misses: Sequence[Asked]

    @property
    def hits(self) -> int:
        """Questions whose file was among the first."""
        return self.asked - len(self.misses)


def read_questions(path: Path) -> dict[str, list[Asked]]:
    """Return the lists of questions in a file, by name."""
    lists = tomllib.loads(path.read_text("utf-8"))
    return {name: [Asked(one["text"], frozenset(one["files"])) for one in asked] for name, asked in lists.items()}


def tally(search: Search, asked: Sequence[Asked]) -> Tally:
    """Ask all questions of one search."""
    return Tally(len(asked), [one for one in asked if not one.files & set(search(one.text)[:TOP])])


def indexed(folder: Folder) -> Index:
    """Return the documents agent's index of a folder, complete, in a temporary file; the caller closes it."""
    index = Index(folder, None)
    index.refresh(threading.Event())
    if index.trouble:
        raise SystemExit(index.trouble)
    return index


def our_search(index: Index) -> Search:
    """Return the documents agent's own search."""

    def search(text: str) -> list[str]:
        with index.reading(_TIMEOUT_S) as connection:
            assert connection is not None
            return [found.name for found in find(connection, ask(text), None, TOP)]

    return search


def plain_search(index: Index) -> Search:
    """Return plain BM25 by heading over what the index has read."""
    plain = sqlite3.connect(":memory:")
    plain.execute("CREATE VIRTUAL TABLE sections USING fts5 (name UNINDEXED, section, tokenize = 'porter unicode61')")
    with index.reading(_TIMEOUT_S) as connection:
        assert connection is not None
        sections: dict[tuple[str, str], list[str]] = {}
        for name, heading, text in connection.execute("SELECT name, heading, text FROM passages ORDER BY rowid"):
            sections.setdefault((name, heading), [heading]).append(text)
    rows = [(name, "\n\n".join(texts)) for (name, _), texts in sections.items()]
    plain.executemany("INSERT INTO sections VALUES (?, ?)", rows)

    def search(text: str) -> list[str]:
        match = " OR ".join(f'"{word}"' for word in words(text) if word not in STOP_WORDS)
        query = "SELECT name FROM sections WHERE sections MATCH ? ORDER BY rank LIMIT ?"
        return [str(name) for (name,) in plain.execute(query, (match, TOP))] if match else []

    return search


def main(arguments: Sequence[str]) -> int:
    """Print one line for each list of questions."""
    parser = argparse.ArgumentParser(prog="scripts/measure_retrieval", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="the documents; this project's own if left out")
    parser.add_argument("questions", nargs="?", type=Path, default=OWN_QUESTIONS, help="a TOML file of questions")
    parser.add_argument("--misses", nargs="*", default=[], metavar="LIST", help="print what was missed of these lists")
    chosen = parser.parse_args(arguments)
    folder = Folder(chosen.folder) if chosen.folder else own_documents(ROOT / "server")
    assert folder is not None
    with closing(indexed(folder)) as index:
        print(f"{index.files} files, {index.passages} passages; right file among the first {TOP}:")
        for name, asked in read_questions(chosen.questions).items():
            ours, plain = tally(our_search(index), asked), tally(plain_search(index), asked)
            print(f"{name:12} ours {ours.hits} of {ours.asked}, plain BM25 by heading {plain.hits} of {plain.asked}")
            if name in chosen.misses:
                print("\n".join(f"    {one.text} ({', '.join(sorted(one.files))})" for one in ours.misses))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
