"""One answer of the model as it streams in, as AG-UI events.

All text of an answer is one message, and its calls hang on that. Calls are ended when the answer is, as providers may
send pieces of several at a time. Ids are ours: some servers use the same ones again and again. Pieces may hold half a
surrogate pair; what is sent, kept and given back to the model is whole.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import StreamedResponse

from ...core.ports import Event
from ...core.text import Mender, mended
from ...errors import AgentFailed
from ...ids import new_id
from .calling import Call, Offers
from .failures import PROVIDER_ERRORS, failed
from .provider import ModelProvider

_CITATION: Final = re.compile(r"\[(\d{1,4}(?:\s*,\s*\d{1,4})*)\]")
_MAX_MODEL_CHARS: Final = 200

_log = logging.getLogger("sessionstream.model")


class Reply:
    """What comes of one request. `calls` and `answer` are there when the events ended."""

    def __init__(
        self,
        provider: ModelProvider,
        tools: Offers,
        *,
        usage: list[dict[str, Any]],
        sources: Sequence[Mapping[str, Any]] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare.

        Args:
            provider: who is asked.
            tools: what the model may call.
            usage: gets what the request costs, as soon as that is known.
            sources: what the answer may cite.
            metadata: what is kept with the answer.
        """
        self.calls: list[Call] = []
        self.answer: ModelResponse | None = None
        self._provider = provider
        self._tools = tools
        self._usage = usage
        self._sources = sources
        self._metadata = metadata
        self._spent: dict[str, Any] = {}
        self._message_id = new_id()
        self._is_text_open = False
        self._text: list[str] = []
        self._mender = Mender()
        self._thought: _Thought | None = None
        self._called: dict[int, _Called] = {}

    @property
    def text(self) -> str:
        """What the answer says so far."""
        return "".join(self._text)

    async def events(self, messages: list[ModelMessage], **settings: Any) -> AsyncGenerator[Event, None]:
        """Ask, and yield what is answered.

        Raises:
            AgentFailed: the provider failed, refused, or stopped in the middle; what came before was yielded.
        """
        has_begun = False
        try:
            async with self._provider.opened(messages, self._tools, **settings) as stream:
                pieces = aiter(stream)
                while (piece := await self._provider.next_piece(pieces)) is not None:
                    self._note_usage(stream)
                    for event in self._fold(piece):
                        has_begun = True
                        yield event
                self._note_usage(stream)
                response = stream.get()
        except TimeoutError as error:
            raise AgentFailed(code="model_timeout") from error
        except PROVIDER_ERRORS as error:
            is_odd = isinstance(error, UnexpectedModelBehavior)
            _log.warning("the model's provider failed: %.500s", error, exc_info=is_odd)
            raise failed(error, has_begun=has_begun) from error
        self._check(response)
        for event in self._ending(response):
            yield event
        self.calls = [called.call for _, called in sorted(self._called.items())]
        self.answer = self._mended(response)

    # --- pieces

    def _fold(self, piece: ModelResponseStreamEvent) -> Iterator[Event]:
        match piece:
            case PartStartEvent(part=TextPart(content=content)):
                yield from self._write(content)
            case PartDeltaEvent(delta=TextPartDelta(content_delta=content)):
                yield from self._write(content)
            case PartStartEvent(index=index, part=ThinkingPart(content=content)):
                yield from self._think(index, content)
            case PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=content)):
                yield from self._think(index, content or "")
            case PartEndEvent(part=ThinkingPart() as part):
                yield from self._thought_through(part)
            case PartStartEvent(index=index, part=ToolCallPart() as part):
                yield from self._call(index, part)
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=arguments)):
                yield from self._argue(index, arguments)

    def _write(self, content: str) -> Iterator[Event]:
        text = self._mender.feed(content)
        if not text:
            return
        self._text.append(text)
        if not self._is_text_open:
            self._is_text_open = True
            start: Event = {"type": "TEXT_MESSAGE_START", "messageId": self._message_id, "role": "assistant"}
            yield {**start, "metadata": dict(self._metadata)} if self._metadata else start
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": self._message_id, "delta": text}

    def _end_text(self, metadata: Mapping[str, Any]) -> Iterator[Event]:
        yield from self._write(self._mender.flush())
        if self._is_text_open:
            self._is_text_open = False
            end: Event = {"type": "TEXT_MESSAGE_END", "messageId": self._message_id}
            yield {**end, "metadata": dict(metadata)} if metadata else end

    def _think(self, index: int, content: str) -> Iterator[Event]:
        if self._thought is None or self._thought.index != index:
            yield from self._end_thought()
            self._thought = _Thought(index)
        yield from self._thought.write(content)

    def _thought_through(self, part: ThinkingPart) -> Iterator[Event]:
        if self._thought is not None and part.signature is not None and part.provider_name is not None:
            yield from self._thought.sign(part)
        yield from self._end_thought()

    def _end_thought(self) -> Iterator[Event]:
        if self._thought is not None:
            yield from self._thought.end()
            self._thought = None

    def _call(self, index: int, part: ToolCallPart) -> Iterator[Event]:
        if index in self._called:
            return
        yield from self._end_text({})
        called = self._called[index] = _Called(self._tools.shown(mended(part.tool_name)))
        yield {
            "type": "TOOL_CALL_START",
            "toolCallId": called.call_id,
            "toolCallName": called.name,
            "parentMessageId": self._message_id,
        }
        yield from self._argue(index, part.args)

    def _argue(self, index: int, arguments: str | dict[str, Any] | None) -> Iterator[Event]:
        if arguments and index in self._called:
            yield from self._called[index].add(arguments)

    # --- the end

    def _check(self, response: ModelResponse) -> None:
        details = response.provider_details or {}
        if response.finish_reason == "content_filter":
            raise AgentFailed(mended(str(details.get("refusal") or "")), code="model_refused")
        if response.finish_reason == "error":
            raise AgentFailed(code="model_unavailable")
        if response.finish_reason is None and not details.get("finish_reason"):
            raise AgentFailed(code="model_cut_off")

    def _ending(self, response: ModelResponse) -> Iterator[Event]:
        yield from self._end_thought()
        metadata: dict[str, Any] = {}
        if self._spent:
            metadata["usage"] = dict(self._spent)
        if response.finish_reason == "length":
            metadata["finish_reason"] = "length"
        if cited := self._cited():
            metadata["sources"] = cited
        yield from self._end_text(metadata)
        for called in self._called.values():
            yield from called.end()

    def _cited(self) -> list[dict[str, Any]]:
        """Return the sources whose numbers stand in brackets; of two with one number, the newer."""
        numbers = {int(number) for group in _CITATION.findall(self.text) for number in group.split(",")}
        known = {source["n"]: dict(source) for source in self._sources if isinstance(source.get("n"), int)}
        return [source for number, source in known.items() if number in numbers]

    def _mended(self, response: ModelResponse) -> ModelResponse:
        """Return the answer as the next request of this run says it: under our ids, and whole."""
        parts: list[ModelResponsePart] = []
        calls = iter(self.calls)
        for part in response.parts:
            if isinstance(part, ToolCallPart):
                call = next(calls)
                parts.append(dataclasses.replace(part, args=call.arguments, tool_call_id=call.call_id))
            elif isinstance(part, TextPart) and not part.content.strip():
                continue  # models say a blank line before a call, and some providers refuse to hear it
            elif isinstance(part, TextPart | ThinkingPart):
                parts.append(dataclasses.replace(part, content=mended(part.content)))
            else:
                parts.append(part)
        return dataclasses.replace(response, parts=parts)

    def _note_usage(self, stream: StreamedResponse) -> None:
        spent = stream.usage
        counts = {
            "inputTokens": spent.input_tokens,
            "outputTokens": spent.output_tokens,
            "cachedInputTokens": spent.cache_read_tokens,
            "cacheWriteInputTokens": spent.cache_write_tokens,
            "reasoningTokens": spent.details.get("reasoning_tokens", 0),
        }
        known = {name: count for name, count in counts.items() if count}
        if not known:
            return
        if not self._spent:
            # Appended before the end: an interrupted run has cost something, too.
            self._usage.append(self._spent)
            self._spent.update(provider=_label(stream.provider_name), model=_label(stream.model_name))
        self._spent.update(known)


