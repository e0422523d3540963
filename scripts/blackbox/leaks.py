"""Thousands of cycles of every way a session, run or stream can end: what the server holds goes back to where it was.

Each cycle has a session of its own, which is deleted at the end or left to expire. Many cycles warm up; then memory,
threads, open files and rows are measured, and once more after all of them. Tombstones stay, by contract, and are not
counted. `--quick` has too few cycles to tell a small leak from an allocator's noise: it sees 15 kB a cycle and more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from .arena import Arena, emit, fail, script, stall
from .caller import Caller
from .process import Sample, Server
from .tally import Tally
from .wire import Stream

WORKERS: Final = 12
GROWTH_KB: Final = 6 * 1024  # 3 kB a cycle: a session, a run or a stream that stayed would be more
# Pools of threads and connections grow when they are first needed at once; one that leaked in a single way of ending
# would leave as many as that way has cycles, some twenty at least.
POOL: Final = 4
SETTLE_S: Final = 60.0
QUIET_S: Final = 4.0  # longer than a session without a stream lives here
POOLED: Final = 8  # more at once than any pool of threads or connections should hold
SETTINGS: Final = {
    "SESSION_TIMEOUT_MINUTES": "0.05",
    "CLEANUP_INTERVAL_SECONDS": "0.3",
    "IDLE_MEMORY_SECONDS": "0.5",
    "RUN_TIMEOUT_SECONDS": "0.5",
    "STOP_GRACE_SECONDS": "0.1",
    "RESUME_WINDOW_SECONDS": "1",
    "BODY_TIMEOUT_SECONDS": "0.5",
}
FAULTS: Final = ("memory_grew", "threads_grew", "handles_grew", "rows_left", "bad_answer")

Way = Callable[["Guest"], Awaitable[None]]


class Guest:
    """A user in a fresh session."""

    def __init__(self, caller: Caller, session_id: str, tally: Tally) -> None:
        self.caller = caller
        self.session_id = session_id
        self._tally = tally

    async def say(self, *steps: dict[str, Any], **fields: Any) -> str:
        """POST a script; return the run's id."""
        answer = await self.caller.chat(script(*steps), session_id=self.session_id, **fields)
        self.expect(answer.status in (200, 202), answer)
        return str(answer.json().get("run_id", ""))

    async def listen(self) -> Stream:
        """Open a stream and read until the snapshot is there."""
        stream = await self.caller.stream(self.session_id)
        while not await stream.read():
            pass
        return stream

    async def call(self, method: str, path: str, body: Any = None, *, expects: int = 200) -> None:
        """Send a request below this session, or anywhere when `path` begins with a slash."""
        target = path if path.startswith("/") else f"/api/sessions/{self.session_id}{'/' if path else ''}{path}"
        answer = await self.caller.call(method, target, body)
        self.expect(answer.status == expects, answer)

    def expect(self, is_right: bool, answer: Any) -> None:
        """Count an answer that this cycle does not work with."""
        self._tally.expect(is_right, "bad_answer", f"{self.session_id}: {answer.status} {answer.body[:200]!r}")


# --- the ways


async def _finish(guest: Guest) -> None:
    await guest.say(emit(5, 0), wait=True)


async def _finish_before_all(guest: Guest) -> None:
    stream = await guest.listen()
    await guest.say(emit(20, 0), wait=True)
    stream.close()


async def _fail(guest: Guest) -> None:
    answer = await guest.caller.chat(script(emit(2, 0), fail("boom")), session_id=guest.session_id, wait=True)
    guest.expect(answer.status in (200, 502), answer)


async def _break_grammar(guest: Guest) -> None:
    step = {"event": {"type": "TEXT_MESSAGE_END", "messageId": "never-opened"}}
    answer = await guest.caller.chat(script(step), session_id=guest.session_id, wait=True)
    guest.expect(answer.status in (200, 502), answer)


async def _interrupt(guest: Guest) -> None:
    run_id = await guest.say(emit(1000, 100))
    answer = await guest.caller.interrupt(guest.session_id, run_id=run_id)
    guest.expect(answer.status == 200, answer)


