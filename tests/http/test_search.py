"""GET /api/sessions?q=…: what is found, and what never is."""

from __future__ import annotations

import pytest

from scripts.blackbox.arena import script
from scripts.blackbox.caller import Caller
from tests.http.kit import ask, eventually, new_session


async def found(caller: Caller, text: str) -> set[str]:
    """Return the ids of the sessions that a search finds."""
    answer = await caller.call("GET", "/api/sessions", query={"q": text})
    assert answer.status == 200, answer.body
    return {one["session_id"] for one in answer.json()["sessions"]}


async def said(caller: Caller, session_id: str, text: str) -> None:
    """Let the agent say a text in a session; the question holds none of it."""
    steps = "".join(f"\\u{ord(letter):04x}" for letter in text)
    await ask(caller, f'{{"steps": [{{"text": "{steps}"}}]}}', session_id=session_id)


async def test_titles_questions_and_answers_are_searched(user: Caller) -> None:
    await new_session(user, session_id="titled", title="Gardening at night")
    await ask(user, "how do I water orchids", session_id="asked")
    await said(user, "answered", "use rainwater")

    assert await found(user, "gardening") == {"titled"}
    assert await found(user, "orchids") == {"asked"}
    assert await found(user, "rainwater") == {"answered"}
    assert await found(user, "zebra") == set()


async def test_the_beginning_of_a_word_finds_it_and_its_end_does_not(user: Caller) -> None:
    await new_session(user, session_id="s", title="Photosynthesis")

    assert await found(user, "photo") == {"s"}
    assert await found(user, "PHOTOS") == {"s"}
    assert await found(user, "synthesis") == set()


async def test_all_words_must_be_in_one_text_in_any_order(user: Caller) -> None:
    await new_session(user, session_id="both", title="red apples and pears")
    await new_session(user, session_id="one", title="red cars")

    assert await found(user, "apples red") == {"both"}
    assert await found(user, "red") == {"both", "one"}


@pytest.mark.parametrize(
    ("title", "query"),
    [
        ("Café crème", "cafe creme"),
        ("Cafe creme", "café crème"),
        ("Cafe\u0301 noir", "café"),
        ("Ångström", "angstrom"),
        ("Việt Nam", "viet nam"),
        ("ПРИВЕТ мир", "привет"),
        ("ΑΘΗΝΑ", "αθηνα"),
        ("naïve-approach (v2.0)", "naive approach v2"),
        ("snake_case_name", "snake_case"),
        ("東京タワーの高さ", "タワー"),
        ("한국어 문서입니다", "문서"),
        ("北京大学的历史", "大学"),
        ("ภาษาไทย", "ไทย"),
        ("mix 東京 tower", "東京"),
    ],
)
async def test_diacritics_scripts_and_punctuation_do_not_hide_a_title(user: Caller, title: str, query: str) -> None:
    await new_session(user, session_id="s", title=title)
    await new_session(user, session_id="t", title="something else")

    assert await found(user, query) == {"s"}


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '""',
        '"needle',
        "*",
        "needle*",
        "NEAR(",
        "NEAR(needle thread)",
        "owner:",
        "owner : needle",
        "title:needle",
        "{owner text}: needle",
        "needle OR thread",
        "needle NOT thread",
        "NOT",
        "AND",
        "^needle",
        "needle + thread",
        "-needle",
        "(needle",
        "needle)",
        "'; DROP TABLE sessions; --",
        "%",
        "_",
        "\\",
        "a\\%",
        "東京%",
        "東_",
        "\u202eneedle",
        "\ufeff",
        "\u0301",
        "💥",
        "½ ² ٣",
        "x" * 200,
        " ".join("abcdefghijklmnopqrstuvwxyz") + " needle",
    ],
)
async def test_no_query_is_an_error_or_finds_what_is_anothers(user: Caller, other: Caller, query: str) -> None:
    await new_session(other, session_id="theirs", title="needle thread 東京 a b c owner title")
    await said(other, "theirs-too", "needle and thread, 100% 東京")

    assert await found(user, query) == set()


async def test_a_query_of_signs_alone_finds_nothing_and_one_of_spaces_is_none(user: Caller) -> None:
    await new_session(user, session_id="s", title="needle * 100%")

    assert await found(user, "*") == set()
    assert await found(user, "   ") == {"s"}
    assert await found(user, "") == {"s"}


async def test_wildcards_of_the_database_are_letters(user: Caller) -> None:
    await new_session(user, session_id="s", title="東京タワー")

    assert await found(user, "東%ワ") == set()
    assert await found(user, "東_") == set()


async def test_a_search_follows_renaming_clearing_and_the_words_of_a_run(user: Caller) -> None:
    await new_session(user, session_id="s", title="before")
    await said(user, "s", "the answer is oatmeal")
    await user.call("PATCH", "/api/sessions/s", {"title": "after"})

    assert await found(user, "before") == set()
    assert await found(user, "after") == {"s"}
    assert await found(user, "oatmeal") == {"s"}

    await user.call("DELETE", "/api/sessions/s/messages")

    assert await found(user, "oatmeal") == set()
    assert await found(user, "after") == {"s"}


async def test_a_search_has_pages_too(user: Caller) -> None:
    for number in range(5):
        await new_session(user, session_id=f"s{number}", title="needle")
    await new_session(user, session_id="t", title="thread")
    first = (await user.call("GET", "/api/sessions", query={"q": "needle", "limit": 3})).json()
    rest = await user.call("GET", "/api/sessions", query={"q": "needle", "limit": 3, "cursor": first["next_cursor"]})

    assert [one["session_id"] for one in first["sessions"]] == ["s4", "s3", "s2"]
    assert [one["session_id"] for one in rest.json()["sessions"]] == ["s1", "s0"]
    assert rest.json()["next_cursor"] is None


async def test_a_partial_answer_is_found_once_its_run_has_ended(user: Caller) -> None:
    await ask(user, script({"text": "h"}, {"text": "a"}, {"text": "ystack"}), session_id="s")

    async def is_found() -> bool:
        return await found(user, "haystack") == {"s"}

    await eventually(is_found)
