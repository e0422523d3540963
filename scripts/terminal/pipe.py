"""One question in, its answer out: for pipes. Plain text goes to stdout as it comes, unless stdout is a terminal.

The run belongs to the server: a lost connection is taken up again by cursor, and a closed stdout stops nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import aclosing, suppress
from typing import Any, Final

import anyio

from .api import Api, ApiError, Refused, new_id
from .clean import clean
from .follower import Follower, delay_s
from .memory import Memory
from .one_run import OneRun
from .options import Options
from .outlet import make_outlet

ANSWERED: Final = 0
FAILED: Final = 1
WRONG: Final = 2
UNREACHABLE: Final = 3
ASKED: Final = 4
STOPPED: Final = 130
NOBODY_READS: Final = 141
_STOP_S: Final = 3.0

_CODES: Final = {"answered": ANSWERED, "failed": FAILED, "stopped": FAILED, "asked": ASKED}


class Pipe:
    """One question to one server. `code` is the exit status."""

    def __init__(self, options: Options, api: Api, memory: Memory) -> None:
        self._options = options
        self._api = api
        known = memory.session_id if options.goes_on else ""
        self._session_id = options.session_id or known or new_id()
        self._message_id = new_id()
        self._is_stopped = False
        self._patience = anyio.CancelScope()
        self._trouble = ""

    async def ask(self, question: str) -> int:
        """Ask, print the answer, and return the exit status."""
        code = STOPPED
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hear_signals, tasks.cancel_scope)
            code = await self._answered(question)
            tasks.cancel_scope.cancel()
        return STOPPED if self._is_stopped else code

    async def _answered(self, question: str) -> int:
        self._lose("it did not answer")
        try:
            with self._patience:
                return await self._told(question)
        except Refused as refused:
            return complain(refused.detail, FAILED)
        except OSError as error:
            # The interpreter would complain once again when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                return NOBODY_READS
            return complain(f"the answer cannot be written: {error.strerror}", FAILED)
        return complain(f"no answer from {self._api.url}: {self._trouble}", UNREACHABLE)

    async def _told(self, question: str) -> int:
        accepted = await self._send(question)
        run, outlet = OneRun(accepted["run_id"]), make_outlet(self._options.as_json)
        follower = Follower(self._api, self._session_id, self._lose)
        try:
            async with aclosing(follower.events(accepted["cursor"])) as events:
                async for event in events:
                    outlet.write(run.apply(event))
                    if run.outcome:
                        break
        finally:  # what there is of an answer that breaks off is shown too
            if run.outcome or not self._options.as_json:
                outlet.close({"session_id": self._session_id, **run.summary()})
        if run.outcome == "asked":
            asked = "; ".join(str(one.get("message") or one.get("reason")) for one in run.questions)
            complain(f"the agent asks: {asked}. To answer: scripts/chat {self._api.url} --session {self._session_id}")
        elif run.outcome != "answered":
            complain("the answer was stopped" if run.outcome == "stopped" else f"the answer failed: {run.trouble}")
        return _CODES[run.outcome]

    async def _send(self, question: str) -> dict[str, Any]:
        attempt = 0
        while True:
            wait_s = delay_s(attempt)
            try:
                fields = self._options.creation
                answer = await self._api.chat(self._session_id, self._message_id, question, **fields)
            except Refused as refused:
                if not refused.is_retryable:
                    raise
                wait_s = max(wait_s, refused.retry_after_s)
                self._trouble = refused.detail
            except ApiError as error:
                self._trouble = str(error)
            else:
                return answer
            await anyio.sleep(wait_s)
            attempt += 1

    def _lose(self, trouble: str) -> None:
        """Be patient for a while when there is trouble with the connection, and for ever when there is none."""
        self._trouble = trouble
        if not trouble:
            self._patience.deadline = float("inf")
        elif self._patience.deadline == float("inf"):
            self._patience.deadline = anyio.current_time() + self._options.patience_s

    async def _hear_signals(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT) as signals:
            async for _ in signals:
                self._is_stopped = True
                with anyio.move_on_after(_STOP_S), suppress(ApiError):
                    await self._api.interrupt(self._session_id, self._message_id)
                scope.cancel()
                return


def complain(text: str, code: int = FAILED) -> int:
    """Say what is wrong, on stderr; return the exit status."""
    print(f"chat: {clean(text)}", file=sys.stderr)
    return code
