"""The table of edge cases is whole, and what it names is there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

TESTS: Final = Path(__file__).parent
COUNT: Final = 60
EXCUSE: Final = "Not applicable because "


class Row(NamedTuple):
    """One row of the table."""

    number: int
    case: str
    rule: str
    tests: str


def rows(text: str) -> list[Row]:
    """Return the rows of the table in a Markdown text."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    return [Row(int(number), case.strip(), rule.strip(), tests.strip()) for number, case, rule, tests in lines]


@cache
def functions_of(file: Path) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(file.read_text("utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def missing(named: str) -> list[str]:
    """Return which of the named tests are nowhere."""
    found = []
    for name in named.split():
        path, _, function = name.partition("::")
        file = TESTS / path
        if not file.is_file() or function not in functions_of(file):
            found.append(name)
    return found


TABLE: Final = rows((TESTS / "EDGE-CASES.md").read_text("utf-8"))


def test_every_number_is_there_once_and_in_order() -> None:
    assert [row.number for row in TABLE] == list(range(1, COUNT + 1))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.number))
def test_every_row_has_a_rule_and_tests_that_exist_or_says_why_not(row: Row) -> None:
    assert row.case
    assert row.rule
    if row.tests.startswith(EXCUSE):
        assert len(row.tests) > len(EXCUSE) + 20
    else:
        assert row.tests
        assert missing(row.tests) == []


def test_a_test_that_is_not_there_is_found() -> None:
    assert missing("test_edge_cases.py::test_nothing nowhere.py::test_x") == [
        "test_edge_cases.py::test_nothing",
        "nowhere.py::test_x",
    ]
    assert missing("test_edge_cases.py::test_a_test_that_is_not_there_is_found") == []
