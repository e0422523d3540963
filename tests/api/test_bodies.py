"""Bodies and query parameters: what is let through, and which field every refusal names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from starlette.requests import Request

from server.api.bodies import (
    Body,
    ChatBody,
    ImportBody,
    InterruptBody,
    NewSessionBody,
    PatchQueueBody,
    PatchSessionBody,
    SystemBody,
    ToolResultBody,
    parse_body,
    read_body,
)
from server.api.query import query_choice, query_id, query_int, query_text
from server.api.strict_json import parse_json
from server.errors import BadRequest, Invalid, NotJson, SessionstreamError
from server.settings import Settings
from tests.asgi import make_scope

SETTINGS = Settings()
KINDS: list[type[Body]] = [
    ChatBody,
    InterruptBody,
    SystemBody,
    ToolResultBody,
    NewSessionBody,
    PatchSessionBody,
    PatchQueueBody,
    ImportBody,
]


def parse(kind: type[Body], content: Any) -> Any:
    return parse_body(json.dumps(content).encode(), kind, SETTINGS)


def wrong_field(kind: type[Body], raw: bytes | dict[str, Any], limits: Settings = SETTINGS) -> str | None:
    with pytest.raises(Invalid) as caught:
        parse_body(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), kind, limits)
    return caught.value.field


# --- shapes


def test_a_chat_body_fills_in_what_was_not_sent() -> None:
    """The HTTP contract: only the message is needed; null is absent."""
    body = parse(ChatBody, {"message": "hi", "session_id": None, "on_busy": None, "options": None, "wait": None})

    assert body == ChatBody(message="hi")
    assert (body.on_busy, body.options, body.wait, body.session_id) == ("reject", {}, False, None)


def test_every_field_of_a_chat_body_arrives() -> None:
    """The HTTP contract: the fields of POST /api/chat."""
    sent: dict[str, Any] = {
        "message": " hi\n\t😀 ",
        "session_id": "s:1",
        "message_id": "m.1",
        "agent": "support",
        "persona": "kind",
    }
    sent |= {"on_busy": "queue", "options": {"top_k": 3, "deep": [{"a": None}]}, "wait": True}

    assert parse(ChatBody, sent) == ChatBody(**sent)


def test_a_patch_tells_null_from_absent() -> None:
    """The HTTP contract: PATCH changes only what it names; null takes a value away."""
    body = parse(PatchSessionBody, {"title": None, "metadata": {}})

    assert (body.title, body.metadata, body.persona, body.agent, body.config) == (None, {}, UNSET, UNSET, UNSET)


def test_a_title_loses_the_space_around_it() -> None:
    """Our contract: titles are stripped, then measured."""
    assert parse(NewSessionBody, {"title": "  " + "x" * 200 + " "}).title == "x" * 200
    assert parse(PatchSessionBody, {"title": " a 👨‍👩‍👧 b "}).title == "a 👨‍👩‍👧 b"


def test_small_bodies_arrive() -> None:
    """The HTTP contract: interrupt, system, tool result and queue."""
    assert parse(InterruptBody, {"session_id": "s", "run_id": "r"}) == InterruptBody(session_id="s", run_id="r")
    assert parse(SystemBody, {"message": "m", "respond": True}) == SystemBody(message="m", respond=True)
    assert parse(ToolResultBody, {"session_id": "s", "tool_call_id": "c", "content": ""}).content == ""
    assert parse(ToolResultBody, {"session_id": "s", "tool_call_id": "c", "content": {"a": 1}}).content == {"a": 1}
    assert parse(PatchQueueBody, {"position": 0}) == PatchQueueBody(position=0)


@pytest.mark.parametrize(
    ("kind", "content", "field"),
    [
        (ChatBody, [], "body"),
        (ChatBody, "hi", "body"),
        (ChatBody, None, "body"),
        (ChatBody, {}, "message"),
        (ChatBody, {"message": None}, "message"),
        (ChatBody, {"message": 1}, "message"),
        (ChatBody, {"message": ""}, "message"),
        (ChatBody, {"message": " \n\u3000"}, "message"),
        (ChatBody, {"message": "a\0b"}, "message"),
        (ChatBody, {"message": "\ud83d"}, "message"),
        (ChatBody, {"message": "hi", "sesion_id": "s"}, "sesion_id"),
        (ChatBody, {"message": "hi", "sesion_id": None}, "sesion_id"),
        (ChatBody, {"message": "hi", "": 1}, "body"),
        (ChatBody, {"message": "hi", "session_id": ""}, "session_id"),
        (ChatBody, {"message": "hi", "session_id": "a b"}, "session_id"),
        (ChatBody, {"message": "hi", "session_id": "s\n"}, "session_id"),
        (ChatBody, {"message": "hi", "session_id": 7}, "session_id"),
        (ChatBody, {"message": "hi", "message_id": "x" * 129}, "message_id"),
        (ChatBody, {"message": "hi", "message_id": "é"}, "message_id"),
        (ChatBody, {"message": "hi", "agent": "\u202eevil"}, "agent"),
        (ChatBody, {"message": "hi", "persona": " "}, "persona"),
        (ChatBody, {"message": "hi", "on_busy": "wait"}, "on_busy"),
        (ChatBody, {"message": "hi", "wait": 1}, "wait"),
        (ChatBody, {"message": "hi", "options": []}, "options"),
        (ChatBody, {"message": "hi", "options": {"top_k": 2**63}}, "options.top_k"),
        (ChatBody, {"message": "hi", "options": {"a": [0, {"b": "\0"}]}}, "options.a[1].b"),
        (ChatBody, {"message": "hi", "options": {"a": {"\udc00": 1}}}, None),
        (ChatBody, {"message": "hi", "options": {"a": "x" * (16 << 10)}}, "options"),
        (ChatBody, {"message": "hi", "options": {"1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": {}}}}}}}}}}, "options"),
        (InterruptBody, {"run_id": "r"}, "session_id"),
        (ToolResultBody, {"session_id": "s", "tool_call_id": "c"}, "content"),
        (NewSessionBody, {"title": "\t"}, "title"),
        (NewSessionBody, {"title": "x" * 201}, "title"),
        (NewSessionBody, {"title": "a\nb"}, "title"),
        (NewSessionBody, {"title": "a\u202eb"}, "title"),
        (NewSessionBody, {"title": "a\u2066b"}, "title"),
        (PatchSessionBody, {"title": ""}, "title"),
        (PatchSessionBody, {"config": "x"}, "config"),
        (PatchQueueBody, {"position": -1}, "position"),
        (PatchQueueBody, {"position": 1.5}, "position"),
        (PatchQueueBody, {"position": True}, "position"),
        (PatchQueueBody, {"message": ""}, "message"),
    ],
)
def test_a_wrong_field_is_named(kind: type[Body], content: Any, field: str | None) -> None:
    """The HTTP contract: 422, a field is wrong (named); an unknown one is refused by name."""
    named = wrong_field(kind, json.dumps(content).encode())

    assert named == field if field else (named or "").startswith("options.a.")


def test_characters_are_counted_as_code_points() -> None:
    """Our contract: MAX_MESSAGE_CHARS counts what people would call characters of Unicode, not bytes."""
    limits = replace(SETTINGS, max_message_chars=3)

    assert parse_body('{"message":"😀😀😀"}'.encode(), ChatBody, limits).message == "😀😀😀"
    assert parse_body(rb'{"message":"\ud83d\ude00bc"}', ChatBody, limits).message == "😀bc"
    assert wrong_field(ChatBody, {"message": "abcd"}, limits) == "message"
    assert wrong_field(SystemBody, {"message": "abcd"}, limits) == "message"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"message":"a","message":"b"}', "message"),
        (b'{"message":"a","options":{"k":1,"k":1}}', "options.k"),
        (b'{"message":"a","options":{"l":[{},{"x":{"k":1,"k":2}}]}}', "options.l[1].x.k"),
        (b'{"message":"a","options":{"n":1e999}}', "options.n"),
        (b'{"message":"a","options":{"n":-1e999}}', "options.n"),
        (b'{"message":"a","options":{"n":' + b"9" * 5000 + b"}}", "options.n"),
        (b'{"message":"a","options":{"n":-9223372036854775809}}', "options.n"),
        (b"9" * 30, "body"),
    ],
)
def test_json_that_consumers_read_differently_is_refused_by_path(raw: bytes, field: str) -> None:
    """Issue: duplicate keys, and numbers that no 64-bit consumer keeps."""
    assert wrong_field(ChatBody, raw) == field


def test_the_ends_of_64_bit_are_kept() -> None:
    """Our contract: what fits is not touched."""
    numbers = [2**63 - 1, -(2**63), 0, -1, 1.5, 1e308]

    assert parse(ChatBody, {"message": "a", "options": {"n": numbers}}).options == {"n": numbers}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"message":"a"}x',
        b'{"message":"a",}',
        b"{'message':'a'}",
        b'\xef\xbb\xbf{"message":"a"}',
        b'{"message":"\xff"}',
        b'{"message":"\xed\xa0\x80"}',
        b'{"message":"a\nb"}',
        b'{"message":NaN}',
        b'{"message":"a","options":{"a":Infinity}}',
        b'{"message":"a","options":{"a":-Infinity}}',
        '{"message":"a"}'.encode("utf-16"),
        b"[" * 65 + b"]" * 65,
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" + b'{"k":1,"k":1}' + b"[" * 10_000,
    ],
)
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    """The HTTP contract: 400 malformed JSON; not strict UTF-8, a BOM, NaN and depth are that too."""
    with pytest.raises(BadRequest) as caught:
        parse_body(raw, ChatBody, SETTINGS)

    assert (caught.value.code, caught.value.status) == ("malformed_json", 400)


def test_the_name_of_a_field_that_is_no_text_is_shown_as_text() -> None:
    """Our contract: an error is UTF-8 JSON whatever was sent."""
    assert wrong_field(ChatBody, rb'{"message":"a","\ud800":1}') == "?"
    assert wrong_field(ChatBody, b'{"message":"a","' + b"x" * 5000 + b'":1}') == "x" * 200


def test_64_levels_and_many_brackets_are_fine() -> None:
    """Our contract: depth is bounded, not size."""
    assert parse_json(b"[" * 64 + b"]" * 64)
    assert len(parse_json(b"[" + b"[]," * 1000 + b"{}]")) == 1001
    assert parse_json(rb'"\\u0000 \\ud800"') == "\\u0000 \\ud800"


# --- import


def call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "add", "arguments": "{}"}}


USER = {"id": "u1", "role": "user", "content": "hi", "created_at": "2026-01-02T03:04:05.678Z", "run_id": "r"}
PICTURE = {"type": "image", "source": {"type": "url", "value": "https://example.org/a.png", "mimeType": "image/png"}}
PARTS = {"id": "u2", "role": "user", "content": [{"type": "text", "text": "see"}, PICTURE]}
CALLING = {"id": "a1", "role": "assistant", "toolCalls": [call("c1"), call("c2")]}
ANSWERS = [
    {"id": "t2", "role": "tool", "toolCallId": "c2", "content": "2", "error": "interrupted"},
    {"id": "r1", "role": "reasoning", "content": "hm"},
    {"id": "t1", "role": "tool", "toolCallId": "c1", "content": "1"},
]
DONE = {"id": "a2", "role": "assistant", "content": "3", "metadata": {"sources": [{"file": "a.md"}]}, "name": "bot"}
HISTORY = [{"id": "s", "role": "system", "content": "be kind"}, USER, CALLING, *ANSWERS, DONE, PARTS]


def export(messages: list[Any], **session: Any) -> dict[str, Any]:
    return {"version": 1, "session": session, "messages": messages}


def test_an_export_comes_back_as_it_was() -> None:
    """The HTTP contract: the whole Session object of an export is accepted, and its messages are left as they are."""
    session: dict[str, Any] = {
        "session_id": "s1",
        "user_id": "u",
        "title": " T ",
        "agent": "a",
        "persona": None,
        "run": None,
    }
    session |= {"created_at": "2026-01-02T03:04:05Z", "last_activity": "2026-01-02T04:04:05+01:00", "expires_at": None}
    session |= {"message_count": 8, "has_slides": False, "slide_count": 0, "website_domain": None, "metadata": {"a": 1}}
    body = parse(ImportBody, export(HISTORY, **session))

    assert body.messages == HISTORY
    assert (body.session.title, body.session.agent, body.session.metadata) == ("T", "a", {"a": 1})
    assert body.session.created_at.timestamp() == 1767323045


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ({}, "messages"),
        ([1], "messages[0]"),
        ([USER, {}], "messages[1].role"),
        ([USER, {"role": "robot", "id": "x"}], "messages[1].role"),
        ([USER, {"role": "user", "id": "x"}], "messages[1].content"),
        ([{**USER, "colour": 1}], "messages[0].colour"),
        ([{**USER, "content": 5}], "messages[0].content"),
        ([{**USER, "content": None}], "messages[0].content"),
        ([{**USER, "id": "a b"}], "messages[0].id"),
        ([USER, USER], "messages[1].id"),
        ([{**USER, "created_at": "yesterday"}], "messages[0].created_at"),
        ([{**USER, "created_at": "2026-01-02T03:04:05"}], "messages[0].created_at"),
        ([{**PARTS, "content": [{"type": "smell"}]}], "messages[0].content[0].type"),
        ([{**PARTS, "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{**PARTS, "content": [{**PICTURE, "text": "x"}]}], "messages[0].content[0].source"),
        ([{**PARTS, "content": [{"type": "image", "source": {"type": "url"}}]}], "messages[0].content[0].source.value"),
        ([{**CALLING, "toolCalls": [{"id": "c"}]}], "messages[0].toolCalls[0].type"),
        ([{**CALLING, "toolCalls": [call("c1"), call("c1")]}], "messages[0].toolCalls[1].id"),
        ([CALLING], "messages[0].toolCalls[0].id"),
        ([CALLING, ANSWERS[0], USER], "messages[0].toolCalls[0].id"),
        ([CALLING, *ANSWERS[:1], DONE, ANSWERS[2]], "messages[0].toolCalls[0].id"),
        ([ANSWERS[0]], "messages[0].toolCallId"),
        ([CALLING, *ANSWERS, {**ANSWERS[0], "id": "again"}], "messages[4].toolCallId"),
        ([CALLING, *ANSWERS, {**CALLING, "id": "a3"}], "messages[4].toolCalls[0].id"),
        ([{**DONE, "metadata": {"k": "\ud800"}}], "messages[0].metadata.k"),
    ],
)
def test_a_history_that_no_provider_takes_is_refused(messages: Any, field: str) -> None:
    """Invariant 5: history is valid for every provider, wherever it came from."""
    assert wrong_field(ImportBody, export(messages)) == field


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"session": {}, "messages": []}, "version"),
        ({**export([]), "version": 2}, "version"),
        ({"version": 1, "messages": []}, "session"),
        (export([], title=" "), "session.title"),
        (export([], colour="red"), "session.colour"),
        (export([], created_at="0001-01-01T00:00:00Z"), "session.created_at"),
        (export([], metadata={"a": "x" * 20_000}), "session.metadata"),
        ({**export([]), "extra": 1}, "extra"),
    ],
)
def test_an_import_names_what_is_wrong_around_its_messages(content: dict[str, Any], field: str) -> None:
    """The HTTP contract: the export is versioned, and refused by field path."""
    assert wrong_field(ImportBody, content) == field


# --- reading a request


def make_request(raw: bytes, content_type: str | None, target: str = "/api/chat") -> Request:
    headers = {} if content_type is None else {"content-type": content_type}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw, "more_body": False}

    return Request(make_scope("POST", target, headers), receive)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"', "application/json ;"],
)
async def test_json_in_utf_8_is_read(content_type: str) -> None:
    """Identity: writes need Content-Type: application/json."""
    body = await read_body(make_request('{"message":"é"}'.encode(), content_type), ChatBody, SETTINGS)

    assert body.message == "é"


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/jsonp", "application/json; charset=latin-1", "text/plain, application/json"],
)
async def test_another_media_type_is_refused_before_the_body_is_read(content_type: str | None) -> None:
    """The HTTP contract: 415 not JSON; a form of another site cannot send JSON without a preflight."""
    with pytest.raises(NotJson):
        await read_body(make_request(b"{}", content_type), ChatBody, SETTINGS)


async def test_a_large_body_is_read_beside_the_loop_with_the_same_result() -> None:
    """COSTS: a long parse must not stall the streams."""
    messages = [{"id": f"m{n}", "role": "user", "content": "word " * 10} for n in range(5000)]
    body = await read_body(
        make_request(json.dumps(export(messages)).encode(), "application/json"), ImportBody, SETTINGS
    )

    assert body.messages == messages

    twice = make_request(json.dumps(export([*messages, messages[7]])).encode(), "application/json")
    with pytest.raises(Invalid) as caught:
        await read_body(twice, ImportBody, SETTINGS)

    assert caught.value.field == "messages[5000].id"


# --- query


def ask(query: str) -> Request:
    return make_request(b"", None, f"/api/sessions?{query}")


def test_query_parameters_are_read() -> None:
    """The HTTP contract: missing and empty ones take their default, others are not looked at."""
    request = ask("limit=20&q=%20caf%C3%A9%20&format=&session_id=s:1&colour=red&colour=blue&last=")

    assert query_int(request, "limit", 50, 1, 100) == 20
    assert query_int(request, "last", 50, 1, 100) == 50
    assert query_choice(request, "format", ("json", "markdown"), "json") == "json"
    assert query_id(request, "session_id") == "s:1"
    assert query_id(request, "last") is None
    assert query_id(request, "other") is None
    assert query_text(request, "q") == "café"
    assert query_text(request, "other") is None


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("p=0", lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=10", lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=" + "9" * 5000, lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=1.0", lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=%D9%A3", lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=1&p=2", lambda request: query_int(request, "p", 1, 1, 9)),
        ("p=xml", lambda request: query_choice(request, "p", ("json",), "json")),
        ("p=json&p=json", lambda request: query_choice(request, "p", ("json",), "json")),
        ("p=a%20b", lambda request: query_id(request, "p")),
        ("p=%00", lambda request: query_id(request, "p")),
        ("p=a&p=", lambda request: query_id(request, "p")),
        ("p=a%00", lambda request: query_text(request, "p")),
        ("p=" + "x" * 201, lambda request: query_text(request, "p")),
    ],
)
def test_a_wrong_query_parameter_is_named(query: str, read: Callable[[Request], Any]) -> None:
    """The HTTP contract: a wrong field is named, also in the query; which of two counts is not guessed."""
    with pytest.raises(Invalid) as caught:
        read(ask(query))

    assert caught.value.field == "p"


# --- fuzz

TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
NAMES = sorted({name for kind in KINDS for name in kind.__struct_fields__} | {"role", "id", "content", "toolCalls"})
ROLES = st.sampled_from(["user", "assistant", "tool", "system", "reasoning", "activity", "x"])
MESSAGE = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c", "d"]), "role": ROLES, "content": TEXT | JSON},
    optional={"toolCalls": st.lists(st.builds(call, TEXT)) | JSON, "toolCallId": TEXT, "metadata": JSON},
)
BODY = st.dictionaries(st.sampled_from(NAMES) | TEXT, JSON, max_size=6) | st.builds(
    lambda messages, session: {"version": 1, "session": session, "messages": messages},
    st.lists(MESSAGE, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3),
)


def accept_or_refuse(raw: bytes, kind: type[Body]) -> None:
    """Any other exception than ours fails the test; whatever is accepted can be written again as UTF-8 JSON."""
    refusal = None
    try:
        body = parse_body(raw, kind, SETTINGS)
    except SessionstreamError as error:
        refusal = error
    if refusal is not None:
        assert refusal.status in (400, 422)
        assert (refusal.status == 422) == bool(refusal.field)
        return
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if value is not UNSET:
            json.dumps(value, ensure_ascii=False, allow_nan=False, default=str).encode()


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_any_bytes_are_a_body_or_refused(raw: bytes, kind: type[Body]) -> None:
    """Issue: never a 500 for anything a client sent."""
    accept_or_refuse(raw, kind)


@settings(deadline=None)
@given(BODY | JSON, st.sampled_from(KINDS), st.booleans())
def test_any_json_is_a_body_or_refused(content: Any, kind: type[Body], ascii_only: bool) -> None:
    """Issue: never a 500 for anything a client sent."""
    text = json.dumps(content, ensure_ascii=ascii_only)

    accept_or_refuse(text.encode("utf-8", "surrogatepass"), kind)
