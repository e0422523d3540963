"""/api/documents: files come in, are answered from, are listed and go; only for admins, only below the folder."""

from __future__ import annotations

import base64
import os
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from scripts.blackbox.caller import Caller
from scripts.blackbox.process import Server
from scripts.blackbox.wire import Answer
from server.agents.documents.reading import MAX_FILE_BYTES
from tests.http.kit import TIME, ask, check_problem, somebody

_AGENTS = """\
default = "talker"

[agents.talker]
kind = "scripted"

[agents.library]
kind = "documents"
folder = "docs"

[agents.notes]
kind = "documents"
folder = "notes"

[agents.own]
kind = "documents"
"""


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server with two folders of documents and this project's own."""
    folder = tmp_path_factory.mktemp("documents")
    for name in ("docs", "notes"):
        (folder / name).mkdir()
    (folder / "docs" / "there.md").write_text("# There\n\nThis was here before.\n")
    server = Server(folder, scripted=False, settings={"AGENTS": str(folder / "agents.toml")})
    (folder / "agents.toml").write_text(_AGENTS, encoding="utf-8")
    await server.start()
    yield server
    server.kill_now()
    server.wire.forget()
    await anyio.lowlevel.checkpoint()


@pytest.fixture
def docs(server: Server) -> Path:
    return server.folder / "docs"


async def upload(admin: Caller, name: str, content: str = "Some text.", **fields: Any) -> Answer:
    return await admin.call("POST", "/api/documents", {"name": name, "content": content, **fields})


async def remove(admin: Caller, name: str, **query: Any) -> Answer:
    return await admin.call("DELETE", f"/api/documents/{quote(name)}", query=query)


async def names(caller: Caller, **query: Any) -> list[str]:
    answer = await caller.call("GET", "/api/documents", query=query)
    assert answer.status == 200, answer.body
    return [document["name"] for document in answer.json()["documents"]]


async def sources(caller: Caller, message: str) -> list[str]:
    answered = await ask(caller, message, agent="library")
    return [source["file"] for source in answered["messages"][-1]["metadata"]["sources"]]


async def test_an_upload_is_answered_from_at_once_and_forgotten_when_it_goes(admin: Caller, docs: Path) -> None:
    """Our contract: 201 means that the very next question finds it; after a deletion none does."""
    added = await upload(admin, "animals/walrus.md", "# Walruses\n\nWalruses have long tusks.\n")
    found = await sources(admin, "walrus tusks")
    listed = (await admin.call("GET", "/api/documents", query={"q": "WALRUS"})).json()
    gone = await remove(admin, "animals/walrus.md")

    assert added.status == 201
    modified_at = added.json()["modified_at"]
    assert TIME.fullmatch(modified_at)
    document = {
        "name": "animals/walrus.md",
        "size": 38,
        "modified_at": modified_at,
        "status": "indexed",
        "passages": 1,
    }
    assert added.json() == {"agent": "library", **document}
    assert found == ["animals/walrus.md"]
    assert listed == {
        "agent": "library",
        "documents": [document],
        "count": 1,
        "next_cursor": None,
        "read_only": False,
    }
    assert (gone.status, gone.json()) == (
        200,
        {"status": "deleted", "agent": "library", "name": "animals/walrus.md"},
    )
    assert await sources(admin, "walrus tusks") == []
    assert not (docs / "animals" / "walrus.md").exists()
    assert not any(name.startswith(".upload") for name in os.listdir(docs))


async def test_options_of_a_message_choose_files_and_how_many(admin: Caller) -> None:
    """Our contract: `options.top_k` and `options.filename_filter`, through the whole server."""

    async def asked(**options: Any) -> list[str]:
        answered = await ask(admin, "gnus and grass", agent="notes", options=options)
        return [source["file"] for source in answered["messages"][-1]["metadata"]["sources"]]

    for name in ("gnu/one.md", "gnu/two.md", "three.md", "four.md"):
        await upload(admin, name, f"# Gnus\n\nGnus eat grass, says {name}.\n", agent="notes")

    assert len(await asked()) == 3
    assert len(await asked(top_k=4)) == 4
    assert len(await asked(top_k=1)) == 1
    assert sorted(await asked(top_k=4, filename_filter="GNU/")) == ["gnu/one.md", "gnu/two.md"]
    assert await asked(top_k=4, filename_filter=["thr*.md"]) == ["three.md"]
    assert await asked(filename_filter="nowhere") == []
    for name in ("gnu/one.md", "gnu/two.md", "three.md", "four.md"):
        await remove(admin, name, agent="notes")


async def test_a_name_that_is_taken_is_kept_unless_replaced(admin: Caller, docs: Path) -> None:
    """Our contract: 409 and nothing changes; with `replace` the new text is answered from."""
    refused = await upload(admin, "there.md", "# There\n\nNobody asked for this.\n")
    kept = (docs / "there.md").read_text()
    replaced = await upload(admin, "there.md", "# There\n\nThe ocelot replaced it.\n", replace=True)

    check_problem(refused, "document_exists")
    assert kept == "# There\n\nThis was here before.\n"
    assert (replaced.status, replaced.json()["status"]) == (200, "indexed")
    assert await sources(admin, "ocelot") == ["there.md"]


