"""The catalog names every agent, the documents agent alone by default, and says by file and key what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from ag_ui.core import AgentCapabilities

from server.agents.catalog import Catalog, load_catalog
from server.agents.documents import DocumentsAgent
from server.agents.documents.asking import MAX_TOP_K
from server.core.ports import AgentEntry, Event, Turn
from server.errors import ConfigError
from server.settings import Settings

COMMON = "persona, personas, allowed_origins, limits"
SCRIPTED = '[agents.{name}]\nkind = "scripted"\n'


def catalog_of(folder: Path, text: str, **settings: Any) -> Catalog:
    """Return the catalog of a file with this text in `folder`; its data are there too."""
    file = folder / "agents.toml"
    file.write_text(text)
    return load_catalog(Settings(agents=str(file), data=str(folder / "data"), **settings))


async def answer_of(entry: AgentEntry | None) -> list[str | Event]:
    assert entry is not None
    turn = Turn(session_id="s", run_id="r", user_id="u", message="hello", messages=[])
    return [piece async for piece in entry.agent(turn)]


def test_without_a_file_there_is_the_documents_agent_alone(tmp_path: Path) -> None:
    catalog = load_catalog(Settings(data=str(tmp_path)))

    [entry] = catalog.entries
    assert (catalog.default, entry.name, entry.kind) == ("documents", "documents", "documents")
    assert isinstance(entry.agent, DocumentsAgent)
    assert entry.service is entry.agent


def test_loading_writes_nothing(tmp_path: Path) -> None:
    """`--print-settings` and a refused start must leave no data folder behind."""
    load_catalog(Settings(data=str(tmp_path / "data")))

    assert list(tmp_path.iterdir()) == []


def test_agents_stand_in_the_order_of_the_file_and_are_found_by_name(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, 'default = "b"\n' + SCRIPTED.format(name="c") + SCRIPTED.format(name="b"))

    assert [entry.name for entry in catalog.entries] == ["c", "b"]
    assert catalog.default == "b"
    assert catalog.get("b") is catalog.entries[1]
    assert catalog.get("other") is None


def test_the_only_agent_is_the_default(tmp_path: Path) -> None:
    assert catalog_of(tmp_path, SCRIPTED.format(name="only")).default == "only"


async def test_a_python_agent_is_loaded_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "catalogued_agent.py").write_text("async def agent(turn):\n    yield turn.message\n")

    catalog = catalog_of(tmp_path, '[agents.mine]\nkind = "python"\nentrypoint = "catalogued_agent:agent"\n')

    entry = catalog.get("mine")
    assert await answer_of(entry) == ["hello"]
    assert entry is not None
    assert entry.service is None


async def test_a_script_is_read_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "demo.json").write_text('\ufeff{"steps": [{"text": "scripted"}]}', encoding="utf-8")

    catalog = catalog_of(tmp_path, SCRIPTED.format(name="demo") + 'script = "scripts/demo.json"\n')

    assert await answer_of(catalog.get("demo")) == ["scripted"]


async def indexed(entry: AgentEntry | None) -> int:
    """Return how many passages the agent's service finds in its folder."""
    assert entry is not None
    assert isinstance(entry.agent, DocumentsAgent)
    assert entry.service is entry.agent
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(entry.service.run)
            await entry.agent.wait_refreshed()
            tasks.cancel_scope.cancel()
    return int(entry.service.health()["passages"])


async def test_a_documents_agent_reads_its_folder_or_that_of_the_setting(tmp_path: Path) -> None:
    for folder, count in (("handbook", 1), ("manual", 2)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            (tmp_path / folder / f"{number}.md").write_text(f"# Title {number}\n\nSome words about {number}.\n")
    (tmp_path / "data").mkdir()
    catalog = catalog_of(
        tmp_path,
        'default = "a"\n[agents.a]\nkind = "documents"\nfolder = "handbook"\n[agents.b]\nkind = "documents"\n',
        documents=str(tmp_path / "manual"),
    )

    assert await indexed(catalog.get("a")) == 1
    assert await indexed(catalog.get("b")) == 2
    assert {path.name for path in (tmp_path / "data").glob("*.db")} == {"documents-a.db", "documents-b.db"}


async def test_without_docs_nothing_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "handbook").mkdir()
    settings = Settings(documents=str(tmp_path / "handbook"), data=str(tmp_path / "data"), no_docs=True)

    entry = load_catalog(settings).get("documents")

    assert entry is not None
    assert entry.service is not None
    assert entry.service.health() == {"status": "ok", "passages": 0, "files_done": 0, "files_total": 0}
    assert not (tmp_path / "data").exists()


