"""The documents agent as a run sees it: events, sources, options, follow-ups, and its life beside the hub."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.agents.documents import DocumentsAgent
from server.agents.documents.shapes import HEADING_MARK
from server.agents.personas import load_personas
from server.core.ports import Turn

TIMEOUTS = """# Timeouts

The client enforces timeouts everywhere.

## Disabling

You can disable timeouts for one request:

```python
get(url, timeout=None)
```

## Defaults

The default timeout is five seconds of network inactivity.
"""
PROXIES = (
    "# Proxies\n\nPass `proxy` to send requests through a proxy server.\n\n## SOCKS\n\nSOCKS proxies need an extra.\n"
)
NOTE = "Quoted from the documents by word search; no language model is involved."


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "client").mkdir(parents=True)
    (folder / "client" / "timeouts.md").write_text(TIMEOUTS)
    (folder / "client" / "proxies.md").write_text(PROXIES)
    (folder / "server.md").write_text("# Server\n\nThe server has timeouts for idle connections.\n")
    return folder


@asynccontextmanager
async def running(agent: DocumentsAgent) -> AsyncIterator[DocumentsAgent]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            await agent.wait_refreshed()
            yield agent
            group.cancel_scope.cancel()


@pytest.fixture
async def agent(docs: Path) -> AsyncIterator[DocumentsAgent]:
    async with running(DocumentsAgent(docs, index_path=None, enabled=True, refresh_s=0.01)) as agent:
        yield agent


class Talk:
    """One session with the agent."""

    def __init__(self, agent: DocumentsAgent, persona: str | None = None) -> None:
        self.agent = agent
        self.persona = persona
        self.messages: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []

    async def say(self, text: str, **options: Any) -> str:
        self.messages.append({"id": str(len(self.messages)), "role": "user", "content": text})
        turn = Turn(
            session_id="s",
            run_id="r",
            user_id="u",
            message=text,
            messages=[*self.messages],
            persona=self.persona,
            options=options,
        )
        with anyio.fail_after(10):
            self.events = [event async for event in self.agent(turn) if isinstance(event, dict)]
        answer = "".join(event.get("delta", "") for event in self.events)
        self.messages.append({"id": str(len(self.messages)), "role": "assistant", "content": answer})
        return answer

    @property
    def sources(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.events[-1]["metadata"]["sources"]
        return found


async def test_an_answer_quotes_and_names_its_sources(agent: DocumentsAgent) -> None:
    """Our contract: sources by path and heading, in the text and in the message's metadata."""
    talk = Talk(agent)
    answer = await talk.say("How can I turn off the timeouts?", top_k=2)

    assert answer.startswith(
        "You can disable timeouts for one request [1]:\n\n```python\nget(url, timeout=None)\n```\n\n"
    )
    assert f"Sources:\n[1] client/timeouts.md{HEADING_MARK}Timeouts{HEADING_MARK}Disabling\n[2] " in answer
    assert answer.endswith(NOTE)
    assert [(source["n"], source["file"]) for source in talk.sources] == [
        (1, "client/timeouts.md"),
        (2, "client/timeouts.md"),
    ]
    assert talk.sources[0]["heading"] == f"Timeouts{HEADING_MARK}Disabling"
    assert talk.sources[0]["score"] > talk.sources[1]["score"] > 0


async def test_an_answer_is_one_message_in_many_deltas(agent: DocumentsAgent) -> None:
    """AG-UI: one start, deltas of the same message, one end."""
    talk = Talk(agent)
    await talk.say("What is the default timeout?")
    kinds = [event["type"] for event in talk.events]

    assert kinds[0] == "TEXT_MESSAGE_START"
    assert kinds[-1] == "TEXT_MESSAGE_END"
    assert set(kinds[1:-1]) == {"TEXT_MESSAGE_CONTENT"}
    assert len(kinds) > 6
    assert len({event["messageId"] for event in talk.events}) == 1
    assert all(event["delta"] for event in talk.events[1:-1])


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (4, 4), (20, 4)])
async def test_top_k_bounds_the_sources(agent: DocumentsAgent, top_k: int, count: int) -> None:
    """Our contract: `top_k` is honoured; there are as many sources as passages fit."""
    talk = Talk(agent)
    answer = await talk.say("timeouts", top_k=top_k)

    assert len(talk.sources) == count
    assert all(
        f"[{source['n']}] {source['file']}{HEADING_MARK}{source['heading']}" in answer for source in talk.sources
    )


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("server", {"server.md"}),
        ("CLIENT/", {"client/timeouts.md"}),
        ("*.md", {"client/timeouts.md", "server.md"}),
        ("client/*", {"client/timeouts.md"}),
        (["prox", "serv"], {"server.md"}),
        ("", {"client/timeouts.md", "server.md"}),
    ],
)
async def test_filename_filter_picks_files(agent: DocumentsAgent, wanted: Any, names: set[str]) -> None:
    """Our contract: a substring or pattern on the path below the folder, in any case."""
    talk = Talk(agent)
    await talk.say("timeouts", top_k=20, filename_filter=wanted)

    assert {source["file"] for source in talk.sources} == names


