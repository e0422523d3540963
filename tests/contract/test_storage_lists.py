"""What every storage promises to the core about lists of sessions: pages, search, totals."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from server.core.ports import EndSession, SaveMessages, SaveSession, TidySearch, Tombstone
from server.core.storage import Storage
from tests.contract.records import message_of, record_of, saved, write

# --- lists


async def test_sessions_are_listed_latest_first_in_pages_without_gap_or_repetition(storage: Storage) -> None:
    records = [record_of(ref, last_activity=activity) for ref, activity in ((1, 3.0), (2, 1.0), (3, 3.0), (4, 2.0))]
    await write(storage, *map(SaveSession, records), SaveSession(record_of(9, user_id="bob")))

    seen, cursor = [], None
    for _ in range(4):
        page = await storage.sessions("ann", limit=1, cursor=cursor, query=None)
        seen += [record.session_id for record in page.records]
        cursor = page.next_cursor

    listed = sorted(records, key=lambda record: (record.last_activity, record.ref), reverse=True)
    assert seen == [record.session_id for record in listed]
    assert cursor is None
    assert (await storage.sessions("ann", limit=4, cursor=None, query=None)).next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "1.5", "_", "1.5_x", "x_1"])
async def test_a_bad_page_cursor_is_a_value_error(storage: Storage, cursor: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        await storage.sessions("ann", limit=1, cursor=cursor, query=None)


SEARCHED: Final = {
    "Weather in Paris": ["How warm is it?", "About 20 degrees."],
    "Recipes": ["Crème brûlée, please", "漢字を含む文章"],
    "100%": ["under_score and O'Brien"],
}


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("paris", ["Weather in Paris"]),
        ("degr", ["Weather in Paris"]),
        ("20 about", ["Weather in Paris"]),
        ("warm degrees", []),
        ("creme BRULEE", ["Recipes"]),
        ("漢字", ["Recipes"]),
        ("字を含", ["Recipes"]),
        ("under_score", ["100%"]),
        ("O'Brien", ["100%"]),
        ('" OR text:', []),
        ("%", []),
        ("", []),
        ("漢%", []),
        ("nothing", []),
    ],
)
async def test_search_finds_words_of_titles_and_messages(storage: Storage, query: str, titles: list[str]) -> None:
    for number, (title, texts) in enumerate(SEARCHED.items(), 1):
        rows = [message_of(at, text) for at, text in enumerate(texts, 1)]
        for user_id in ("ann", "bob"):
            record = record_of(number, title=title, user_id=user_id)
            await write(storage, SaveSession(record), SaveMessages(record.ref, rows))

    page = await storage.sessions("ann", limit=10, cursor=None, query=query)

    assert [record.title for record in page.records] == titles


async def test_search_follows_a_new_title(storage: Storage) -> None:
    await write(storage, SaveSession(record_of(title="apple")))
    await write(storage, SaveSession(record_of(title="pear")))

    async def found(query: str) -> int:
        return len((await storage.sessions("ann", limit=5, cursor=None, query=query)).records)

    assert [await found("apple"), await found("pear")] == [0, 1]
    await write(storage, SaveSession(record_of(title=None)))
    assert await found("pear") == 0


async def test_tidying_the_search_changes_nothing_of_what_it_finds(storage: Storage) -> None:
    for number, text in ((1, "apple pie"), (2, "apple juice")):
        await write(storage, SaveSession(record_of(number)), saved(number, message_of(1, text)))
    await write(storage, EndSession(record_of(1), Tombstone("deleted", 1.0)))

    await write(storage, TidySearch(-500), TidySearch(500))

    page = await storage.sessions("ann", limit=5, cursor=None, query="apple")
    assert [record.session_id for record in page.records] == ["s2"]


async def test_totals_count_live_and_ended_sessions(storage: Storage) -> None:
    live = record_of(1, created_at=100.0, last_activity=110.0, message_count=4, run_count=2)
    ended = record_of(2, created_at=100.0, last_activity=130.0, message_count=2, run_count=1)
    bobs = record_of(3, user_id="bob", created_at=100.0, last_activity=100.0)
    await write(storage, SaveSession(live), SaveSession(ended), SaveSession(bobs))
    await write(storage, EndSession(ended, Tombstone("expired", 140.0)))
    never = {"last_hour": 0, "last_day": 0}

    assert await storage.stats("ann") == {
        "sessions": {"active": 1, "ended": 1, "total": 2, "by_user": {"ann": 1}},
        "runs": 3,
        "messages": 6,
        "average_messages_per_session": 3.0,
        "average_duration_seconds": 20.0,
        "created": never,
        "expired": never,
        "by_agent": {"echo": 1},
        "by_site": {},
    }
    everybody = await storage.stats(None)
    assert everybody["sessions"] == {"active": 2, "ended": 1, "total": 3, "by_user": {"ann": 1, "bob": 1}}
    assert (await storage.stats("eve"))["average_duration_seconds"] == 0


async def test_totals_name_agents_and_sites_of_live_sessions(storage: Storage) -> None:
    one = record_of(1, website_domain="a.test")
    two = record_of(2, website_domain="b.test", agent="model")
    three = record_of(3, website_domain="b.test")
    bobs = record_of(4, user_id="bob", agent="model")
    await write(storage, *map(SaveSession, (one, two, three, bobs)))

    anns, everybody = await storage.stats("ann"), await storage.stats(None)
    assert list(anns["by_agent"].items()) == [("echo", 2), ("model", 1)]
    assert list(anns["by_site"].items()) == [("b.test", 2), ("a.test", 1)]
    assert everybody["by_agent"] == {"echo": 2, "model": 2}

    await write(storage, SaveSession(replace(three, agent="other")))
    await write(storage, EndSession(one, Tombstone("deleted", 140.0)))
    await write(storage, EndSession(bobs, Tombstone("expired", 140.0)))

    anns, everybody = await storage.stats("ann"), await storage.stats(None)
    assert anns["by_agent"] == everybody["by_agent"] == {"model": 1, "other": 1}
    assert anns["by_site"] == everybody["by_site"] == {"b.test": 2}
    assert (await storage.stats("bob"))["by_agent"] == {}
