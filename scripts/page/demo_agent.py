"""The agent of the pictures: what it says is written down, how it says it is what any agent does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio

THOUGHT = """\
The p95 doubled at 14:10 on Tuesday and stayed there. Two things changed that day: checkout 4.18 and a fraud rule.

The rule only runs for cards from outside the EU, but **all** countries are slower: the release is the better suspect.
"""
CALLS = (
    ("deploys.list", {"service": "checkout", "since": "2026-11-16"}, '[{"version": "4.18", "at": "Tue 14:08"}]'),
    ("metrics.query", {"metric": "checkout.p95", "by": "version"}, '{"4.17": 212, "4.18": 438, "unit": "ms"}'),
)
ANSWER = """\
Release **4.18** did it: since Tuesday 14:08 a cart asks the price service once *per line* [1], no longer per cart.

| Release | p50 | p95 | Queries per cart |
|---|---:|---:|---:|
| 4.17 | 118 ms | 212 ms | 3 |
| 4.18 | 204 ms | **438 ms** | 3 + one per line |

The fraud rule that started the same day is not to blame: it runs for 4 % of the carts, and the others are as slow [2].

Asking for all prices at once brings the old behaviour back:

```python
async def price(cart: Cart) -> Money:
    # One request for the whole cart, as before 4.18.
    prices = await catalog.prices([line.sku for line in cart.lines])
    return sum(line.count * prices[line.sku] for line in cart.lines)
```

I would ship this as 4.18.1 rather than roll back: 4.18 also carries the fix for the voucher bug.
"""
SOURCES = [
    {"n": 1, "file": "checkout/CHANGELOG.md", "heading": "4.18", "passage": "Prices are read line by line."},
    {"n": 2, "file": "runbooks/fraud-rules.md", "heading": "Cards from outside the EU"},
]
SLOW = "Here is the plan for the week, day by day, so that nobody has to wait for anybody else. "


Pieces = AsyncIterator[str | dict[str, Any]]


async def agent(turn: Any) -> Pieces:
    """Say what the message asks for."""
    text = turn.message.lower()
    found = next((play for word, play in PLAYS.items() if word in text), _small_talk)
    async for piece in _gone_on(turn) if turn.resume else found(turn.run_id):
        yield piece


async def _small_talk(run_id: str) -> Pieces:
    yield "Done. Anything else?"


async def _plan(run_id: str) -> Pieces:
    for word in (SLOW * 40).split(" "):
        yield f"{word} "
        await anyio.sleep(0.06)


async def _failure(run_id: str) -> Pieces:
    yield "I looked for the invoice in"
    raise RuntimeError("the billing service did not answer within 10 s")


async def _colour(run_id: str) -> Pieces:
    yield "I can draw it in one of the three colours of the style guide."
    yield _asking(run_id, "Which one?", {"type": "string", "enum": ["Teal", "Amber", "Graphite"]})


async def _number(run_id: str) -> Pieces:
    yield _asking(run_id, "What is the order number?", {"type": "string"})


async def _table(run_id: str) -> Pieces:
    fields = {
        "guests": {"type": "integer", "title": "Guests"},
        "place": {"type": "string", "title": "Where", "enum": ["Inside", "Terrace", "At the bar"]},
        "name": {"type": "string", "title": "Name", "description": "As it is to stand on the card"},
        "reminder": {"type": "boolean", "title": "Remind me the day before"},
    }
    yield _asking(run_id, "What shall I book?", {"type": "object", "properties": fields, "required": ["guests"]})


async def _analysis(run_id: str) -> Pieces:
    thought = f"thought-{run_id}"
    yield {"type": "REASONING_START", "messageId": thought}
    yield {"type": "REASONING_MESSAGE_START", "messageId": f"{thought}-1", "role": "reasoning"}
    yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": f"{thought}-1", "delta": THOUGHT}
    yield {"type": "REASONING_MESSAGE_END", "messageId": f"{thought}-1"}
    yield {"type": "REASONING_END", "messageId": thought}
    message = f"answer-{run_id}"
    for number, (name, arguments, result) in enumerate(CALLS):
        for event in _call(f"call-{number}-{run_id}", name, arguments):
            yield event
        yield {
            "type": "TOOL_CALL_RESULT",
            "messageId": f"result-{number}-{run_id}",
            "toolCallId": f"call-{number}-{run_id}",
            "content": result,
            "role": "tool",
        }
    marks = {"sources": SOURCES}
    yield {"type": "TEXT_MESSAGE_START", "messageId": message, "role": "assistant", "metadata": marks}
    for line in ANSWER.splitlines(keepends=True):
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": line}
    yield {"type": "TEXT_MESSAGE_END", "messageId": message}


async def _approval(run_id: str) -> Pieces:
    call = f"archive-{run_id}"
    yield "There are 214 carts older than a year, and nobody has opened one of them since March."
    for event in _call(call, "carts.archive", {"older_than": "365 days", "count": 214}):
        yield event
    question = {"id": f"ask-{run_id}", "reason": "approval", "toolCallId": call, "message": "Archive 214 old carts?"}
    yield _end(question)


async def _gone_on(turn: Any) -> Pieces:
    for entry in turn.resume:
        if entry["status"] == "resolved" and "toolCallId" in entry:
            result = {"type": "TOOL_CALL_RESULT", "messageId": f"r-{turn.run_id}", "toolCallId": entry["toolCallId"]}
            yield {**result, "content": '{"archived": 214}', "role": "tool"}
    is_yes = turn.resume[0]["status"] == "resolved"
    yield "Done, as you said." if is_yes else "Then I leave everything as it is."


def _call(call: str, name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": name},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": json.dumps(arguments)},
        {"type": "TOOL_CALL_END", "toolCallId": call},
    ]


def _asking(run_id: str, message: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _end({"id": f"ask-{run_id}", "reason": "input", "message": message, "responseSchema": schema})


def _end(interrupt: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [interrupt]}}


PLAYS = {
    "why did checkout": _analysis,
    "archive": _approval,
    "colour": _colour,
    "table": _table,
    "ask me": _number,
    "plan": _plan,
    "fail": _failure,
}
"""What to play, by a word of the message."""
