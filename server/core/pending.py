"""Pending: the questions that a run ended by, and what was answered so far, as plain JSON in the session's record.

    {"run_id", "next_run_id", "agent", "asked_at", "expires_at" | null,
     "asked": {…the message of the run that asked, and how it was to be answered…},
     "questions": [{"interrupt": AG-UI's, "name" | null, "arguments" | null,
                    "answer": {"digest", "status", "payload"?, "error"?} | null}]}

The run that goes on has its id from the beginning, so every answer, and every repeated one, can name it. An empty
object stands for: nothing is asked. Values are never changed in place. What became of a question outlives it as a
stored run, found by what a client cannot send as a message id.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from ..errors import Invalid
from ..ids import new_id
from . import events
from .approval import checked_approval
from .interrupts import expiry_of, is_approval
from .ports import Event, RunRecord, SaveRun
from .question import Answer, Question
from .queue import asked_of, question_of

Pending = Mapping[str, Any]

DECLINED: Final = "declined by the user"
EXPIRED: Final = "expired: nobody answered in time"
MAX_PENDING_BYTES: Final = 1 << 20
"""Bound of all that is pending, as JSON: each change of it is stored as a whole."""
MAX_ANSWERS_BYTES: Final = 1 << 20
"""Bound of the answers, as JSON, that wait for others."""
_CLOSED: Final = b"closed"  # no digest of an answer is like it


class Call(NamedTuple):
    """A tool call as far as a question needs it; `arguments` are JSON text."""

    name: str
    arguments: str


def asking(
    question: Question, agent: str, run_id: str, asked: Sequence[tuple[dict[str, Any], Call | None]], answer_s: float
) -> dict[str, Any]:
    """Return what is pending from now on: interrupts, and the calls they are about.

    It is pending for `answer_s` at most, unless that is 0; for less if the agent wants an answer sooner.
    """
    now = time.time()
    ends = [when for one, _ in asked if (when := expiry_of(one)) is not None]
    expires_at = min([*ends, *([now + answer_s] if answer_s else [])], default=None)
    until = {} if expires_at is None else {"expiresAt": events.rfc3339(expires_at)}
    return {
        "run_id": run_id,
        "next_run_id": new_id(),
        "agent": agent,
        "asked_at": now,
        "expires_at": expires_at,
        "asked": asked_of(question),
        "questions": [
            {
                "interrupt": {**one, **until},
                "name": call.name if call else None,
                "arguments": call.arguments if call else None,
                "answer": None,
            }
            for one, call in asked
        ],
    }


def public(pending: Pending) -> list[dict[str, Any]]:
    """Return the questions as clients see them: the interrupts, with the calls they are about."""
    return [
        {
            **one["interrupt"],
            **({"toolCallName": one["name"], "arguments": one["arguments"]} if one["name"] is not None else {}),
            "answered": one["answer"] is not None,
        }
        for one in pending.get("questions", ())
    ]


def interrupts_of(pending: Pending, run_id: str) -> list[dict[str, Any]]:
    """Return the interrupts that a run ended by and that stand open; none when it is another run's question."""
    return [one["interrupt"] for one in pending["questions"]] if pending.get("run_id") == run_id else []


def call_ids(pending: Pending) -> set[str]:
    """Return the tool calls that wait for the client."""
    return {one["interrupt"]["toolCallId"] for one in pending.get("questions", ()) if "toolCallId" in one["interrupt"]}


# --- answering


def find(pending: Pending, name: str) -> int | None:
    """Return where the question of this tool call id, or interrupt id, stands; None when there is none."""
    found = (at for at, one in enumerate(pending.get("questions", ())) if name in _names_of(one))
    return next(found, None)


def digest_of(answer: Answer) -> bytes:
    """Return what is the same for the same answer."""
    said = [answer.status, answer.payload, answer.error]
    return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def given(pending: Pending, at: int) -> bytes | None:
    """Return the digest of the answer that a question has, None while it has none."""
    answer = pending["questions"][at]["answer"]
    return bytes.fromhex(answer["digest"]) if answer is not None else None


def answered(pending: Pending, at: int, answer: Answer) -> dict[str, Any]:
    """Return what is pending after an answer.

    Raises:
        Invalid: it is no answer to this question.
    """
    question = pending["questions"][at]
    kept: dict[str, Any] = {"digest": digest_of(answer).hex(), "status": answer.status}
    if is_approval(question["interrupt"]):
        kept |= _approval(answer)
    else:
        kept |= {"payload": answer.payload, **({} if answer.error is None else {"error": answer.error})}
    questions = list(pending["questions"])
    questions[at] = {**question, "answer": kept}
    return {**pending, "questions": questions}


def is_settled(pending: Pending) -> bool:
    """Whether every question has its answer."""
    return all(one["answer"] is not None for one in pending["questions"])


def check_kept(pending: Pending, field: str) -> None:
    """Raise Invalid when the answers so far are too much to be kept until the others come; `field` names the last."""
    if sum(len(orjson.dumps(one["answer"])) for one in pending["questions"]) > MAX_ANSWERS_BYTES:
        detail = f"{field} is too much: answers that wait for others may have {MAX_ANSWERS_BYTES} bytes as JSON in all"
        raise Invalid(detail, field=field)


