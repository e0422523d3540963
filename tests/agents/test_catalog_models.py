"""Agents that think, as `agents.toml` and the settings name them: what they are given, and what is refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ag_ui.core import AgentCapabilities

from server.agents.catalog import Catalog, load_catalog
from server.agents.kinds import model_place
from server.agents.section import Section
from server.core.ports import AgentEntry, AgentLimits
from server.errors import ConfigError
from server.settings import Settings

MODEL = '[agents.a]\nkind = "model"\nmodel = "openai:gpt"\n'
REMOTE = '[agents.a]\nkind = "remote"\nurl = "http://127.0.0.1:9/agent"\n'
ROOT = Path(__file__).resolve().parents[2]


def catalog_of(
    folder: Path, text: str, *, environ: Mapping[str, str] | None = None, before: Catalog | None = None, **settings: Any
) -> Catalog:
    """Return the catalog of a file with this text in `folder`; its data are there too."""
    file = folder / "agents.toml"
    file.write_text(text, encoding="utf-8")
    made = Settings(agents=str(file), data=str(folder / "data"), **settings)
    return load_catalog(made, environ=environ or {}, before=before)


def folder_of(parent: Path, name: str, **files: str) -> Path:
    """Make a folder with these Markdown files."""
    folder = parent / name
    folder.mkdir()
    for file, text in files.items():
        (folder / f"{file}.md").write_text(text, encoding="utf-8")
    return folder


def mcp_file(folder: Path) -> str:
    """Write a file of one MCP server that is never started here."""
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"files": {"command": sys.executable}}}), encoding="utf-8")
    return str(path)


def only(catalog: Catalog) -> AgentEntry:
    [entry] = catalog.entries
    return entry


# --- models


def test_with_the_setting_a_model_answers_by_default_and_the_documents_stay(tmp_path: Path) -> None:
    catalog = load_catalog(Settings(model="openai:gpt", data=str(tmp_path)), environ={})

    model, documents = catalog.entries
    assert (catalog.default, model.kind, documents.kind) == ("model", "model", "documents")
    assert model.tools() == []
    assert set(catalog.services) == {"agent:model", "agent:documents"}


def test_a_model_searches_the_documents_of_the_setting_by_the_index_that_is_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "handbook", one="# One\n\nWords.\n")

    catalog = load_catalog(Settings(model="openai:gpt", documents=str(folder), data=str(tmp_path)), environ={})

    model, documents = catalog.entries
    assert [tool["name"] for tool in model.tools()] == ["search_documents"]
    assert catalog.services["documents:model"] is documents.service
    assert model.documents is documents.documents is not None


@pytest.mark.parametrize(
    ("file", "default", "names"),
    [
        ('[agents.a]\nkind = "scripted"\n', "model", ["a", "model"]),
        ('default = "a"\n[agents.a]\nkind = "scripted"\n', "a", ["a", "model"]),
        (MODEL, "a", ["a"]),
        ('[agents.model]\nkind = "scripted"\n', "model", ["model"]),
    ],
)
def test_beside_a_file_the_model_of_the_setting_answers_where_the_file_has_none(
    tmp_path: Path, file: str, default: str, names: list[str]
) -> None:
    catalog = catalog_of(tmp_path, file, model="openai:gpt")

    assert (catalog.default, [entry.name for entry in catalog.entries]) == (default, names)


def test_a_model_speaks_as_a_persona_that_is_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "personas", pirate="---\nname: pirate\ndescription: Talks like one\n---\nArr.\n")

    shipped = only(catalog_of(tmp_path, MODEL))
    added = only(catalog_of(tmp_path, MODEL + 'persona = "pirate"\npersonas = ["pirate"]\n', personas=str(folder)))

    assert shipped.persona == "assistant"
    assert shipped.personas is not None
    assert {"assistant", "mental-health-nurse", "technical-support", "creative-writer"} <= set(shipped.personas)
    assert (added.persona, tuple(added.personas or ())) == ("pirate", ("pirate",))


def test_tools_are_allowed_by_name_and_some_are_asked_about(tmp_path: Path) -> None:
    folder_of(tmp_path, "handbook")
    base = MODEL + 'documents = "handbook"\n'

    chosen = only(catalog_of(tmp_path, base + 'tools = ["search_documents"]\n', mcp=mcp_file(tmp_path)))
    none = only(catalog_of(tmp_path, base + "tools = []\n"))
    catalog = catalog_of(tmp_path, base + 'approvals = ["search_documents", "files.*"]\n', mcp=mcp_file(tmp_path))

    assert [tool["name"] for tool in chosen.tools()] == ["search_documents"]
    assert none.tools() == []
    assert [tool["name"] for tool in only(catalog).tools()] == ["search_documents"]
    assert set(catalog.services) == {"agent:a", "documents:a", "mcp:files"}


def test_a_model_agent_says_what_it_can_do_in_the_shape_of_the_standard(tmp_path: Path) -> None:
    folder_of(tmp_path, "handbook")

    shown = dict(only(catalog_of(tmp_path, MODEL + 'documents = "handbook"\n')).capabilities)

    assert AgentCapabilities.model_validate(shown).model_dump(by_alias=True, exclude_none=True) == shown
    assert shown["humanInTheLoop"] == {"supported": True, "approvals": True, "interrupts": True}
    assert set(shown["custom"]["options"]) == {"top_k", "filename_filter"}


# --- what every kind takes


def test_every_kind_takes_personas_limits_and_origins(tmp_path: Path) -> None:
    more = (
        'persona = "pirate"\npersonas = ["pirate", "sailor"]\nallowed_origins = ["https://Shop.example:443/"]\n'
        "[agents.a.limits]\nrun_timeout_seconds = 30\nmax_message_chars = 100\nmax_run_bytes = 2048\n"
    )

    entry = only(catalog_of(tmp_path, '[agents.a]\nkind = "scripted"\n' + more))

    assert (entry.persona, entry.personas) == ("pirate", ("pirate", "sailor"))
    assert entry.allowed_origins == {"https://shop.example"}
    assert entry.limits == AgentLimits(run_timeout_s=30, max_run_bytes=2048, max_message_chars=100)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[agents.a]\nkind = "model"\n', "model: is missing, and so is the setting MODEL"),
        ('[agents.a]\nkind = "model"\nmodel = "gpt"\n', 'model: must be "PROVIDER:NAME", such as "openai:gpt-5", not'),
        (MODEL + 'base_url = "ftp://x"\n', "base_url: must be an http or https address"),
        (MODEL + 'base_url = "http://"\n', "base_url: must be an http or https address"),
        (MODEL + 'api_key_env = "MY_KEY"\n', "api_key_env: the environment has no variable MY_KEY"),
        (MODEL + 'api_key = "sk-1"\n', "api_key: unknown key; a model agent has kind, description, model, base_url"),
        (MODEL + "context_tokens = true\n", "context_tokens: must be a whole number of at least 1, not True"),
        (MODEL + "timeout_seconds = 0\n", "timeout_seconds: must be a number of seconds above 0, not 0"),
        (MODEL + 'timeout_seconds = "1"\n', "timeout_seconds: must be a number of seconds above 0, not '1'"),
        (MODEL + 'summarize = "yes"\n', "summarize: must be true or false, not 'yes'"),
        (MODEL + "settings = 1\n", "settings: must be a table, not 1"),
        (MODEL + 'documents = "nowhere"\n', "documents: {folder}/nowhere is no folder"),
        (MODEL + 'tools = ["search_documents"]\n', "tools: search_documents needs the key documents: a folder"),
        (MODEL + 'tools = ["files.*"]\n', "tools: 'files.*' needs the setting MCP: the file of its server"),
        (MODEL + 'tools = "files.*"\n', "tools: must be a list of strings, not 'files.*'"),
        (MODEL + 'approvals = ["files.*"]\n', "approvals: 'files.*' needs the setting MCP: the file of its server"),
        (MODEL + 'persona = "pirate"\n', "persona: must be one of assistant, "),
        (MODEL + 'personas = ["pirate"]\n', "personas: there is no 'pirate'; known are assistant, "),
        (MODEL + "personas = []\n", "personas: names none; leave it out to allow all"),
        (
            MODEL + 'allowed_origins = ["*"]\n',
            "allowed_origins: must hold origins such as https://example.org, not '*'",
        ),
        (MODEL + "[agents.a.limits]\nmax_runs = 1\n", "limits.max_runs: unknown key; limits has run_timeout_seconds, "),
        (
            MODEL + "[agents.a.limits]\nrun_timeout_seconds = 601\n",
            "limits.run_timeout_seconds: must be at most RUN_TIMEOUT_SECONDS (600)",
        ),
        (
            MODEL + "[agents.a.limits]\nmax_message_chars = 0\n",
            "limits.max_message_chars: must be a whole number of at least 1, not 0",
        ),
        ('[agents.a]\nkind = "remote"\n', "url: is missing"),
        ('[agents.a]\nkind = "remote"\nurl = "example.org"\n', "url: "),
        (REMOTE + 'headers = { Authorization = "Bearer ${TOKEN}" }\n', "headers.Authorization: the environment has no"),
        (REMOTE + "headers = { Authorization = 1 }\n", "headers.Authorization: must be a string"),
    ],
)
def test_what_is_wrong_is_refused_by_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        catalog_of(tmp_path, text)

    expected = f"{tmp_path / 'agents.toml'}: agents.a.{problem.format(folder=tmp_path)}"
    assert str(refused.value).startswith(expected)


@pytest.mark.parametrize(
    "text",
    [
        MODEL + 'api_key_env = "sk-secret"\n',
        MODEL + 'base_url = "ftp://ann:secret@localhost"\n',
        REMOTE + 'headers = { Authorization = ["Bearer secret"] }\n',
        REMOTE.replace("//", "//ann:secret@"),
    ],
)
def test_no_value_is_shown_that_may_be_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        catalog_of(tmp_path, text)

    assert "secret" not in str(refused.value)


def test_a_pattern_that_names_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"agents\.a\.tools: 'wiki\.\*' must be .*; servers are files$"):
        catalog_of(tmp_path, MODEL + 'tools = ["wiki.*"]\n', mcp=mcp_file(tmp_path))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"model": "gpt"}, 'MODEL: must be "PROVIDER:NAME"'),
        ({"model": "openai:gpt", "context_tokens": 10}, "CONTEXT_TOKENS: must be 256 or more"),
        ({"model": "openai:gpt", "model_base_url": "ftp://x"}, "MODEL_BASE_URL: must be an http or https address"),
        ({"personas": "nowhere"}, "PERSONAS: nowhere: is no folder"),
        ({"mcp": "nowhere.json"}, "nowhere.json: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_catalog(Settings(data=str(tmp_path), **settings), environ={})

    assert str(refused.value).startswith(problem)


# --- keys


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ("", ("openai:gpt", "http://127.0.0.1:1/v1", "settings' key")),
        ('model = "openai:other"', ("openai:other", "http://127.0.0.1:1/v1", "settings' key")),
        ('api_key_env = "MINE"', ("openai:gpt", "http://127.0.0.1:1/v1", "my key")),
        ('base_url = "http://127.0.0.1:2"', ("openai:gpt", "http://127.0.0.1:2", "")),
        ('model = "anthropic:claude"', ("anthropic:claude", "", "")),
    ],
)
def test_the_key_of_the_settings_goes_to_their_provider_and_address_only(
    tmp_path: Path, table: str, place: tuple[str, str, str]
) -> None:
    section = Section(
        name="a",
        file=tmp_path / "agents.toml",
        values=tomllib.loads(table),
        settings=Settings(model="openai:gpt", model_base_url="http://127.0.0.1:1/v1", model_api_key="settings' key"),
        environ={"MINE": "my key"},
    )

    assert model_place(section) == place


# --- loading anew


def test_what_did_not_change_goes_on(tmp_path: Path) -> None:
    folder_of(tmp_path, "handbook")
    folder_of(tmp_path, "manual")
    documents = '[agents.docs]\nkind = "documents"\nfolder = "handbook"\n'
    first = catalog_of(tmp_path, documents, mcp=mcp_file(tmp_path))

    same = catalog_of(tmp_path, documents, before=first, mcp=mcp_file(tmp_path))
    other = catalog_of(tmp_path, documents.replace("handbook", "manual"), before=same, mcp=mcp_file(tmp_path))

    assert dict(same.services) == dict(first.services)
    assert all(indexed.agent.personas is same.shared.personas for indexed in first.shared.folders.values())
    assert other.services["mcp:files"] is first.services["mcp:files"]
    assert other.services["agent:docs"] is not first.services["agent:docs"]
    paths = {indexed.path for catalog in (first, other) for indexed in catalog.shared.folders.values()}
    assert {path.name for path in paths} == {"documents-docs.db", "documents-docs-2.db"}


# --- without the extras


def test_without_the_extra_a_model_agent_is_refused_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(MODEL, encoding="utf-8")
    (tmp_path / "mcp.json").write_text('{"mcpServers": {}}', encoding="utf-8")
    hide = "import sys; sys.modules['pydantic_ai'] = sys.modules['mcp'] = None; from server.__main__ import main; "

    def told(arguments: list[str], **environ: str) -> str:
        command = [sys.executable, "-c", f"{hide}main({arguments!r})"]
        environ = {"PORT": "0", "DATA": str(tmp_path / "data"), **environ}
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        return done.stderr

    assert 'pip install "sessionstream[model]"' in told(["--agents", str(tmp_path / "agents.toml")])
    assert 'MODEL: needs the extra "model": pip install "sessionstream[model]"' in told([], MODEL="openai:gpt")
    assert 'MCP: needs the extra "mcp": pip install "sessionstream[mcp]"' in told([], MCP=str(tmp_path / "mcp.json"))