async def test_of_two_uploads_of_one_name_one_is_refused(admin: Caller, docs: Path) -> None:
    """Our contract: no upload is lost in silence."""
    answers: list[Answer] = []

    async def one(text: str) -> None:
        answers.append(await upload(admin, "race.md", text))

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(one, f"Text number {number}.")
    won = [answer for answer in answers if answer.status == 201]

    assert len(won) == 1
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert (docs / "race.md").read_text().startswith("Text number ")


async def test_any_file_comes_as_base64(admin: Caller, docs: Path) -> None:
    """Our contract: a PDF is bytes; what gives no text is said, and why."""
    picture = base64.b64encode(b"\x00\x01\x02 no text").decode()
    answer = await admin.call("POST", "/api/documents", {"name": "scan.pdf", "content_base64": picture})
    body = answer.json()

    assert answer.status == 201
    assert (body["status"], body["passages"]) == ("unreadable", 0)
    assert body["reason"]
    assert (docs / "scan.pdf").read_bytes() == b"\x00\x01\x02 no text"


async def test_a_text_larger_than_a_message_is_taken(admin: Caller) -> None:
    """Our contract: what bounds a message does not bound a document."""
    text = "\n\n".join(f"Paragraph {number} about narwhals and their tusks." * 20 for number in range(2000))
    answer = await upload(admin, "long.txt", text)

    assert len(text) > 1 << 20
    assert answer.status in (201, 202), answer.body


async def test_too_large_is_413(admin: Caller) -> None:
    """Our contract: a file that would never be read is refused, and so is a body without bound."""
    check_problem(await upload(admin, "huge.txt", "x" * (MAX_FILE_BYTES + 1)), "document_too_large")
    headers = {"Content-Length": str(1 << 40), "Content-Type": "application/json"}
    answer = await admin.call("POST", "/api/documents", b"", headers=headers)

    assert answer.status in (400, 413)


@pytest.mark.parametrize(
    "name",
    [
        "../out.md", "a/../../out.md", "/etc/out.md", "..", ".hidden.md", "a/.git/x.md", "a//b.md", "a/", "",
        "a\\b.md", "C:x.md", "a\u0000b.md", "a\nb.md", "a\u202eb.md", "a\u200bb.md", " a.md", "a.md ", "a./b.md",
        "what?.md", "*.md", "program.exe", "noend", "page.md.sh", ".md", f"{'x' * 260}.md",
        "/".join("abcdefghi") + ".md", "CON.md", "a/nul.txt", "com1.old.md", "aux/b.md",
    ],
)  # fmt: skip
async def test_a_name_that_is_not_safe_is_refused(admin: Caller, server: Server, name: str) -> None:
    """Our contract: 422 with the field, and nothing is written anywhere."""
    before = sorted(str(path) for path in server.folder.rglob("*") if "data" not in path.parts)
    check_problem(await upload(admin, name), "invalid_field", "name")

    assert sorted(str(path) for path in server.folder.rglob("*") if "data" not in path.parts) == before


async def test_names_are_composed(admin: Caller) -> None:
    """Unicode NFC: the same name from every keyboard; it is found by either spelling."""
    decomposed = unicodedata.normalize("NFD", "Übersicht.md")
    added = await upload(admin, decomposed)
    gone = await remove(admin, decomposed)

    assert added.json()["name"] == "Übersicht.md"
    assert gone.status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"content": "x"}, "name"),
        ({"name": "a.md"}, "content"),
        ({"name": "a.md", "content": ""}, "content"),
        ({"name": "a.md", "content": " \n"}, "content"),
        ({"name": "a.md", "content": "a\u0000b"}, "content"),
        ({"name": "a.md", "content": 1}, "content"),
        ({"name": "a.md", "content": "x", "content_base64": "eA=="}, "content_base64"),
        ({"name": "a.md", "content_base64": "no base64"}, "content_base64"),
        ({"name": "a.md", "content_base64": "eA"}, "content_base64"),
        ({"name": "a.md", "content_base64": ""}, "content_base64"),
        ({"name": "a.md", "content": "x", "agent": "nobody"}, "agent"),
        ({"name": "a.md", "content": "x", "agent": "talker"}, "agent"),
        ({"name": "a.md", "content": "x", "replace": "yes"}, "replace"),
        ({"name": "a.md", "content": "x", "folder": "/"}, "folder"),
    ],
)
async def test_a_wrong_field_is_named(admin: Caller, body: dict[str, Any], field: str) -> None:
    check_problem(await admin.call("POST", "/api/documents", body), "invalid_field", field)


async def test_only_an_admin_changes_documents(server: Server, docs: Path) -> None:
    """Our contract: 403 whatever the body; anybody may see what is answered from."""
    user = somebody(server)
    check_problem(await upload(user, "mine.md"), "admin_only")
    check_problem(await user.call("POST", "/api/documents", b"{"), "admin_only")
    check_problem(await remove(user, "there.md"), "admin_only")

    assert "there.md" in await names(user)
    assert (docs / "there.md").exists()
    assert not (docs / "mine.md").exists()