async def _interrupt_deaf_agent(guest: Guest) -> None:
    run_id = await guest.say({"ignore_cancel": {"seconds": 0.4}})
    answer = await guest.caller.interrupt(guest.session_id, run_id=run_id)
    guest.expect(answer.status == 200, answer)


async def _time_out(guest: Guest) -> None:
    stream = await guest.listen()
    await guest.say(stall(30))
    await anyio.sleep(0.6)
    stream.close()


async def _leave_mid_run(guest: Guest) -> None:
    await guest.say(emit(30, 200))
    stream = await guest.listen()
    stream.close()


async def _stream_post(guest: Guest, *, reads_all: bool = True) -> None:
    body = {"message": script(emit(20, 400)), "session_id": guest.session_id}
    stream = await guest.caller.wire.stream("/api/chat", method="POST", body=body, headers=guest.caller.headers)
    while await stream.read() is not None and reads_all:
        pass
    stream.close()


async def _abort_stream_post(guest: Guest) -> None:
    await _stream_post(guest, reads_all=False)


async def _delete_mid_run(guest: Guest) -> None:
    stream = await guest.listen()
    await guest.say(emit(1000, 100))
    await guest.call("DELETE", "")
    while await stream.read(10) is not None:
        pass


async def _delete_idle(guest: Guest) -> None:
    await guest.say(emit(3, 0), wait=True)
    stream = await guest.listen()
    await guest.call("DELETE", "")
    while await stream.read(10) is not None:
        pass


async def _clear(guest: Guest) -> None:
    await guest.say(emit(3, 0), {"state": [{"op": "add", "path": "/notes", "value": [1, 2]}]}, wait=True)
    await guest.call("DELETE", "messages")
    await guest.call("GET", "messages")


async def _queue(guest: Guest) -> None:
    await guest.say(emit(20, 200))
    await guest.say(emit(2, 0), on_busy="queue", message_id="second")
    await guest.say(emit(2, 0), on_busy="queue", message_id="third")
    answer = await guest.caller.interrupt(guest.session_id, message_id="third")
    guest.expect(answer.status == 200, answer)


async def _stop_early(guest: Guest) -> None:
    await guest.call("POST", "/api/sessions", {"session_id": guest.session_id}, expects=201)
    await guest.caller.interrupt(guest.session_id, message_id="first")
    await guest.say(emit(3, 0), message_id="first")


async def _tools(guest: Guest) -> None:
    await guest.say(
        {"tool": {"name": "search", "args": {"q": "x"}}}, {"reasoning": "hm"}, {"step": "a"},
        {"tool": {"name": "search", "answer": False}}, {"tool": {"name": "search", "end": False}}, wait=True,
    )  # fmt: skip


async def _notes(guest: Guest) -> None:
    await guest.call("POST", "/api/system", {"message": "be brief", "session_id": guest.session_id}, expects=202)
    await guest.call("PATCH", "", {"title": "a talk", "metadata": {"a": 1}})
    await guest.call("GET", "export")


async def _refused(guest: Guest) -> None:
    await guest.call("GET", "", expects=404)
    await guest.call("POST", "/api/chat", {"message": 7}, expects=422)
    await guest.call("POST", "/api/chat", b"{", expects=400)
    await guest.call("POST", "/api/chat", b"x" * (1 << 20) + b"x", expects=413)
    await guest.call("GET", "/api/nothing", expects=404)


async def _half_body(guest: Guest) -> None:
    await guest.caller.wire.abandon("POST", "/api/chat", b'{"message": "hal', headers=guest.caller.headers)


async def _list_stream(guest: Guest) -> None:
    stream = await guest.caller.wire.stream("/api/sessions/stream", headers=guest.caller.headers)
    await guest.say(emit(3, 0), wait=True)
    while not await stream.read(10):
        pass
    stream.close()


async def _new_stream(guest: Guest) -> None:
    stream = await guest.listen()
    stream.close()
    late = await guest.caller.stream(guest.session_id, "garbage")
    late.close()