def _approval(answer: Answer) -> dict[str, Any]:
    if answer.error is not None and answer.status == "resolved":
        return {"status": "cancelled", "payload": {"approved": False, "reason": answer.error}}
    if answer.status == "cancelled":
        return {"payload": {"approved": False}}
    payload = checked_approval(answer.payload, answer.field)
    return {"status": "resolved" if payload["approved"] else "cancelled", "payload": payload}


# --- what comes of it


def gone_on(pending: Pending, when: float, **changed: Any) -> tuple[Question, list[Event]]:
    """Return what the next run is asked, and the results it begins with: those of the calls that are done, or declined.

    It is what the run before it was asked, with the answers; `changed` are fields to replace.
    """
    resume: list[dict[str, Any]] = []
    carries: dict[str, Call] = {}
    results: list[Event] = []
    for one in pending["questions"]:
        interrupt, answer = one["interrupt"], one["answer"]
        resume.append(_entry(interrupt, answer))
        if "toolCallId" not in interrupt:
            continue
        if is_approval(interrupt) and answer["status"] == "resolved":
            carries[interrupt["toolCallId"]] = Call(one["name"], one["arguments"])
        else:
            results.append(_result(one, pending["next_run_id"], when))
    asked = question_of({**pending["asked"], "digest": ""})
    name = _resumed(pending["next_run_id"])
    return replace(asked, message_id=name, said_id=asked.message_id, resume=resume, carries=carries, **changed), results


def _entry(interrupt: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"interruptId": interrupt["id"], "status": answer["status"]}
    if answer.get("payload") is not None:
        entry["payload"] = answer["payload"]
    if "error" in answer:
        entry["metadata"] = {"error": answer["error"]}
    if "toolCallId" in interrupt:
        entry["toolCallId"] = interrupt["toolCallId"]
    return entry


class Closing(NamedTuple):
    """What a commit holds by which nothing is pending any more."""

    events: list[Event]
    """Results of the calls."""
    operations: list[Event]
    """What changes in the state that clients hold."""
    change: dict[str, Any]
    """What changes in the record."""
    records: list[RunRecord]

    def writes(self, ref: int) -> list[SaveRun]:
        """Return what is stored besides."""
        return [SaveRun(ref, record) for record in self.records]


NOTHING: Final = Closing([], [], {}, [])


def closing_of(
    pending: Pending, run_id: str, when: float, why: str = DECLINED, *, results: list[Event] | None = None
) -> Closing:
    """Return what closes the questions: by these results, else by such that say `why` nothing goes on.

    Who closes them names the run in which that is told.
    """
    if not pending:
        return NOTHING
    results = _closed(pending, run_id, when, why) if results is None else results
    return Closing(results, [{"op": "remove", "path": "/pending"}], {"pending": {}}, list(_records(pending, when)))


def _closed(pending: Pending, run_id: str, when: float, why: str) -> list[Event]:
    found = []
    for one in pending["questions"]:
        if "toolCallId" in one["interrupt"]:
            # What a client has done already, it has done; what was allowed and not begun never is.
            is_done = one["answer"] is not None and not is_approval(one["interrupt"])
            found.append(_result(one if is_done else {**one, "answer": None}, run_id, when, why))
    return found


def _result(question: Mapping[str, Any], run_id: str, when: float, why: str = DECLINED) -> Event:
    answer = question["answer"]
    marks: dict[str, Any] = {}
    if answer is None or answer["status"] == "cancelled":
        reason = (answer or {}).get("payload")
        reason = reason.get("reason") if isinstance(reason, dict) else None
        content = f"{why}: {reason}" if reason else why
        marks["status"] = "expired" if why == EXPIRED else "declined"
    else:
        content = _text_of(answer["payload"])
        if "error" in answer:
            marks |= {"status": "failed", "error": answer["error"]}
            content = content or answer["error"]
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": new_id(),
        "toolCallId": question["interrupt"]["toolCallId"],
        "content": content,
        "role": "tool",
        "metadata": events.message_metadata(run_id, when, **marks),
    }


def _text_of(payload: Any) -> str:
    return payload if isinstance(payload, str) else orjson.dumps(payload).decode()


# --- what is left of it


def _records(pending: Pending, now: float) -> Iterator[RunRecord]:
    """Yield what is stored of each question, so that an answer that comes again, or too late, finds what became of it.

    These are no runs: they have the names of runs and of messages because those are unique in a session and kept.
    """
    for at, one in enumerate(pending["questions"]):
        answer = one["answer"]
        for place, name in enumerate(sorted(_names_of(one))):
            yield RunRecord(
                run_id=f"{pending['next_run_id']}/{at}.{place}",
                message_id=answered_name(name),
                digest=_CLOSED if answer is None else bytes.fromhex(answer["digest"]),
                agent=pending["agent"],
                status="finished",
                started_at=now,
                ended_at=now,
            )


def answered_name(name: str) -> str:
    """Return what a question is found by when it is not pending any more."""
    return f"answer/{name}"


def resumed_name(record: RunRecord) -> str:
    """Return the message id of the run that went on, or would have, of a record of a question."""
    return _resumed(next_run_of(record))


def next_run_of(record: RunRecord) -> str:
    """Return the id of that run."""
    return record.run_id.partition("/")[0]


def _resumed(run_id: str) -> str:
    return f"resume/{run_id}"


def _names_of(question: Mapping[str, Any]) -> set[str]:
    interrupt = question["interrupt"]
    return {interrupt["id"], interrupt.get("toolCallId", interrupt["id"])}