@pytest.mark.parametrize(
    "options",
    [{"top_k": 0}, {"top_k": 21}, {"top_k": "3"}, {"top_k": True}, {"top_k": 2.0},
     {"filename_filter": 1}, {"filename_filter": [1]}, {"filename_filter": {}}],
)  # fmt: skip
async def test_a_wrong_option_is_named(agent: DocumentsAgent, options: dict[str, Any]) -> None:
    """Our contract: a plain answer, not a failed run."""
    talk = Talk(agent)

    assert f"The option {next(iter(options))} must be" in await talk.say("timeouts", **options)
    assert talk.sources == []


async def test_nothing_found_is_said_plainly(agent: DocumentsAgent) -> None:
    """Our contract: no source is better than a wrong one."""
    talk = Talk(agent)

    assert "I found nothing about that" in await talk.say("What is the capital of France?")
    assert talk.sources == []
    assert "the files that match nowhere" in await talk.say("timeouts", filename_filter="nowhere")
    assert talk.sources == []


async def test_a_name_is_answered_from_this_session_only(agent: DocumentsAgent, docs: Path) -> None:
    """The requirement: after "My name is Alice", "What is my name?" is answered, in this session and in no other."""
    (docs / "names.md").write_text("# Names\n\nMy name is Mallory. Your name is Mallory.\n")
    await agent.wait_refreshed(2)
    alice, bob = Talk(agent), Talk(agent)

    assert await alice.say("My name is Alice") == "Noted: your name is Alice."
    assert await alice.say("What is my name?") == "Your name is Alice."
    assert await bob.say("What is my name?") == "You have not told me your name in this session."
    assert bob.sources == []


async def test_a_statement_and_a_question_are_both_answered(agent: DocumentsAgent) -> None:
    """Our contract: a message may tell and ask."""
    talk = Talk(agent)
    answer = await talk.say("My name is Alice. How do I use a SOCKS proxy?")

    assert answer.startswith("Noted: your name is Alice.\n\n")
    assert talk.sources[0]["heading"] == f"Proxies{HEADING_MARK}SOCKS"


async def test_follow_ups_lean_on_the_question_before(agent: DocumentsAgent) -> None:
    """Our contract: "how do I disable it?" and "tell me more" are understood in context."""
    talk = Talk(agent)
    await talk.say("What is the default timeout?", top_k=1)
    first = talk.sources
    await talk.say("and how do I disable it?", top_k=1)
    second = talk.sources
    await talk.say("tell me more", top_k=1)
    third = talk.sources

    assert first[0]["heading"] == f"Timeouts{HEADING_MARK}Defaults"
    assert second[0]["heading"] == f"Timeouts{HEADING_MARK}Disabling"
    assert third[0]["n"] == 2
    assert third[0] | {"n": 1} != second[0]


async def test_small_talk_is_honest_about_what_answers(agent: DocumentsAgent) -> None:
    """Our contract: no model is involved, and it says so."""
    talk = Talk(agent)

    for text in ("Hello!", "", "Which model are you?", "who are you?"):
        answer = await talk.say(text)
        assert "3 files, 6 passages" in answer
        assert "No language model is involved." in answer
    assert await talk.say("Thank you!") == "You are welcome."
    assert "- client/proxies.md" in await talk.say("Which documents do you have?")


async def test_without_documents_the_session_still_answers() -> None:
    """Our contract: `--no-docs` runs without an index and says so."""
    async with anyio.create_task_group() as group:
        agent = DocumentsAgent(None, index_path=None, enabled=False)
        group.start_soon(agent.run)
        talk = Talk(agent)

        assert "without documents" in await talk.say("How do I disable timeouts?")
        assert "without documents" in await talk.say("hi")
        assert await talk.say("I'm Alice") == "Noted: your name is Alice."
        assert await talk.say("Who am I?") == "Your name is Alice."
        assert agent.health() == {"status": "ok", "passages": 0, "files_done": 0, "files_total": 0}
        group.cancel_scope.cancel()


async def test_changes_of_the_folder_are_answered_from(agent: DocumentsAgent, docs: Path) -> None:
    """Our contract: the index follows the folder while the server runs."""
    talk = Talk(agent)
    before = await talk.say("walruses")
    (docs / "walrus.txt").write_text("Walruses have tusks.\n")
    with anyio.fail_after(10):
        await agent.wait_refreshed(2)
    after = await talk.say("walruses")

    assert "found nothing" in before
    assert after.startswith("Walruses have tusks. [1]")
    assert agent.health() == {"status": "ok", "passages": 7, "files_done": 4, "files_total": 4}


