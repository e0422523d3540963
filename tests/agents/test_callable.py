"""A python agent is found beside its file first, then on PYTHONPATH, and refused with a reason if it is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.agents.callable import load_entrypoint
from server.core.ports import Event, Turn
from server.errors import ConfigError

AGENT = """
async def agent(turn):
    yield {says!r}
"""


@pytest.fixture(autouse=True)
def imports() -> Iterator[None]:
    """Leave the import system as it was: what one test imports must not serve the next."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write_agent(folder: Path, name: str, says: str) -> Path:
    file = folder / f"{name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(AGENT.format(says=says))
    return folder


async def answer_of(entrypoint: str, beside: Path) -> list[str | Event]:
    turn = Turn(session_id="s", run_id="r", user_id="u", message="", messages=[])
    return [piece async for piece in load_entrypoint(entrypoint, beside)(turn)]


async def test_a_module_beside_the_file_is_found(tmp_path: Path) -> None:
    write_agent(tmp_path, "my_agent", "beside")

    assert await answer_of("my_agent:agent", tmp_path) == ["beside"]


async def test_a_module_beside_the_file_wins_over_one_on_the_path(tmp_path: Path) -> None:
    write_agent(tmp_path / "path", "my_agent", "path")
    write_agent(tmp_path / "beside", "my_agent", "beside")
    sys.path.insert(0, str(tmp_path / "path"))

    assert await answer_of("my_agent:agent", tmp_path / "beside") == ["beside"]


async def test_a_module_on_the_path_is_found(tmp_path: Path) -> None:
    sys.path.append(str(write_agent(tmp_path / "path", "far_agent", "path")))

    assert await answer_of("far_agent:agent", tmp_path) == ["path"]


async def test_a_folder_of_the_same_name_beside_the_file_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "far_agent").mkdir()
    sys.path.append(str(write_agent(tmp_path / "path", "far_agent", "path")))

    assert await answer_of("far_agent:agent", tmp_path) == ["path"]
    assert await answer_of("far_agent:agent", tmp_path) == ["path"]


async def test_two_files_may_have_modules_of_the_same_name(tmp_path: Path) -> None:
    write_agent(tmp_path / "a", "my_agent", "a")
    write_agent(tmp_path / "b", "my_agent", "b")

    assert await answer_of("my_agent:agent", tmp_path / "a") == ["a"]
    assert await answer_of("my_agent:agent", tmp_path / "b") == ["b"]
    assert await answer_of("my_agent:agent", tmp_path / "a") == ["a"]


async def test_two_files_may_have_packages_of_the_same_name(tmp_path: Path) -> None:
    for name in "ab":
        write_agent(tmp_path / name, "agents/mine", name)

    assert await answer_of("agents.mine:agent", tmp_path / "a") == ["a"]
    assert await answer_of("agents.mine:agent", tmp_path / "b") == ["b"]
    assert await answer_of("agents.mine:agent", tmp_path / "a") == ["a"]
    assert await answer_of("agents.mine:agent", tmp_path / "b") == ["b"]


async def test_a_module_named_like_one_of_the_standard_library_does_not_replace_it(tmp_path: Path) -> None:
    write_agent(tmp_path, "wave", "mine")

    assert await answer_of("wave:agent", tmp_path) == ["mine"]
    assert "wave" not in sys.modules


async def test_two_agents_of_one_module_share_it(tmp_path: Path) -> None:
    write_agent(tmp_path, "my_agent", "x")

    assert load_entrypoint("my_agent:agent", tmp_path) is load_entrypoint("my_agent:agent", tmp_path)


async def test_siblings_are_imported_at_the_top_and_inside_functions(tmp_path: Path) -> None:
    (tmp_path / "early_words.py").write_text("WORD = 'early'")
    (tmp_path / "late_words.py").write_text("WORD = 'late'")
    (tmp_path / "my_agent.py").write_text(
        "import early_words\n"
        "async def agent(turn):\n"
        "    import late_words\n"
        "    yield early_words.WORD\n"
        "    yield late_words.WORD\n"
    )

    assert await answer_of("my_agent:agent", tmp_path) == ["early", "late"]


