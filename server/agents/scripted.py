r"""The scripted agent: plays a script, for people who test their own client, proxy or monitoring.

A script is a JSON object `{"steps": […]}`, sent as the message itself, or kept in a file that `agents.toml` names
(`kind = "scripted"`, `script = "demo.json"`). A message that is a script is played even when there is a file. With
neither, the agent repeats the message and says how to script it. Each step is an object with exactly one key:

| step | what happens |
|---|---|
| `{"emit": {"tokens": 100, "rate": 20, "text": "w"}}` | `w0 w1 w2 …`, one delta each, `rate` a second |
| `{"text": "…"}` | one delta |
| `{"echo": true}` | the words of the message again, one delta each |
| `{"history": true}` | how many messages the agent sees, and the last texts of the user |
| `{"giant": {"bytes": 1000000}}` | one delta of so many letters |
| `{"emoji": {"split": true}}` | a family emoji, cut inside its surrogate pairs and at its joiners |
| `{"reasoning": "…"}` | a reasoning span with one message |
| `{"tool": {"name": "search", "args": {}}}` | a tool call, its arguments in two pieces, and its result |
| `{"tool": {"name": "search", "answer": false}}` | a tool call that is never answered |
| `{"tool": {"name": "search", "end": false}}` | a tool call that is left open, so never answered either |
| `{"step": "name"}` | a step of the run; it lasts to the next one or to the end of the script |
| `{"state": [{"op": "add", "path": "/notes", "value": 1}]}` | a change of the session's artifacts (RFC 6902) |
| `{"event": {"type": "CUSTOM", "name": "x", "value": 1}}` | this AG-UI event as it stands, legal or not |
| `{"stall": {"seconds": 30}}` | silence |
| `{"ignore_cancel": {"seconds": 5}}` | goes on, a word every 50 ms, although cancelled; then gives in |
| `{"raise": "message"}` | the agent raises |

What may be left out: `rate` (0: as fast as it goes), `text` of `emit` (`w`), `split` (true), `args` (empty). Bounds:
1,000,000 tokens, 1,000,000 a second, 3,600 seconds, 32 MiB, 64 levels of nesting. The whole script is checked before
the first step is played; a wrong one fails the run with `agent_failed` and a detail that names the step and the key.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from copy import deepcopy
from functools import partial
from typing import Any, Final, NoReturn

import anyio
import anyio.lowlevel

from ..core.ports import Event, Turn
from ..errors import AgentFailed
from ..ids import new_id

MAX_TOKENS: Final = 1_000_000
MAX_RATE: Final = 1_000_000
MAX_SECONDS: Final = 3_600
MAX_BYTES: Final = 32 << 20
MAX_DEPTH: Final = 64

HELP: Final = (
    "\n\nI am the scripted agent: I repeat what is no script. To script me, send JSON: "
    '{"steps": [{"emit": {"tokens": 20, "rate": 10}}, {"stall": {"seconds": 2}}, {"text": "Done."}]}'
)

# Between two turns of the loop: enough to be fast, few enough that others wait far less than a millisecond.
_BURST: Final = 32
_TICK_S: Final = 0.05
_SHOWN_TEXTS: Final = 5
_SHOWN_CHARS: Final = 200
# Man, joiner, woman, joiner, girl. Joined, the pieces are the same text; each person is two UTF-16 units.
_FAMILY: Final = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
_FAMILY_PIECES: Final = ("\ud83d", "\udc68", "\u200d", "\U0001f469\u200d\ud83d", "\udc67")

Pieces = AsyncGenerator[str | Event, None]
Play = Callable[[Turn], Pieces]
Script = tuple[Play, ...]


class ScriptError(ValueError):
    """The script is wrong; the text names the step and the key."""


class ScriptedAgent:
    """Plays the script in the message, else `script`, else repeats the message."""

    def __init__(self, script: Script | None = None) -> None:
        self._script = script

    async def __call__(self, turn: Turn) -> Pieces:
        """Play one turn.

        Raises:
            AgentFailed: the message is a script and it is wrong.
        """
        try:
            script = _script_in(turn.message)
        except ScriptError as error:
            raise AgentFailed(str(error)) from error
        for play in next(found for found in (script, self._script, _REPEAT) if found is not None):
            # Closed here and now, not by the garbage collector: a step that resists must resist its own run.
            async with aclosing(play(turn)) as pieces:
                async for piece in pieces:
                    yield piece
            await anyio.lowlevel.checkpoint()


def parse_script(text: str) -> Script:
    """Return the script that `text` spells.

    Raises:
        ScriptError: it is not JSON, or a step is wrong.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ScriptError(f"the script is not JSON: {error}") from error
    _check_depth(document)
    fields = _object(document, "the script", "steps")
    steps = _required(fields, "the script", "steps")
    if not isinstance(steps, list):
        raise ScriptError(f"the script: steps must be a list, not {_shown(steps)}")
    return tuple(_plays(steps))


