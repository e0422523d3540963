"""A node that dies, leaves, is cut off or hears nothing: the others go on, nothing is seen twice or written late."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from scripts.blackbox.arena import emit, script
from scripts.blackbox.follower import Follower
from scripts.blackbox.nodes.cut import RATE, Scene, Switch
from scripts.blackbox.waiting import poll
from tests.faults.stage import ENDLESS, answer_text, grown, heard, is_counting, until
from tests.nodes.company import LEASE_S, Company, gathered, needs_redis

pytestmark = [pytest.mark.anyio, needs_redis]

A, B = 0, 1
ENDED_WITHIN_S = LEASE_S + 4


async def test_the_runs_of_a_killed_node_end_and_its_queues_go_on_elsewhere() -> None:
    """Killed by -9: interrupted with the text that was shown, within the lease; the queue goes on at the other."""
    async with gathered() as company:
        talk, first = await _run_with_queue(company)

        await company.cluster.nodes[A].kill()

        assert await talk.until_ended(first, timeout_s=ENDED_WITHIN_S)
        await _went_on(company, talk.session_id, first)
        await company.cluster.nodes[A].start()
        await company.same("talk", talk)


async def test_a_node_that_is_told_to_stop_hands_everything_over_at_once() -> None:
    """SIGTERM: its runs end by its own word, its streams end cleanly, its queues go on before any lease is over."""
    async with gathered(LEASE_SECONDS="20") as company:
        talk, first = await _run_with_queue(company)
        near = await company.stream(A, "talk")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(company.cluster.nodes[A].terminate)
            while await near.read(timeout_s=10) is not None:
                pass

        assert near.ending == "clean"
        assert await talk.until_ended(first, timeout_s=5)
        await _went_on(company, talk.session_id, first)
        await company.cluster.nodes[A].start()
        await company.same("talk", talk)


async def _run_with_queue(company: Company) -> tuple[Follower, str]:
    """Give a run at A with a message behind it, and a client at B."""
    talk = await company.watch(B, "talk")
    first = await company.run(A, "talk", ENDLESS)
    await company.run(A, "talk", emit(3, 0), on_busy="queue", message_id="next")
    await heard(talk, 20)
    assert await talk.until(lambda: bool(talk.fold.state["queue"]))
    return talk, first


async def _went_on(company: Company, session_id: str, first: str) -> None:
    """The first run was interrupted with what it had said, the queued one ran."""
    talk = await company.watch(B, session_id)
    assert company.ledger.outcome(talk.key, first) == "cancelled"
    assert await talk.until(lambda: answer_text(talk) == "w0 w1 w2 " and talk.fold.run_id is None)
    state = await company.same(session_id, talk)
    assert [one["role"] for one in state["messages"]] == ["user", "assistant"] * 2
    interrupted = state["messages"][1]
    assert interrupted["metadata"]["sessionstream"]["status"] == "interrupted"
    assert is_counting(interrupted["content"])
    assert len(interrupted["content"].split()) >= 20


async def test_what_a_node_wrote_while_it_was_cut_off_is_never_seen() -> None:
    """All it sent arrives at Redis in the end, too late: its runs were ended by another node, once."""
    async with gathered(count=3, is_gated=True) as company:
        gate = company.cluster.gates[2]
        scene = Scene(company.cluster, Switch(gate), company.ledger, "talk", sessions=4, cut_s=LEASE_S + 2)

        await scene.play()

        assert company.tally.counts["runs_elsewhere_while_cut"] == 4
        assert company.tally.counts["most_words_behind_the_cut"] < RATE


async def test_a_message_that_is_lost_between_nodes_is_found_out() -> None:
    """Pub/sub only wakes: without it everything comes as well, within seconds."""
    async with gathered(is_gated=True) as company:
        talk = await company.watch(B, "talk")
        await company.run(A, "talk", emit(2, 0), wait=False)
        assert await talk.until(lambda: answer_text(talk) == "w0 w1 ")
        for gate in company.cluster.gates:
            gate.drops_messages = True

        run_id = await company.run(A, "talk", emit(30, 30))

        assert await talk.until_ended(run_id, timeout_s=10)
        assert sum(gate.dropped for gate in company.cluster.gates) > 0
        await company.same("talk", talk)


async def test_what_redis_did_and_could_not_say_is_not_done_twice() -> None:
    """The connection ends between a commit and its answer, again and again: the same commit is tried, taken once."""
    async with gathered(is_gated=True) as company:
        talk = await company.watch(B, "talk")
        run_id = await company.run(A, "talk", ENDLESS)
        gate = company.cluster.gates[A]
        for times in range(1, 20):
            await heard(talk, 10 * times)
            gate.answers_to_lose = 1
            assert await poll(lambda times=times: gate.answers_lost == times, timeout_s=10)  # type: ignore[misc]
        assert await until(partial(_is_stopped, company, B, "talk", run_id))
        assert await talk.until_ended(run_id)
        assert is_counting(answer_text(talk))
        await company.same("talk", talk)


async def test_thrown_out_connections_come_back_and_nothing_is_written_twice() -> None:
    """CLIENT KILL, of calls and of listeners, in the middle of runs: what was not answered is tried again."""
    async with gathered() as company:
        redis = company.cluster.redis
        assert redis is not None
        talks = [await company.watch(number % 2, f"talk-{number}") for number in range(4)]
        runs = [await company.run(1 - number % 2, f"talk-{number}", ENDLESS) for number in range(4)]
        for kind in ("normal", "pubsub") * 5:
            for talk in talks:
                await grown(talk)
            redis.call("CLIENT", "KILL", "TYPE", kind)
        for number, talk in enumerate(talks):
            assert await until(partial(_is_stopped, company, number % 2, talk.session_id, runs[number]))
            assert await talk.until_ended(runs[number])
            await company.same(talk.session_id, talk)
            assert is_counting(answer_text(talk))


async def _is_stopped(company: Company, node: int, session_id: str, run_id: str) -> bool:
    answer = await company.caller(node).interrupt(session_id, run_id=run_id)
    assert answer.status in (200, 503), answer.body
    return answer.status == 200


async def test_a_session_with_a_stream_at_one_node_does_not_expire_at_another() -> None:
    """Expiry knows the streams of all nodes; who is alone expires everywhere."""
    async with gathered(SESSION_TIMEOUT_MINUTES="0.03", CLEANUP_INTERVAL_SECONDS="0.2") as company:
        held = await company.watch(A, "held")
        await company.run(B, "held", emit(2, 0))
        for number in range(2):
            alone = f"alone-{number}"
            await company.run(B, alone, emit(2, 0))
            for node in (A, B):
                assert await until(partial(_has_expired, company, node, alone))
        assert await held.until(lambda: answer_text(held) == "w0 w1 ")
        assert not held.farewell
        await company.same("held", held)


async def _has_expired(company: Company, node: int, session_id: str) -> bool:
    # Looking at a session is no use of it.
    answer = await company.caller(node).state(session_id)
    assert (answer.status, answer.code) in ((200, ""), (410, "session_expired")), answer.body
    return answer.status == 410


async def test_a_rolling_restart_is_nothing_but_reconnects() -> None:
    """Both nodes, one after the other, under a run each: every run ends with its text, every message is answered."""
    async with gathered() as company:
        talks = [await company.watch(node, f"talk-{node}") for node in (A, B)]
        for node in (A, B):
            run_id = await company.run(node, f"talk-{node}", ENDLESS)
            await heard(talks[node], 20)
            code, _ = await company.cluster.nodes[node].terminate()
            assert code in (0, -15)
            answer = await company.caller(1 - node).chat(script(emit(2, 0)), session_id=f"talk-{node}", wait=True)
            assert answer.status == 200, answer.body
            await company.cluster.nodes[node].start()
            assert await talks[node].until_ended(run_id)
            assert company.ledger.outcome(talks[node].key, run_id) == "cancelled"
        for talk in talks:
            state = await company.same(talk.session_id, talk)
            assert [one["role"] for one in state["messages"]] == ["user", "assistant"] * 2