async def test_a_missing_folder_is_down_and_recovers(tmp_path: Path) -> None:
    """Our contract: readiness names the trouble, and it goes when the cause goes."""
    folder = tmp_path / "later"
    async with running(DocumentsAgent(folder, index_path=None, enabled=True, refresh_s=0.01)) as agent:
        down = agent.health()
        answer = await Talk(agent).say("timeouts")
        folder.mkdir()
        (folder / "a.md").write_text("# Timeouts\n\nFive seconds.\n")
        await agent.wait_refreshed(2)
        up = agent.health()

    assert down["status"] == "down"
    assert "cannot be read" in down["detail"]
    assert "not read any document yet" in answer
    assert up == {"status": "ok", "passages": 1, "files_done": 1, "files_total": 1}


async def test_indexing_ten_thousand_passages_leaves_the_loop_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The requirement: progress is shown while the loop serves; answers come from what is there and say so."""
    for number in range(100):
        sections = (f"## Part {part}\n\nThe number {number} has part {part} of timeouts.\n" for part in range(100))
        (tmp_path / f"file{number:03}.md").write_text("\n".join(sections))
    agent = DocumentsAgent(tmp_path, index_path=None, enabled=True)
    seen: list[dict[str, Any]] = []
    partial = ""
    with caplog.at_level(logging.INFO, "sessionstream.documents"), anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(agent.run)
            talk = Talk(agent)
            while agent.health()["status"] == "starting":
                seen.append(agent.health())
                if seen[-1]["files_done"] > 5 and not partial:
                    partial = await talk.say("timeouts part 7")
                await anyio.lowlevel.checkpoint()
            done = agent.health()
            group.cancel_scope.cancel()

    assert done == {"status": "ok", "passages": 10_000, "files_done": 100, "files_total": 100}
    assert len({health["files_done"] for health in seen}) > 50
    assert "still reading the documents" in partial
    assert talk.sources
    assert any("of 100 files" in record.getMessage() for record in caplog.records)


async def test_a_stop_in_the_middle_ends_soon_and_is_resumed(tmp_path: Path) -> None:
    """Our contract: stopping waits for no file; what was read is kept."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number}.txt").write_text("\n\n".join(f"Paragraph {part} of walruses." * 30 for part in range(20)))
    path = tmp_path / "index.db"
    first = DocumentsAgent(folder, index_path=path, enabled=True)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(first.run)
            while first.health()["files_done"] < 5:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    async with running(DocumentsAgent(folder, index_path=path, enabled=True)) as second:
        health = second.health()

    assert first.health()["status"] == "starting"
    assert health["files_done"] == health["files_total"] == 60


async def test_the_own_documents_are_the_default() -> None:
    """Our contract: without a folder it answers from this project's README and docs, or says that there are none."""
    agent = DocumentsAgent(None, index_path=None, enabled=True)
    async with running(agent):
        talk = Talk(agent)
        answer = await talk.say("What is Sessionstream?")

    root = Path(__file__).parents[2]
    if (root / "README.md").exists():
        assert {source["file"].partition("/")[0] for source in talk.sources} <= {
            "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs",
        }  # fmt: skip
    else:
        assert "no documents" in answer or "nothing" in answer


async def test_a_persona_greets_and_says_what_it_cannot_be(docs: Path) -> None:
    """Our contract: a persona is honoured as far as quoting goes: its greeting is used, its limits are said."""
    personas = load_personas(None)
    persona = personas.get("technical-support")
    assert persona is not None
    async with running(DocumentsAgent(docs, index_path=None, enabled=True, personas=personas)) as agent:
        talk, plain = Talk(agent, persona=persona.name), Talk(agent, persona="assistant")
        hello = await talk.say("Hello!")
        nothing = await talk.say("What is the capital of France?")
        found = await talk.say("How can I turn off the timeouts?")
        usual = await plain.say("Hello!")
        unknown = await Talk(agent, persona="a pirate").say("Hello!")

    assert hello.startswith(f"{persona.greeting} I answer questions by quoting the documents")
    assert nothing.endswith("to speak as technical-support, an agent with a language model is needed.")
    assert found.endswith(NOTE)
    assert usual.startswith("Hello! I answer questions by quoting")
    assert unknown == usual


@pytest.mark.parametrize(
    "text",
    [
        "I want to die",
        "i\N{RIGHT SINGLE QUOTATION MARK}m suicidal",
        "I am going to kill myself tonight",
        "I don't want to live any more",
    ],
)
async def test_somebody_in_danger_is_told_where_help_is(agent: DocumentsAgent, text: str) -> None:
    """Our contract: no quotation is an answer to that, whatever the persona."""
    talk = Talk(agent)

    assert "findahelpline.com" in await talk.say(text)
    assert talk.sources == []


async def test_documents_may_speak_of_killing_processes(agent: DocumentsAgent, docs: Path) -> None:
    """What is meant for a person in danger is not said to one who asks about programs."""
    (docs / "kill.md").write_text("# Killing\n\nTo kill a worker, send SIGKILL to the process.\n")
    await agent.wait_refreshed(2)
    talk = Talk(agent)

    assert "SIGKILL" in await talk.say("How do I kill a worker process?")