def _script_in(message: str) -> Script | None:
    text = message.strip()
    # A JSON object that speaks of steps is meant as a script, also when it is a broken one.
    return parse_script(text) if text.startswith("{") and '"steps"' in text else None


def _plays(steps: Sequence[object]) -> Iterable[Play]:
    open_step: str | None = None
    for number, step in enumerate(steps, 1):
        at = f"step {number}"
        if not isinstance(step, dict) or len(step) != 1:
            raise ScriptError(f"{at} must be an object with one key, not {_shown(step)}")
        [(key, value)] = step.items()
        if key == "step":
            events = _step_change(open_step, _text(value, f"{at}: step"))
            open_step = value
            yield partial(_play_all, pieces=events)
        elif key in _STEPS:
            yield _STEPS[key](value, f"{at}: {key}")
        else:
            raise ScriptError(f"{at}: unknown key {_shown(key)}; known are {', '.join(sorted((*_STEPS, 'step')))}")
    if open_step is not None:
        yield partial(_play_all, pieces=_step_change(open_step, None))


def _step_change(before: str | None, after: str | None) -> list[Event]:
    ends = [] if before is None else [{"type": "STEP_FINISHED", "stepName": before}]
    return ends + ([] if after is None else [{"type": "STEP_STARTED", "stepName": after}])


# --- what the steps play


async def _play_all(_turn: Turn, *, pieces: Iterable[str | Event]) -> Pieces:
    for count, piece in enumerate(pieces, 1):
        # A copy: the script outlives this run, which may write into what it gets.
        yield deepcopy(piece) if isinstance(piece, dict) else piece
        if count % _BURST == 0:
            await anyio.lowlevel.checkpoint()


async def _play_paced(_turn: Turn, *, pieces: Iterable[str], rate: float) -> Pieces:
    start = anyio.current_time()
    for count, piece in enumerate(pieces):
        # By the clock, not by the pause: a run that was held up catches up, as a real model's backlog does.
        await anyio.sleep(max(0.0, start + count / rate - anyio.current_time()))
        yield piece


def _play_echo(turn: Turn) -> Pieces:
    return _play_all(turn, pieces=(f"{word} " for word in turn.message.split()))


async def _play_history(turn: Turn) -> Pieces:
    texts = [_text_of(message.get("content")) for message in turn.messages if message.get("role") == "user"]
    last = " | ".join(text[:_SHOWN_CHARS] for text in texts[-_SHOWN_TEXTS:])
    yield f"Messages I see: {len(turn.messages)}. The user's last: {last}"


async def _play_reasoning(_turn: Turn, *, text: str) -> Pieces:
    message_id = new_id()
    yield {"type": "REASONING_START", "messageId": message_id}
    yield {"type": "REASONING_MESSAGE_START", "messageId": message_id, "role": "reasoning"}
    yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": message_id, "delta": text}
    yield {"type": "REASONING_MESSAGE_END", "messageId": message_id}
    yield {"type": "REASONING_END", "messageId": message_id}


async def _play_tool(_turn: Turn, *, name: str, arguments: str, answer: bool, end: bool) -> Pieces:
    call_id = new_id()
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name}
    middle = len(arguments) // 2
    for delta in (arguments[:middle], arguments[middle:]):
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": delta}
    if not end:
        return
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
    if answer:
        yield {
            "type": "TOOL_CALL_RESULT",
            "messageId": new_id(),
            "toolCallId": call_id,
            "content": f"{name} was called with {arguments}",
            "role": "tool",
        }


async def _play_stall(_turn: Turn, *, seconds: float) -> Pieces:
    await anyio.sleep(seconds)
    return
    yield ""  # makes this a generator


async def _play_deaf(_turn: Turn, *, seconds: float) -> Pieces:
    ticks = math.ceil(seconds / _TICK_S)
    heard: BaseException | None = None
    for count in range(ticks):
        # Shielded from the second time on: a scope cancels again at every await, and swallowing that would spin.
        heard = await _deaf_tick(shield=heard is not None) or heard
        try:
            yield f"w{count} "
        except GeneratorExit:
            for _ in range(count + 1, ticks):
                await _deaf_tick(shield=True)
            raise
    if heard is not None:
        raise heard


async def _deaf_tick(*, shield: bool) -> BaseException | None:
    """Wait one tick; return the cancellation that came instead of raising it: that is this step's whole point."""
    try:
        with anyio.CancelScope(shield=shield):
            await anyio.sleep(_TICK_S)
    except anyio.get_cancelled_exc_class() as cancelled:
        return cancelled
    return None


async def _play_raise(_turn: Turn, *, message: str) -> Pieces:
    # What a foreign agent would raise, none of our own errors.
    raise RuntimeError(message)
    yield ""  # makes this a generator


