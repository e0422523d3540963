"""Retrieval: the right file is among the first sources, for questions in words that differ from the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scripts.measure_retrieval import (
    OWN_QUESTIONS,
    ROOT,
    indexed,
    main,
    our_search,
    read_questions,
    tally,
)
from server.agents.documents.folder import Folder, own_documents
from server.agents.documents.index import Index
from server.agents.documents.ranking import ask, find


@pytest.fixture(scope="module")
def own() -> Iterator[Index]:
    documents = own_documents(ROOT / "server")
    assert documents is not None
    with closing(indexed(documents)) as index:
        yield index


def found(folder: Path, question: str, limit: int = 3) -> list[str]:
    with closing(indexed(Folder(folder))) as index, index.reading(10) as connection:
        assert connection is not None
        return [one.name for one in find(connection, ask(question), None, limit)]


def test_questions_about_this_project_find_their_file(own: Index) -> None:
    """The requirement: measured in the repository, too. The documents change: some room is left."""
    ours = tally(our_search(own), read_questions(OWN_QUESTIONS)["own"])

    assert ours.hits >= 0.8 * ours.asked, [one.text for one in ours.misses]


def test_the_lists_of_questions_are_whole() -> None:
    """Each list has the forty questions that are spoken of, none twice."""
    lists = read_questions(OWN_QUESTIONS.with_name("questions.toml"))
    texts = [one.text for asked in lists.values() for one in asked]

    assert {name: len(asked) for name, asked in lists.items()} == {"tuning": 40, "held_out": 40, "everyday": 40}
    assert len(set(texts)) == len(texts)
    assert all(one.files for asked in lists.values() for one in asked)


def test_the_command_prints_both_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "walrus.md").write_text("# Walruses\n\nThey have tusks.\n")
    (tmp_path / "other.md").write_text("# Other\n\nNothing of the kind.\n")
    questions = tmp_path / "questions.toml"
    questions.write_text(
        'all = [{text = "walrus tusks?", files = ["walrus.md"]}, {text = "zebra?", files = ["other.md"]}]'
    )

    assert main([str(tmp_path), str(questions), "--misses", "all"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 files, 2 passages; right file among the first 3:",
        "all          ours 1 of 2, plain BM25 by heading 1 of 2",
        "    zebra? (other.md)",
    ]


def test_a_rare_words_relative_says_no_more_than_itself(tmp_path: Path) -> None:
    """A word that no file has must not make a common word of like meaning the most telling one."""
    for number in range(8):
        (tmp_path / f"{number}.md").write_text(f"# Part {number}\n\nA message about a message in part {number}.\n")
    (tmp_path / "tusks.md").write_text("# Walruses\n\nTusks are long.\n")

    assert found(tmp_path, "Is there a letter about tusks?")[0] == "tusks.md"


def test_the_first_places_are_not_all_of_one_file(tmp_path: Path) -> None:
    """A second passage of a file tells less than the first of another that is nearly as good."""
    sections = "\n\n".join(f"## Limit {name}\n\nThe limit of walruses." for name in ("one", "two", "three"))
    (tmp_path / "a.md").write_text(f"# Limits\n\n{sections}\n")
    (tmp_path / "b.md").write_text("# Herds\n\nThere is a limit of walruses in a herd.\n")

    assert set(found(tmp_path, "limit of walruses")) == {"a.md", "b.md"}


def test_a_longer_list_begins_with_the_shorter(own: Index) -> None:
    """Our contract: "tell me more" goes on where the first answer ended."""
    with own.reading(10) as connection:
        assert connection is not None
        question = ask("How do I run several nodes?")
        lists = [find(connection, question, None, limit) for limit in (1, 3, 10)]

    assert lists[2][:3] == lists[1]
    assert lists[1][:1] == lists[0]
    assert [one.score for one in lists[2]] == sorted((one.score for one in lists[2]), reverse=True)


def test_a_method_in_capitals_is_a_name(tmp_path: Path) -> None:
    """PUT and put are two words, as people write them."""
    (tmp_path / "put.md").write_text("# Other methods\n\nBrowsers cannot send PUT.\n")
    (tmp_path / "form.md").write_text("# Forms\n\nA form for browsers.\n")

    assert found(tmp_path, "What about PUT?") == ["put.md"]
    assert found(tmp_path, "What can I put?") == []