class _Thought:
    """One piece of reasoning that is open."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._message_id = new_id()
        self._mender = Mender()
        self._is_open = False
        self._metadata: dict[str, Any] = {}

    def write(self, content: str) -> Iterator[Event]:
        text = self._mender.feed(content)
        if text:
            yield from self._open()
            yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": self._message_id, "delta": text}

    def sign(self, part: ThinkingPart) -> Iterator[Event]:
        """Keep what only the provider can read, to give it back when the conversation goes on."""
        yield from self._open()
        self._metadata = {"signed": {"by": part.provider_name, **({"id": part.id} if part.id else {})}}
        yield {
            "type": "REASONING_ENCRYPTED_VALUE",
            "subtype": "message",
            "entityId": self._message_id,
            "encryptedValue": str(part.signature),
        }

    def end(self) -> Iterator[Event]:
        yield from self.write(self._mender.flush())
        if self._is_open:
            end: Event = {"type": "REASONING_MESSAGE_END", "messageId": self._message_id}
            yield {**end, "metadata": self._metadata} if self._metadata else end
            yield {"type": "REASONING_END", "messageId": self._message_id}

    def _open(self) -> Iterator[Event]:
        if not self._is_open:
            self._is_open = True
            yield {"type": "REASONING_START", "messageId": self._message_id}
            yield {"type": "REASONING_MESSAGE_START", "messageId": self._message_id, "role": "reasoning"}


class _Called:
    """One call that is open."""

    def __init__(self, name: str) -> None:
        self.call_id = new_id()
        self.name = name
        self._arguments: list[str] = []
        self._mender = Mender()

    @property
    def call(self) -> Call:
        return Call(call_id=self.call_id, name=self.name, arguments="".join(self._arguments))

    def add(self, arguments: str | dict[str, Any]) -> Iterator[Event]:
        text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
        yield from self._say(self._mender.feed(text))

    def end(self) -> Iterator[Event]:
        yield from self._say(self._mender.flush() or ("" if self._arguments else "{}"))
        yield {"type": "TOOL_CALL_END", "toolCallId": self.call_id}

    def _say(self, text: str) -> Iterator[Event]:
        if text:
            self._arguments.append(text)
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": self.call_id, "delta": text}


def _label(name: str | None) -> str:
    return "".join(filter(str.isprintable, mended(name or "")))[:_MAX_MODEL_CHARS]
