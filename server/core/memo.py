"""Memo: which messages a session has answered, so that a repeated POST is answered with the same run.

The newest are kept here, the rest is asked of the storage. A stop that came before its message is remembered as a run
without a body: when the message comes, it finds that its run ended before it began.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final

from ..ids import new_id
from .ports import RunRecord
from .run import Run

_KEPT: Final = 32


class Memo:
    """The recent messages of one session and what became of them."""

    __slots__ = ("_recent", "is_blank")

    def __init__(self) -> None:
        self._recent: OrderedDict[str, RunRecord | Run] = OrderedDict()
        self.is_blank = False
        """Whether the storage need not be asked: the session was made in this memory, and nothing was said yet."""

    def get(self, message_id: str) -> RunRecord | Run | None:
        """Return what became of a message of late; None when that is not known here."""
        return self._recent.get(message_id)

    def note(self, run: RunRecord | Run) -> None:
        """Remember what a message started."""
        message_id = run.question.message_id if isinstance(run, Run) else run.message_id
        self.is_blank = False
        self._recent[message_id] = run
        self._recent.move_to_end(message_id)
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)

    def catch_up(self, run: Run | None) -> None:
        """Forget what other nodes may have changed; `run` is the one that is open now."""
        self.is_blank = False
        for message_id, known in list(self._recent.items()):
            if isinstance(known, Run):
                if known.last:
                    self._recent[message_id] = known.as_record()
            elif known.status == "queued" or is_intent(known):
                del self._recent[message_id]
        if run is not None:
            self.note(run)


def intent_to_stop(message_id: str, agent: str) -> RunRecord:
    """Return what is stored of a stop whose message has not come yet."""
    return RunRecord(
        run_id=new_id(),
        message_id=message_id,
        digest=b"",
        agent=agent,
        status="interrupted",
        started_at=0,
        ended_at=time.time(),
    )


def of_no_run(message_id: str, run_id: str, when: float) -> RunRecord:
    """Return what stands for an id that a message has which no POST brought: whoever repeats it is in conflict."""
    return RunRecord(run_id=run_id, message_id=message_id, digest=b"", agent="", status="finished", started_at=when)


def is_intent(known: RunRecord | Run) -> bool:
    """Whether this is no run but a stop that came before its message."""
    return not isinstance(known, Run) and known.started_at == 0 and known.digest == b""