# --- how the steps are read


def _emit(value: object, at: str) -> Play:
    fields = _object(value, at, "tokens", "rate", "text")
    tokens = int(_number(_required(fields, at, "tokens"), f"{at}.tokens", (1, MAX_TOKENS), whole=True))
    rate = _number(fields.get("rate", 0), f"{at}.rate", (0, MAX_RATE))
    prefix = _text(fields.get("text", "w"), f"{at}.text")
    if rate:
        return lambda turn: _play_paced(turn, pieces=(f"{prefix}{i} " for i in range(tokens)), rate=rate)
    return lambda turn: _play_all(turn, pieces=(f"{prefix}{i} " for i in range(tokens)))


def _giant(value: object, at: str) -> Play:
    size = _required(_object(value, at, "bytes"), at, "bytes")
    count = int(_number(size, f"{at}.bytes", (1, MAX_BYTES), whole=True))
    # Made when played: a script that is only kept costs no memory.
    return lambda turn: _play_all(turn, pieces=("x" * count for _ in range(1)))


def _emoji(value: object, at: str) -> Play:
    split = _flag(_object(value, at, "split").get("split", True), f"{at}.split")
    return partial(_play_all, pieces=_FAMILY_PIECES if split else (_FAMILY,))


def _tool(value: object, at: str) -> Play:
    fields = _object(value, at, "name", "args", "answer", "end")
    return partial(
        _play_tool,
        name=_text(_required(fields, at, "name"), f"{at}.name"),
        arguments=json.dumps(_any_object(fields.get("args", {}), f"{at}.args"), ensure_ascii=False),
        answer=_flag(fields.get("answer", True), f"{at}.answer"),
        end=_flag(fields.get("end", True), f"{at}.end"),
    )


def _state(value: object, at: str) -> Play:
    if not isinstance(value, list) or not all(isinstance(change, dict) for change in value):
        raise ScriptError(f"{at} must be a list of RFC 6902 operations, not {_shown(value)}")
    return partial(_play_all, pieces=({"type": "STATE_DELTA", "delta": value},))


def _event(value: object, at: str) -> Play:
    event = _any_object(value, at)
    _text(_required(event, at, "type"), f"{at}.type")
    return partial(_play_all, pieces=(event,))


def _marker(play: Play) -> Callable[[object, str], Play]:
    def read(value: object, at: str) -> Play:
        if value is not True:
            raise ScriptError(f"{at} must be true, not {_shown(value)}")
        return play

    return read


def _seconds(play: Callable[..., Pieces]) -> Callable[[object, str], Play]:
    def read(value: object, at: str) -> Play:
        seconds = _required(_object(value, at, "seconds"), at, "seconds")
        return partial(play, seconds=_number(seconds, f"{at}.seconds", (0, MAX_SECONDS)))

    return read


_STEPS: Final[dict[str, Callable[[object, str], Play]]] = {
    "emit": _emit,
    "text": lambda value, at: partial(_play_all, pieces=(_text(value, at),)),
    "echo": _marker(_play_echo),
    "history": _marker(_play_history),
    "giant": _giant,
    "emoji": _emoji,
    "reasoning": lambda value, at: partial(_play_reasoning, text=_text(value, at)),
    "tool": _tool,
    "state": _state,
    "event": _event,
    "stall": _seconds(_play_stall),
    "ignore_cancel": _seconds(_play_deaf),
    "raise": lambda value, at: partial(_play_raise, message=_text(value, at)),
}
_REPEAT: Final[Script] = (_play_echo, partial(_play_all, pieces=(HELP,)))


# --- values


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise ScriptError(f"the script nests deeper than {MAX_DEPTH} levels")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _any_object(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScriptError(f"{at} must be an object, not {_shown(value)}")
    return value


def _object(value: object, at: str, *known: str) -> dict[str, Any]:
    fields = _any_object(value, at)
    for key in fields:
        if key not in known:
            raise ScriptError(f"{at}: unknown key {_shown(key)}; known are {', '.join(known)}")
    return fields


def _required(fields: dict[str, Any], at: str, key: str) -> object:
    if key not in fields:
        raise ScriptError(f"{at}: {key} is missing")
    return fields[key]


def _number(value: object, at: str, bounds: tuple[int, int], *, whole: bool = False) -> float:
    low, high = bounds
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # type: ignore[operator]  # `fits` says it is a number
        kind = "a whole number" if whole else "a number"
        raise ScriptError(f"{at} must be {kind} from {low} to {high}, not {_shown(value)}")
    return value  # type: ignore[return-value]  # as above


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise ScriptError(f"{at} must be a text, not {_shown(value)}")
    return value


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise ScriptError(f"{at} must be true or false, not {_shown(value)}")
    return value


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
