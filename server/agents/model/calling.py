"""The tools on offer to the model, and how one of them is called.

A name is shown as its owner gave it, and sent as providers allow it. What a model sends for arguments may be
anything: what cannot be called is answered with an error that says why, and the model goes on. Results are cut to a
share of the context.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import orjson

from ...core.ports import Event, Message, Turn
from ...core.text import mended
from ...ids import new_id
from ..tools import Tool, Toolbox, ToolResult

MAX_RESULT_BYTES: Final = 64 << 10
MAX_CALLS: Final = 16
"""How many calls of one answer are carried out, or asked about; the model is told about the others."""
TOOL_TIMEOUT_S: Final = 300.0
"""A tool bounds itself; this is for one that does not."""

_CUT: Final = "\n[cut: the result is longer than fits]"
_SHOWN_NAMES: Final = 50

_log = logging.getLogger("sessionstream.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as the model made it: `name` as it is shown, `arguments` as they were sent."""

    call_id: str
    name: str
    arguments: str
    is_allowed: bool = False
    """A person allowed it; a tool that wants leave is never called otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One tool as it is offered; without a `tool`, the client performs it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    tool: Tool | None = None
    needs_approval: bool = False


class Offers:
    """All tools of one request by the name they are sent under; the server's come before the client's."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers: dict[str, Offer] = {}
        for offer in offers:
            self._offers.setdefault(wire_name(offer.name), offer)

    def get(self, name: str) -> Offer | None:
        """Return the tool of this name, as it is shown or as it is sent."""
        return self._offers.get(wire_name(name))

    def items(self) -> Iterable[tuple[str, Offer]]:
        """Return all of them with the names they are sent under."""
        return self._offers.items()

    def shown(self, name: str) -> str:
        """Return the owner's spelling of a name that a model used."""
        offer = self.get(name)
        return offer.name if offer is not None else name[:128] or "unnamed"

    def names(self) -> str:
        """Return the names for a person or a model that asked for another."""
        names = list(self._offers)
        return ", ".join(names[:_SHOWN_NAMES]) or "none"


def offers(
    toolboxes: Sequence[Toolbox], turn: Turn, *, allowed: Collection[str] | None, approvals: Collection[str]
) -> Offers:
    """Return what can be called now: the allowed tools of the server, and those that the client performs."""
    tools = [tool for toolbox in toolboxes for tool in toolbox.tools()]
    own = [
        Offer(
            name=tool.spec.name,
            description=tool.spec.description,
            parameters=tool.spec.parameters,
            tool=tool,
            needs_approval=tool.spec.needs_approval or tool.spec.name in approvals,
        )
        for tool in tools
        if allowed is None or tool.spec.name in allowed
    ]
    theirs = [
        Offer(name=one["name"], description=one.get("description") or "", parameters=one.get("parameters") or {})
        for one in turn.tools
    ]
    return Offers([*own, *theirs])


def wire_name(name: str) -> str:
    """Return a name with the letters that all providers allow."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "unnamed"


# --- calling


def refusal(call: Call, known: Offers) -> ToolResult | None:
    """Return why a call cannot be carried out, or asked about, at all."""
    if known.get(call.name) is None:
        return _failed(f"there is no tool {call.name!r}; there are: {known.names()}")
    try:
        arguments = orjson.loads(call.arguments)
    except orjson.JSONDecodeError as error:
        return _failed(f"the arguments are not JSON ({error.msg}, at {error.pos}); call again with one JSON object")
    if not isinstance(arguments, dict):
        return _failed("the arguments must be one JSON object")
    return None


async def perform(calls: Sequence[Call], known: Offers, turn: Turn, *, max_bytes: int) -> list[ToolResult]:
    """Carry calls out at the same time; return their results in order, together within `max_bytes`.

    Cancelled, it cancels them all.
    """
    share = max(1, min(MAX_RESULT_BYTES, max_bytes) // max(1, len(calls)))
    results = [_failed(f"more than {MAX_CALLS} calls at once; call again with fewer") for _ in calls]

    async def carry_out(index: int) -> None:
        results[index] = _cut(await _perform(calls[index], known, turn), share)

    async with anyio.create_task_group() as group:
        for index in range(min(len(calls), MAX_CALLS)):
            group.start_soon(carry_out, index)
    return results


def result_event(call_id: str, result: ToolResult) -> Event:
    """Return the event that answers a call; its message tells a failure, and where the result comes from."""
    metadata: dict[str, Any] = {}
    if result.is_error:
        metadata["is_error"] = True
    if result.sources:
        metadata["sources"] = [dict(source) for source in result.sources]
    return {
        "type": "TOOL_CALL_RESULT",
        "messageId": new_id(),
        "toolCallId": call_id,
        "content": result.content,
        "role": "tool",
        **({"metadata": metadata} if metadata else {}),
    }


def is_failure(message: Message) -> bool:
    """Say whether a tool's message tells a failure: a tool's of ours, a client's, or as AG-UI says it."""
    ours = marked(message, "sessionstream")
    return bool(
        message.get("error")
        or marked(message, "is_error")
        or (isinstance(ours, dict) and ours.get("status") == "failed")
    )


def marked(message: Message, key: str) -> Any:
    """Return what a message's metadata has under a key; a message may come from anywhere."""
    metadata = message.get("metadata")
    return metadata.get(key) if isinstance(metadata, dict) else None


async def _perform(call: Call, known: Offers, turn: Turn) -> ToolResult:
    refused = refusal(call, known)
    offer = known.get(call.name)
    if refused is not None or offer is None or offer.tool is None:
        return refused or _failed(f"{call.name} is not performed by the server")
    if offer.needs_approval and not call.is_allowed:
        return _failed(f"nobody was asked to allow {call.name}: too many calls at once")
    try:
        with anyio.fail_after(TOOL_TIMEOUT_S):
            return await offer.tool.call(orjson.loads(call.arguments), turn)
    except TimeoutError:
        return _failed(f"{call.name} took longer than {TOOL_TIMEOUT_S:g} s")
    except Exception:  # boundary: tools are other people's code; what they raise fails the call, not the run
        _log.exception("run %s: the tool %r raised", turn.run_id, call.name)
        return _failed(f"{call.name} failed")


def _cut(result: ToolResult, max_bytes: int) -> ToolResult:
    content = mended(result.content).encode()  # no frame can carry half a surrogate pair
    if len(content) > max_bytes:
        content = content[:max_bytes].decode(errors="ignore").encode() + _CUT.encode()
    return ToolResult(content=content.decode(), is_error=result.is_error, sources=result.sources)


def _failed(why: str) -> ToolResult:
    return ToolResult(content=why, is_error=True)