async def test_a_write_needs_json(admin: Caller) -> None:
    headers = {"Content-Type": "text/markdown"}
    check_problem(await admin.call("POST", "/api/documents", b"# Text", headers=headers), "not_json")
    check_problem(await admin.call("POST", "/api/documents", b"{"), "malformed_json")


@pytest.mark.parametrize("name", ["never.md", "../agents.toml", "..%2fagents.toml", "there", "animals", ".hidden.md"])
async def test_what_is_no_document_cannot_be_deleted(admin: Caller, server: Server, docs: Path, name: str) -> None:
    """Our contract: 404, also for what is there and is no document."""
    (docs / ".hidden.md").write_text("hidden")
    (docs / "folder.md").mkdir(exist_ok=True)
    check_problem(await remove(admin, name), "document_not_found")
    check_problem(await remove(admin, "folder.md"), "document_not_found")

    assert (docs / ".hidden.md").exists()
    assert (server.folder / "agents.toml").exists()


async def test_a_link_leads_nowhere(admin: Caller, server: Server, docs: Path) -> None:
    """Our contract: nothing is written or deleted through a link; a link itself can be deleted."""
    outside = server.folder / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("Secret.")
    os.symlink(outside, docs / "linked")
    os.symlink(outside / "secret.md", docs / "alias.md")
    check_problem(await upload(admin, "linked/new.md"), "invalid_field", "name")
    check_problem(await remove(admin, "linked/secret.md"), "invalid_field", "name")
    replaced = await upload(admin, "alias.md", "Not secret.", replace=True)

    assert replaced.status == 200
    assert [path.name for path in outside.iterdir()] == ["secret.md"]
    assert (outside / "secret.md").read_text() == "Secret."
    assert (docs / "alias.md").read_text() == "Not secret."


async def test_a_folder_where_a_file_is_wanted_and_the_other_way_round(admin: Caller, docs: Path) -> None:
    """Our contract: an answer with a code, not a fault."""
    (docs / "taken.md").mkdir(exist_ok=True)
    await upload(admin, "file.md")
    check_problem(await upload(admin, "taken.md", replace=True), "document_exists")
    check_problem(await upload(admin, "file.md/below.md"), "invalid_field", "name")


async def test_the_projects_own_documents_are_not_changed(admin: Caller) -> None:
    """Our contract: with no folder of one's own, a clear code."""
    listed = (await admin.call("GET", "/api/documents", query={"agent": "own"})).json()
    check_problem(await upload(admin, "new.md", agent="own"), "documents_read_only")
    check_problem(await remove(admin, "README.md", agent="own"), "documents_read_only")

    assert listed["read_only"] is True
    assert "README.md" in [document["name"] for document in listed["documents"]]


async def test_each_agent_has_its_own_folder(admin: Caller, server: Server) -> None:
    added = await upload(admin, "note.md", "A note.", agent="notes")

    assert added.json()["agent"] == "notes"
    assert await names(admin, agent="notes") == ["note.md"]
    assert "note.md" not in await names(admin)
    assert (server.folder / "notes" / "note.md").exists()
    check_problem(await admin.call("GET", "/api/documents", query={"agent": "talker"}), "invalid_field", "agent")


async def test_the_list_comes_in_pages(admin: Caller) -> None:
    """Our contract: by name, each once, whatever the page's size."""
    for number in range(5):
        await upload(admin, f"page{number}.txt", agent="notes", replace=True)
    cursor, found = "", list[str]()
    while cursor is not None:
        page = (await admin.call("GET", "/api/documents", query={
            "agent": "notes", "limit": 2, "cursor": cursor, "q": "page",
        })).json()  # fmt: skip
        assert page["count"] == len(page["documents"]) <= 2
        found += [document["name"] for document in page["documents"]]
        cursor = page["next_cursor"]

    assert found == [f"page{number}.txt" for number in range(5)]
    check_problem(await admin.call("GET", "/api/documents", query={"limit": 0}), "invalid_field", "limit")


async def test_a_folder_that_went_away_is_said(admin: Caller, server: Server) -> None:
    """Our contract: 503, and it is not made anew: a disk that is not mounted must not be written beside."""
    folder = server.folder / "notes"
    folder.rename(server.folder / "elsewhere")
    try:
        answer = await upload(admin, "lost.md", agent="notes")
    finally:
        (server.folder / "elsewhere").rename(folder)

    check_problem(answer, "documents_unavailable")
    assert not (folder / "lost.md").exists()


async def test_without_any_folder_there_is_nothing(tmp_path: Path) -> None:
    """Our contract: 404 with a code, for every method."""
    server = Server(tmp_path)
    try:
        await server.start()
        admin = Caller(server.wire, "")

        check_problem(await admin.call("GET", "/api/documents"), "no_documents")
        check_problem(await upload(admin, "a.md"), "no_documents")
        check_problem(await remove(admin, "a.md"), "no_documents")
    finally:
        server.kill_now()
        server.wire.forget()
        await anyio.lowlevel.checkpoint()
