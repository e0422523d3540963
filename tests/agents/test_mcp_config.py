"""The file of MCP servers: what may stand in it, and how each mistake is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from server.agents.mcp.config import HttpConfig, McpConfig, StdioConfig, load_mcp_config
from server.errors import ConfigError

ENVIRON = {"HOME": "/home/me", "TOKEN": "t0ken", "EMPTY": ""}


def _load(folder: Path, document: Any) -> tuple[McpConfig, ...]:
    path = folder / "mcp.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return load_mcp_config(path, ENVIRON)


def _refusal(folder: Path, document: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        _load(folder, document)
    text = str(caught.value)
    assert text.startswith(f"{folder / 'mcp.json'}: ")
    return text.removeprefix(f"{folder / 'mcp.json'}: ")


def test_servers_are_read_with_variables_put_in(tmp_path: Path) -> None:
    """The format of desktop clients, as it is copied from them."""
    (tmp_path / "work").mkdir()
    found = _load(
        tmp_path,
        {
            "mcpServers": {
                "files": {
                    "command": "npx",
                    "args": ["-y", "${HOME}/notes", "${MISSING:-else}", "${EMPTY:-filled}", "$HOME"],
                    "env": {"TOKEN": "${TOKEN}"},
                    "cwd": "work",
                    "type": "stdio",
                },
                "wiki": {
                    "url": "https://wiki.example:8443/mcp?a=1",
                    "headers": {"Authorization": "Bearer ${TOKEN}"},
                    "type": "streamable-http",
                    "required": True,
                },
                "old": {"command": "${MISSING}", "disabled": True},
            }
        },
    )

    assert found == (
        StdioConfig(
            name="files",
            command="npx",
            args=("-y", "/home/me/notes", "else", "filled", "$HOME"),
            env={"TOKEN": "t0ken"},
            cwd=tmp_path / "work",
        ),
        HttpConfig(
            name="wiki",
            url="https://wiki.example:8443/mcp?a=1",
            headers={"Authorization": "Bearer t0ken"},
            is_required=True,
        ),
    )


def test_no_value_of_a_server_is_shown_that_may_be_secret(tmp_path: Path) -> None:
    """Our contract: what stands in a traceback or a log is no key."""
    found = _load(
        tmp_path,
        {
            "mcpServers": {
                "one": {"command": "x", "env": {"KEY": "${TOKEN}"}},
                "two": {"url": "https://me:${TOKEN}@host/mcp", "headers": {"X-Key": "${TOKEN}"}},
            }
        },
    )

    assert "t0ken" not in repr(found)


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({}, "a: needs a command or a url, and has neither"),
        ({"command": "x", "url": "http://h"}, "a: needs a command or a url, and has both"),
        ({"command": ""}, "a.command: is empty"),
        ({"command": 1}, "a.command: must be text"),
        ({"command": "a\0b"}, "a.command: must be text"),
        (
            {"command": "x", "comand": "y"},
            "a.comand: unknown key; a server of type stdio has command, args, env, cwd, ",
        ),
        (
            {"command": "x", "headers": {}},
            "a.headers: unknown key; a server of type stdio has command, args, env, cwd, ",
        ),
        ({"url": "http://h", "args": []}, "a.args: unknown key; a server of type http has url, headers, "),
        ({"command": "x", "args": "y"}, "a.args: must be a list of texts"),
        ({"command": "x", "args": ["y", 2]}, "a.args[1]: must be text"),
        ({"command": "x", "args": ["${NOWHERE}"]}, "a.args[0]: the variable NOWHERE is not set"),
        ({"command": "x", "env": []}, "a.env: must be an object of texts"),
        ({"command": "x", "env": {"A": None}}, "a.env.A: must be text"),
        ({"command": "x", "env": {"A=B": "c"}}, "a.env.A=B: is no name"),
        ({"command": "x", "cwd": "nowhere"}, "a.cwd: "),
        ({"command": "x", "type": "sse"}, "a.type: must be stdio, http or streamable-http"),
        ({"command": "x", "type": "http"}, "a.type: is http, but the server has a command"),
        ({"command": "x", "disabled": 1}, "a.disabled: must be true or false"),
        ({"command": "x", "required": "yes"}, "a.required: must be true or false"),
        ({"url": "ftp://h"}, "a.url: must be an address that begins with http:// or https://"),
        ({"url": "http://"}, "a.url: must be an address that begins with http:// or https://"),
        ({"url": "http://h:99999/"}, "a.url: must be an address that begins with http:// or https://"),
        ({"url": "http://h/a b"}, "a.url: must be an address that begins with http:// or https://"),
        ({"url": "http://h", "headers": {"A": "b\nc"}}, "a.headers.A: is no header: visible ASCII only"),
        ({"url": "http://h", "headers": {"A B": "c"}}, "a.headers.A B: is no header: visible ASCII only"),
        ("npx", "a: must be an object"),
    ],
)
def test_a_mistake_in_a_server_names_its_key(tmp_path: Path, server: Any, problem: str) -> None:
    """Our contract: whatever is wrong is said with file and key."""
    assert _refusal(tmp_path, {"mcpServers": {"a": server}}).startswith(f"mcpServers.{problem}")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ("[]", "must hold an object with the key mcpServers"),
        ({}, "mcpServers: is missing"),
        ({"mcpServers": []}, "mcpServers: must be an object"),
        ({"mcpServers": {}, "servers": {}}, "servers: unknown key; known is mcpServers"),
        ({"mcpServers": {"a.b": {}}}, "mcpServers.'a.b': a name is 1 to 64 letters, digits, _ or -"),
        ({"mcpServers": {"": {}}}, "mcpServers.'': a name is 1 to 64 letters, digits, _ or -"),
        ('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', "a: stands there twice"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, document: Any, problem: str) -> None:
    """Our contract: whatever is wrong is said with file and key."""
    assert _refusal(tmp_path, document).startswith(problem)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Our contract: whatever is wrong is said with the file."""
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read: No such file"):
        load_mcp_config(tmp_path / "nowhere.json")