WAYS: Final[tuple[Way, ...]] = (
    _finish, _finish_before_all, _fail, _break_grammar, _interrupt, _interrupt_deaf_agent, _time_out, _leave_mid_run,
    _stream_post, _abort_stream_post, _delete_mid_run, _delete_idle, _clear, _queue, _stop_early, _tools, _notes,
    _refused, _half_body, _list_stream, _new_stream,
)  # fmt: skip


# --- the scenario


async def leaks(arena: Arena) -> Tally:
    """Run the scenario."""
    tally = Tally("leaks", faults=FAULTS)
    cycles = arena.scaled(2000, 400)
    async with arena.server(SETTINGS) as server:
        await _cycle(server, arena.scaled(1500, 400), "warm", tally)
        before, rows_before = await _settled(server, "before", tally)
        await _cycle(server, cycles, "cycle", tally)
        after, rows_after = await _settled(server, "after", tally)
    _judge(before, after, tally)
    tally.note("rows_before", sum(rows_before.values()))
    tally.note("rows_after", sum(rows_after.values()))
    left = {name: count for name, count in rows_after.items() if count > rows_before.get(name, 0)}
    tally.expect(not left, "rows_left", str(left))
    return tally


async def _cycle(server: Server, cycles: int, name: str, tally: Tally) -> None:
    async def work(worker: int) -> None:
        caller = Caller(server.wire, f"user{worker % 4}")
        for number in range(worker, cycles, WORKERS):
            way = WAYS[(number // WORKERS + worker) % len(WAYS)]
            guest = Guest(caller, f"{name}-{number}-{way.__name__}", tally)
            with anyio.fail_after(30):
                await way(guest)
            tally.count(f"{name}s" if name == "cycle" else "cycles_to_warm_up")
            if number % 3:
                await caller.call("DELETE", f"/api/sessions/{guest.session_id}")
            tally.progress(f"{name} {number} of {cycles}")

    async with anyio.create_task_group() as tasks:
        for worker in range(WORKERS):
            tasks.start_soon(work, worker)


async def _settled(server: Server, name: str, tally: Tally) -> tuple[Sample, dict[str, int]]:
    """Wait until every session is gone and nothing changes any more; return what the server holds then."""
    await _saturate(server, name, tally)
    server.wire.forget()
    rows, changed_at = server.rows(), anyio.current_time()
    with anyio.move_on_after(SETTLE_S):
        while anyio.current_time() - changed_at < QUIET_S:
            await anyio.sleep(0.2)
            now = server.rows()
            if now != rows:
                rows, changed_at = now, anyio.current_time()
            tally.progress(f"settling: {rows}")
    return server.sample(), rows


async def _saturate(server: Server, name: str, tally: Tally) -> None:
    """Let all pools of the server grow to their bound, which is no leak: ask for much at once."""
    guest = Guest(Caller(server.wire, "crowd"), f"crowd-{name}", tally)
    await guest.say(emit(5, 0), wait=True)
    async with anyio.create_task_group() as tasks:
        for number in range(POOLED * 8):
            path = ("export", "messages", "/api/sessions?q=w1")[number % 3]
            tasks.start_soon(guest.call, "GET", path)
    await guest.call("DELETE", "")


def _judge(before: Sample, after: Sample, tally: Tally) -> None:
    tally.note("memory_before_mb", before.rss_kb / 1024)
    tally.note("memory_after_mb", after.rss_kb / 1024)
    tally.note("threads_before", before.threads)
    tally.note("threads_after", after.threads)
    tally.note("handles_before", before.handles)
    tally.note("handles_after", after.handles)
    tally.expect(after.rss_kb - before.rss_kb < GROWTH_KB, "memory_grew", f"{before.rss_kb} to {after.rss_kb} kB")
    tally.expect(after.threads <= before.threads + POOL, "threads_grew", f"{before.threads} to {after.threads}")
    tally.expect(after.handles <= before.handles + POOL, "handles_grew", f"{before.handles} to {after.handles}")
