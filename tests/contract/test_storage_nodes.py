"""What a storage that nodes share promises besides: they hear of each other, and see who lives and what waits.

`shared` and `other` are two nodes on the same data.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio

from server.core.ports import SaveRun, SaveSession, SessionKey, SessionRecord
from server.core.storage import Sharing, Storage, Wake
from tests.contract.records import (
    begin,
    frames_of,
    message_of,
    part_of,
    record_of,
    ref,
    run_of,
    saved,
    sharing_of,
    take,
    write,
)

KEY = record_of().key


# --- wakes


async def next_wakes(wakes: AsyncIterator[Sequence[Wake]]) -> Sequence[Wake]:
    with anyio.fail_after(5):
        return await anext(wakes)


async def test_others_hear_of_a_commit_and_who_made_it_does_not(shared: Storage, other: Storage) -> None:
    mine, theirs = sharing_of(shared).wakes(), sharing_of(other).wakes()
    assert await next_wakes(mine) == await next_wakes(theirs) == []

    await write(shared, SaveSession(record_of()), SaveSession(record_of(2)))
    part = await part_of(shared, KEY)
    part.frames = frames_of(1, 1)
    await take(shared, part)
    await write(other, SaveSession(record_of(2, title="t")))

    assert await next_wakes(theirs) == [Wake(KEY, 1, True), Wake(record_of(2).key, 1, True)]
    assert await next_wakes(theirs) == [Wake(KEY, 2, False)]
    assert await next_wakes(mine) == [Wake(record_of(2).key, 2, True)]
    for one in (mine, theirs):
        await one.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_what_is_heard_can_be_read(shared: Storage, other: Storage) -> None:
    """Word never comes before the commit it is of."""
    await write(shared, SaveSession(record_of()))
    theirs = sharing_of(other).wakes()
    await next_wakes(theirs)

    for seq in range(1, 30):
        part = await part_of(shared, KEY)
        part.frames = frames_of(seq, seq)
        await take(shared, part)
        [wake] = await next_wakes(theirs)
        record = await other.load(KEY)
        assert isinstance(record, SessionRecord)
        assert record.version >= wake.version
    await theirs.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_seized_run_wakes_its_node(shared: Storage, other: Storage) -> None:
    await begin(shared)
    mine = sharing_of(shared).wakes()
    await next_wakes(mine)

    await sharing_of(other).seize(ref(), "r1")

    assert await next_wakes(mine) == [Wake(KEY, 3, False)]
    await mine.aclose()  # type: ignore[attr-defined]  # it is a generator


# --- leases, queues, use


async def test_a_node_whose_lease_is_over_is_found_with_its_runs(shared: Storage, other: Storage) -> None:
    mine, theirs = sharing_of(shared), sharing_of(other)
    await mine.renew_lease(60)
    await begin(shared)
    await theirs.renew_lease(60)
    assert await theirs.lapsed() == {}

    await mine.renew_lease(0)
    await until_lapsed(theirs)

    assert await theirs.lapsed() == {mine.node_id: [KEY]}
    await theirs.seize(ref(), "r1")
    assert await theirs.lapsed() == {mine.node_id: []}
    await theirs.forget_node(mine.node_id)
    assert await theirs.lapsed() == {}


async def test_a_node_knows_the_runs_it_has(shared: Storage, other: Storage) -> None:
    """Also those that it took, and whether it heard of that or not."""
    await begin(shared)
    assert await sharing_of(shared).held() == [KEY]

    await sharing_of(other).seize(ref(), "r1")

    assert await sharing_of(shared).held() == []
    assert await sharing_of(other).held() == [KEY]
    await write(other, SaveSession(record_of()), SaveRun(ref(), run_of()))
    assert await sharing_of(other).held() == []


async def test_a_node_that_lives_again_is_not_forgotten(shared: Storage, other: Storage) -> None:
    mine, theirs = sharing_of(shared), sharing_of(other)
    await mine.renew_lease(0)
    await begin(shared)
    await until_lapsed(theirs)
    await mine.renew_lease(60)

    await theirs.forget_node(mine.node_id)

    await mine.renew_lease(0)
    await until_lapsed(theirs)
    assert await theirs.lapsed() == {mine.node_id: [KEY]}


async def test_a_node_that_left_is_not_looked_after(shared: Storage, other: Storage) -> None:
    await sharing_of(shared).renew_lease(60)
    await begin(shared)
    await write(shared, SaveSession(record_of()), SaveRun(ref(), run_of()))

    await sharing_of(shared).drop_lease()

    assert await sharing_of(other).lapsed() == {}


async def test_a_node_that_closes_with_open_runs_is_found_at_once(shared: Storage, other: Storage) -> None:
    await sharing_of(shared).renew_lease(60)
    await begin(shared)

    await shared.close()

    assert await sharing_of(other).lapsed() == {sharing_of(shared).node_id: [KEY]}


async def until_lapsed(sharing: Sharing) -> None:
    with anyio.fail_after(5):
        while not await sharing.lapsed():
            await anyio.lowlevel.checkpoint()


async def test_sessions_in_which_messages_wait_are_found(shared: Storage, other: Storage) -> None:
    queue = ({"message_id": "q"},)
    await write(shared, SaveSession(record_of(1)), SaveSession(record_of(2, queue=queue)))
    assert await sharing_of(other).waiting() == [record_of(2).key]

    await write(other, SaveSession(record_of(2)))

    assert await sharing_of(shared).waiting() == []


async def test_a_session_in_use_is_not_idle(shared: Storage, other: Storage) -> None:
    await write(shared, SaveSession(record_of(1)), SaveSession(record_of(2)))

    await sharing_of(shared).keep([KEY, SessionKey("ann", "nobody's")])

    for user_id in (None, "ann"):
        assert [one.session_id for one in await other.idle_since(3000.0, 10, user_id)] == ["s2"]
    assert await other.count(None) == 2


async def test_what_two_nodes_say_is_counted_once(shared: Storage, other: Storage) -> None:
    for node, count in ((shared, 1), (other, 2), (shared, 3)):
        await write(node, SaveSession(record_of(message_count=count)), saved(1, message_of(count)))

    assert (await other.stats("ann"))["messages"] == 3
    assert len(await shared.messages(ref())) == 3