def test_the_folder_stands_last_on_the_path_and_once(tmp_path: Path) -> None:
    """First, it would shadow what others import; not at all, it would break imports inside functions."""
    write_agent(tmp_path, "my_agent", "x")
    before = list(sys.path)

    load_entrypoint("my_agent:agent", tmp_path)
    load_entrypoint("my_agent:agent", tmp_path)

    assert sys.path == [*before, str(tmp_path)]


def test_a_module_on_the_path_leaves_the_path_as_it_was(tmp_path: Path) -> None:
    sys.path.append(str(write_agent(tmp_path / "path", "far_agent", "path")))
    before = list(sys.path)

    load_entrypoint("far_agent:agent", tmp_path)

    assert sys.path == before


async def test_an_object_whose_call_is_an_async_generator_is_an_agent(tmp_path: Path) -> None:
    (tmp_path / "my_agent.py").write_text(
        "import functools\n"
        "class Agent:\n"
        "    async def __call__(self, turn):\n"
        "        yield 'object'\n"
        "    async def method(self, turn):\n"
        "        yield 'method'\n"
        "async def configured(word, turn):\n"
        "    yield word\n"
        "agent = Agent()\n"
        "partial = functools.partial(configured, 'partial')\n"
    )

    assert await answer_of("my_agent:agent", tmp_path) == ["object"]
    assert await answer_of("my_agent:agent.method", tmp_path) == ["method"]
    assert await answer_of("my_agent:partial", tmp_path) == ["partial"]


@pytest.mark.parametrize(
    "definition",
    [
        "async def agent(turn): return 'text'",
        "def agent(turn): yield 'text'",
        "def agent(turn): return 'text'",
        "class agent:\n    async def __call__(self, turn): yield 'text'",
        "agent = 'text'",
    ],
    ids=["coroutine", "generator", "function", "class", "text"],
)
def test_anything_else_is_refused_and_told_what_is_wanted(tmp_path: Path, definition: str) -> None:
    (tmp_path / "my_agent.py").write_text(definition)

    with pytest.raises(ConfigError, match=r"^my_agent:agent must be an async generator function of one Turn"):
        load_entrypoint("my_agent:agent", tmp_path)


@pytest.mark.parametrize("parameters", ["", "turn, model", "*, turn"])
def test_an_agent_that_cannot_take_one_turn_is_refused(tmp_path: Path, parameters: str) -> None:
    (tmp_path / "my_agent.py").write_text(f"async def agent({parameters}): yield 'text'")

    with pytest.raises(ConfigError, match=r"^my_agent:agent must take one argument, the Turn: "):
        load_entrypoint("my_agent:agent", tmp_path)


@pytest.mark.parametrize(
    "entrypoint", ["", "my_agent", "my_agent:", ":agent", "my-agent:agent", "a:b:c", "my_agent.py:x y"]
)
def test_a_misspelt_entrypoint_is_refused(tmp_path: Path, entrypoint: str) -> None:
    with pytest.raises(ConfigError, match=r'^must be "module:function", not '):
        load_entrypoint(entrypoint, tmp_path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise ValueError('no key')", "ValueError: no key"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("def agent(:", "SyntaxError: invalid syntax (my_agent.py, line 1)"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_own_error(tmp_path: Path, source: str, reason: str) -> None:
    (tmp_path / "my_agent.py").write_text(source)

    with pytest.raises(ConfigError) as refused:
        load_entrypoint("my_agent:agent", tmp_path)

    assert str(refused.value) == f"cannot import 'my_agent' (looked in {tmp_path}, then on PYTHONPATH): {reason}"
    assert "my_agent" not in sys.modules


def test_a_module_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot import 'no_agent' .*: No module named 'no_agent'$"):
        load_entrypoint("no_agent:agent", tmp_path)


def test_a_function_that_the_module_lacks_is_named_with_the_file(tmp_path: Path) -> None:
    write_agent(tmp_path, "my_agent", "x")

    with pytest.raises(ConfigError) as refused:
        load_entrypoint("my_agent:other", tmp_path)

    assert str(refused.value) == f"module 'my_agent' ({tmp_path / 'my_agent.py'}) has no 'other'"