def test_capabilities_have_the_shape_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "plain_agent.py").write_text("async def agent(turn):\n    yield ''\n")
    catalog = catalog_of(
        tmp_path,
        'default = "plain"\n'
        '[agents.plain]\nkind = "python"\nentrypoint = "plain_agent:agent"\n'
        '[agents.demo]\nkind = "scripted"\ndescription = "Plays"\n'
        '[agents.docs]\nkind = "documents"\n',
    )

    plain, demo, docs = (dict(entry.capabilities) for entry in catalog.entries)
    transport = {"streaming": True, "resumable": True}
    assert plain == {"identity": {"name": "plain", "type": "python"}, "transport": transport}
    assert demo == {"identity": {"name": "demo", "type": "scripted", "description": "Plays"}, "transport": transport}
    assert set(docs["custom"]["options"]) == {"top_k", "filename_filter"}
    assert docs["custom"]["options"]["top_k"]["maximum"] == MAX_TOP_K
    for shown in (plain, demo, docs):
        assert AgentCapabilities.model_validate(shown).model_dump(by_alias=True, exclude_none=True) == shown


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("default = ", "is not TOML: Invalid value (at end of document)"),
        ("", "agents: needs at least one table [agents.NAME]"),
        ("[agents]", "agents: needs at least one table [agents.NAME]"),
        ("agents = 1", "agents: needs at least one table [agents.NAME]"),
        ("[agents]\na = 1", "agents.a: must be a table"),
        ("defualt = 'a'\n" + SCRIPTED.format(name="a"), "defualt: unknown key; known are agents, default"),
        (SCRIPTED.format(name="a") + SCRIPTED.format(name="b"), "default: is missing; it must be one of a, b"),
        ("default = 'c'\n" + SCRIPTED.format(name="a"), "default: must be one of a, not 'c'"),
        ("default = 1\n" + SCRIPTED.format(name="a"), "default: must be one of a, not 1"),
        (SCRIPTED.format(name='"a b"'), "agents.'a b': a name is 1 to 128 letters, digits, and . _ : -"),
        (SCRIPTED.format(name='"a/../b"'), "agents.'a/../b': a name is 1 to 128 letters, digits, and . _ : -"),
        ("[agents.a]", "agents.a.kind: is missing"),
        ("[agents.a]\nkind = 1", "agents.a.kind: must be a string"),
        (
            "[agents.a]\nkind = 'modle'",
            "agents.a.kind: unknown kind 'modle'; known are documents, model, python, remote, scripted",
        ),
        (
            SCRIPTED.format(name="a") + "folder = 'x'",
            "agents.a.folder: unknown key; a scripted agent has kind, description, script, " + COMMON,
        ),
        (SCRIPTED.format(name="a") + "description = 1", "agents.a.description: must be a string"),
        (SCRIPTED.format(name="a") + "script = ''", "agents.a.script: is empty"),
        (SCRIPTED.format(name="a") + "script = ['x']", "agents.a.script: must be a string"),
        ("[agents.a]\nkind = 'python'", "agents.a.entrypoint: is missing"),
        (
            "[agents.a]\nkind = 'python'\nentrypiont = 'a:b'",
            "agents.a.entrypiont: unknown key; a python agent has kind, description, entrypoint, " + COMMON,
        ),
        (
            "[agents.a]\nkind = 'python'\nentrypoint = 'a'",
            "agents.a.entrypoint: must be \"module:function\", not 'a'",
        ),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        catalog_of(tmp_path, text)

    assert str(refused.value) == f"{tmp_path / 'agents.toml'}: {problem}"


def test_no_agent_is_imported_from_a_file_with_a_wrong_table(tmp_path: Path) -> None:
    """All names are checked before the first agent is made: making one imports someone's code."""
    (tmp_path / "loud_agent.py").write_text("raise RuntimeError('imported')\n")

    with pytest.raises(ConfigError, match=r"agents\.b: must be a table$"):
        catalog_of(tmp_path, '[agents]\nb = 1\n[agents.a]\nkind = "python"\nentrypoint = "loud_agent:agent"\n')


def test_an_import_that_fails_is_told_with_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "loud_agent.py").write_text("raise RuntimeError('no key')\n")

    with pytest.raises(ConfigError) as refused:
        catalog_of(tmp_path, '[agents.a]\nkind = "python"\nentrypoint = "loud_agent:agent"\n')

    assert str(refused.value) == (
        f"{tmp_path / 'agents.toml'}: agents.a.entrypoint: cannot import 'loud_agent' "
        f"(looked in {tmp_path}, then on PYTHONPATH): RuntimeError: no key"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_catalog(Settings(agents=str(tmp_path / "agents.toml")))

    assert str(refused.value) == f"{tmp_path / 'agents.toml'}: cannot be read: No such file or directory"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_bytes(b"default = \xff")

    with pytest.raises(ConfigError, match=r"agents\.toml: is not TOML: 'utf-8' codec can't decode"):
        load_catalog(Settings(agents=str(tmp_path / "agents.toml")))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"steps": [{"stall": {}}]}', "step 1: stall: seconds is missing"),
    ],
)
def test_a_wrong_script_is_refused_at_start_by_file_and_step(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    script = tmp_path / "demo.json"
    if content is not None:
        script.write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        catalog_of(tmp_path, SCRIPTED.format(name="demo") + 'script = "demo.json"\n')

    separator = "" if content is None else ":"
    assert str(refused.value) == (f"{tmp_path / 'agents.toml'}: agents.demo.script: {script}{separator} {problem}")


def test_a_documents_folder_that_is_not_there_is_refused_where_it_was_named(tmp_path: Path) -> None:
    missing = tmp_path / "handbook"

    with pytest.raises(ConfigError) as by_file:
        catalog_of(tmp_path, '[agents.docs]\nkind = "documents"\nfolder = "handbook"\n')
    with pytest.raises(ConfigError) as by_setting:
        load_catalog(Settings(documents=str(missing), data=str(tmp_path)))

    assert str(by_file.value) == f"{tmp_path / 'agents.toml'}: agents.docs.folder: {missing} is no folder"
    assert str(by_setting.value) == f"DOCUMENTS: {missing} is no folder"
