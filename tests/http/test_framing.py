"""Any text survives the stream, byte for byte, through a parser that knows the standard only."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx
import orjson
import pytest

from scripts.blackbox.arena import script
from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from tests.http.kit import Event, new_session
from tests.http.sse import EventStreamParser

SPOKEN = (
    "line\nbreak",
    "carriage\rreturn",
    "both\r\n\r\nof them\n\n",
    "data: not a field\nevent: evil\nid: 5\n: comment\nretry: 1",
    "\ufeffleading mark",
    "\u2028line separator\u2029paragraph separator\u0085next line",
    "\x0b\x0c\x1c\x1d\x1e",
    "\x01\x1f\x7f",
    "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa",
    "combining e\u0301 \u0939\u093f\u0928\u094d\u0926\u0940",
    "東京タワー 한국어 العربية \u202eright\u202c",
    "quotes \" ' ` \\ / \\u0041 \\n",
    "<script>alert(1)</script>&amp;",
    "\ufffd\ufffe\uffff\U0010ffff",
    " ",
    "x" * 50_000,
)


class SourceOfText:
    """Texts made of what is likely to break a line-based format."""

    PIECES = (
        "\r",
        "\n",
        "\r\n",
        "\n\n",
        ":",
        ": ",
        "data:",
        "id:",
        "\ufeff",
        "\u2028",
        "\u0085",
        "é",
        "\U0001f600",
        " ",
        "a",
    )

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __iter__(self) -> Iterator[str]:
        for _ in range(60):
            yield "".join(self._random.choices(self.PIECES, k=self._random.randrange(1, 40)))


@pytest.mark.parametrize("texts", [SPOKEN, tuple(SourceOfText(7))], ids=["chosen", "made up"])
async def test_any_text_survives_the_stream(server: Server, user: Caller, texts: tuple[str, ...]) -> None:
    await new_session(user, session_id="s")
    asked = [text for text in texts if text.strip()]
    for number, text in enumerate(asked):
        answer = await user.call(
            "POST", "/api/system", {"message": text, "session_id": "s", "message_id": f"told-{number}"}
        )
        assert answer.status == 202, (text, answer.body)
    message = script(*({"text": text} for text in texts))
    spoken = await user.chat(message, session_id="s", message_id="ask", wait=True)
    assert spoken.status == 200, spoken.body
    last: str = spoken.json()["cursor"]

    # From a snapshot, and delta by delta from the beginning of the log.
    for cursor in (None, f"{last.rpartition('-')[0]}-0"):
        events = await dispatched(server, user, cursor, last)
        assert texts_of(events) == [*asked, message, "".join(texts)]


async def dispatched(server: Server, user: Caller, cursor: str | None, until: str) -> list[Event]:
    """Return what an EventSource would dispatch, its bytes cut anywhere, up to the event with this id."""
    parser, cuts = EventStreamParser(), random.Random(3)
    headers = {**user.headers, **({"Last-Event-ID": cursor} if cursor else {})}
    found: list[Event] = []
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=10) as client,
        client.stream("GET", "/api/chat/stream?session_id=s", headers=headers) as response,
    ):
        async for piece in response.aiter_raw():
            while piece:
                size = cuts.randrange(1, 3000)
                for message in parser.feed(piece[:size]):
                    assert message.event == "message"
                    found.append(orjson.loads(message.data))
                piece = piece[size:]
            if parser.last_event_id == until:
                break
    assert parser.retry_ms is not None
    assert set(parser.fields) == {"retry", "id", "data"}
    return found


def texts_of(events: list[Event]) -> list[str]:
    """Return the texts of all messages, from snapshots or from deltas."""
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "MESSAGES_SNAPSHOT":
            texts = {message["id"]: message["content"] for message in event["messages"]}
        elif event["type"] == "TEXT_MESSAGE_CONTENT":
            texts[event["messageId"]] = texts.get(event["messageId"], "") + event["delta"]
    return list(texts.values())


async def test_halves_of_surrogates_from_an_agent_arrive_as_whole_letters(server: Server, user: Caller) -> None:
    await new_session(user, session_id="s")
    answer = await user.chat(script({"emoji": {"split": True}}), session_id="s", wait=True)
    events = await dispatched(server, user, None, answer.json()["cursor"])

    assert texts_of(events)[-1] == "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def test_the_parser_does_what_the_standard_says() -> None:
    parser = EventStreamParser()
    body = (
        "\ufeff: comment\r\ndata: one\rdata:two\ndata\n\n"
        "event: named\nid: 7\ndata:  spaced\n\nid: a\0b\ndata: x\n\n"
        "retry: 12a\nretry: 34\nid\ndata: y\n\n\ndata: unfinished"
    ).encode()
    found = [message for at in range(len(body)) for message in parser.feed(body[at : at + 1])]

    assert [tuple(message) for message in found] == [
        ("message", "one\ntwo\n", ""),
        ("named", " spaced", "7"),
        ("message", "x", "7"),
        ("message", "y", ""),
    ]
    assert parser.comments == [" comment"]
    assert parser.retry_ms == 34
