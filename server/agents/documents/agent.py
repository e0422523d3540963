"""The documents agent: one instance for the node, an agent for every run and a service for its index.

A turn is answered in one worker thread, from its messages and the index; the loop only streams the words. The agent
keeps nothing about sessions. While the index is being built it answers from what is there, and says so.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter, to_thread

from ...core.ports import Event, Turn
from ...ids import new_id
from ..personas import DEFAULT_PERSONA, Persona, Personas
from .answer import SURE_COVERAGE, Reply, compose
from .asking import (
    IN_DANGER,
    OptionError,
    Options,
    is_about_agent,
    is_about_files,
    is_greeting,
    is_in_danger,
    is_request,
    is_thanks,
    read_options,
    to_look_for,
)
from .folder import Folder, own_documents
from .index import Index
from .library import Library, tidy
from .memory import Fact, Memory, clauses, facts, remember
from .ranking import Found, Question, ask, find
from .recall import recall, said_earlier
from .upkeep import Upkeep
from .words import content_words, pieces

logger = logging.getLogger("sessionstream.documents")

ANSWER_TIMEOUT_S: Final = 5.0
"""A search takes some milliseconds; one that takes this long will not end."""
MIN_COVERAGE: Final = 0.37
"""Passages that speak of less of a question share words with it, not its subject."""
_SEARCHES: Final = 4
_SHOWN_FILES: Final = 20


class DocumentsAgent:
    """Answers from a folder of documents and from the session. An `Agent` and a `Service`."""

    def __init__(
        self,
        folder: Path | None,
        *,
        index_path: Path | None,
        enabled: bool,
        refresh_s: float = 2.0,
        personas: Personas | None = None,
    ) -> None:
        """Prepare; `run` builds the index.

        Args:
            folder: the documents; None for this project's own.
            index_path: the file of the index, a cache that may be removed at any time; None for a temporary one.
            enabled: False to run without documents.
            refresh_s: how often the folder is looked at for changes; longer where looking takes long.
            personas: whose greetings it may use; it has no other words of theirs.
        """
        self.personas = personas
        """May be set anew at any time."""
        self.library: Library | None = None
        """What requests may see and change of the folder; None without documents."""
        self._index: Index | None = None
        self._upkeep: Upkeep | None = None
        self._enabled = enabled
        self._searching = CapacityLimiter(_SEARCHES)
        documents = Folder(folder) if folder is not None else own_documents(Path(__file__).parents[2])
        if enabled and documents is not None:
            self._index = Index(documents, index_path)
            self._upkeep = Upkeep(self._index, refresh_s=refresh_s)
            self.library = Library(documents, self._index, self._upkeep)

    # --- the service

    async def run(self) -> None:
        """Build the index, then keep it up to date until cancelled."""
        if self._index is None or self._upkeep is None:
            await anyio.sleep_forever()
            return
        await to_thread.run_sync(tidy, self._index.folder.root, abandon_on_cancel=True)
        await self._upkeep.run()

    async def wait_refreshed(self, passes: int = 1) -> None:
        """Wait until so many more passes over the folder have ended; two of them have seen every change before."""
        assert self._upkeep is not None
        await self._upkeep.wait_refreshed(passes)

    def health(self) -> dict[str, Any]:
        """Return status and counts; never blocks."""
        index = self._index
        if index is None:
            return {"status": "ok", "passages": 0, "files_done": 0, "files_total": 0}
        status = "down" if index.trouble else "ok" if index.is_complete else "starting"
        counts = {"passages": index.passages, "files_done": index.files_done, "files_total": index.files_total}
        return {"status": status, **counts, **({"detail": index.trouble} if index.trouble else {})}

    # --- the search, for tools

    async def search(self, query: str, options: Options) -> list[Found]:
        """Return the passages that fit best, best first, at most `options.top_k`; how well is said by each.

        Raises:
            TimeoutError: it took longer than `ANSWER_TIMEOUT_S`.
            sqlite3.Error: the index cannot be read.
        """
        question = ask(query)
        if self._index is None or question.is_empty:
            return []
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            return await to_thread.run_sync(
                self._search, question, options, options.top_k, abandon_on_cancel=True, limiter=self._searching
            )

    # --- the agent

    async def __call__(self, turn: Turn, /) -> AsyncIterator[str | Event]:
        """Answer the turn with one message; its sources stand in the metadata of its end."""
        reply = await self._reply(turn)
        message_id = new_id()
        yield {"type": "TEXT_MESSAGE_START", "messageId": message_id, "role": "assistant"}
        # A quoted message may hold half a surrogate pair, which no frame can carry.
        for piece in pieces(reply.text.encode(errors="replace").decode()):
            yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": piece}
            await anyio.lowlevel.checkpoint()
        yield {"type": "TEXT_MESSAGE_END", "messageId": message_id, "metadata": {"sources": reply.sources}}

    async def _reply(self, turn: Turn) -> Reply:
        try:
            with anyio.fail_after(ANSWER_TIMEOUT_S):
                return await to_thread.run_sync(self._answer, turn, abandon_on_cancel=True, limiter=self._searching)
        except TimeoutError:
            logger.exception("a search took longer than %g s", ANSWER_TIMEOUT_S)
            return Reply(
                f"Searching the documents took longer than {ANSWER_TIMEOUT_S:g} s, so I gave up. Please retry."
            )

    def _answer(self, turn: Turn) -> Reply:
        try:
            options = read_options(turn.options)
        except OptionError as error:
            return Reply(str(error))
        persona = self._persona(turn)
        if talk := self._small_talk(turn.message, persona):
            return Reply(talk)
        memory = remember(_before(turn))
        told, answers, rest = _from_session(turn.message, memory)
        firm = [fact for fact in told if not fact.weak]
        lines = [_noted(firm)] if firm else []
        lines += answers
        if not rest:
            return Reply("\n\n".join(lines or [_noted(told)]))
        reply = self._from_documents(rest, memory, options)
        if persona is not None and not reply.sources:
            reply = replace(reply, text=f"{reply.text} {_cannot_be(persona)}")
        if told and not firm and not reply.sure and not is_request(rest):
            return Reply("\n\n".join([_noted(told), *answers]))
        return Reply("\n\n".join([*lines, reply.text]), reply.sources)

    # --- small talk

    def _persona(self, turn: Turn) -> Persona | None:
        """Return the persona that was chosen; the one that speaks where none was is nobody in particular."""
        is_chosen = turn.persona is not None and turn.persona != DEFAULT_PERSONA
        return self.personas.get(turn.persona) if is_chosen and turn.persona and self.personas else None

    def _small_talk(self, text: str, persona: Persona | None) -> str | None:
        if is_in_danger(text):
            return IN_DANGER
        if is_about_agent(text):
            return self._introduction()
        if is_greeting(text):
            return f"{(persona and persona.greeting) or 'Hello!'} {self._introduction()}"
        if is_thanks(text):
            return "You are welcome."
        return self._files() if is_about_files(text) else None

    def _introduction(self) -> str:
        if self._index is None:
            return f"{self._without()} Tell me something, and ask me about it later. No language model is involved."
        return (
            f"I answer questions by quoting the documents I was given ({self._counts()}), with their sources, and I "
            "remember what you tell me in this session. No language model is involved." + self.progress()
        )

    def _counts(self) -> str:
        assert self._index is not None
        return f"{_number(self._index.files, 'file')}, {_number(self._index.passages, 'passage')}"

    def progress(self) -> str:
        """Return a sentence about documents that are still to be read, or nothing."""
        index = self._index
        if index is None or index.is_complete:
            return ""
        return (
            f" I am still reading the documents ({index.files_done} of {index.files_total} files so far), "
            "so something may be missing."
        )

    def _without(self) -> str:
        if not self._enabled:
            return "I run without documents here, so I can only answer from what you tell me in this session."
        return (
            "There are no documents here: no folder was configured, and this installation comes without its own. "
            "I can only answer from what you tell me in this session."
        )

    def _files(self) -> str:
        if self._index is None:
            return self._without()
        names = self._index.names(_SHOWN_FILES)
        more = self._index.files - len(names)
        listing = "\n".join(f"- {name}" for name in names) + (f"\n- and {more} more" if more > 0 else "")
        return f"I answer from {self._counts()}:\n\n{listing}{self.progress()}"

    # --- the documents

    def _from_documents(self, text: str, memory: Memory, options: Options) -> Reply:
        earlier = said_earlier(text, memory)
        if self._index is None:
            return Reply(earlier or self._without())
        question, page = to_look_for(text, memory)
        if question.is_empty:
            return Reply(earlier or "Please ask with a word or two that the documents may use.")
        try:
            found = self._search(question, options, options.top_k * (page + 1))
        except sqlite3.Error:
            logger.exception("the index cannot be read")
            return Reply("The index of the documents cannot be read right now. Please try again in a moment.")
        best = max((passage.coverage for passage in found), default=0.0)
        shown = found[options.top_k * page :]
        if best < MIN_COVERAGE or not shown:
            return Reply(earlier or self._nothing(options, page))
        if earlier and (best < SURE_COVERAGE or len(question.weights) < 2):
            return Reply(earlier)
        reply = compose(shown, question, sure=best >= SURE_COVERAGE, first=options.top_k * page + 1)
        opening = [part for part in (earlier, self.progress().strip()) if part]
        return Reply("\n\n".join([*opening, reply.text]), reply.sources, reply.sure)

    def _search(self, question: Question, options: Options, limit: int) -> list[Found]:
        assert self._index is not None
        with self._index.reading(ANSWER_TIMEOUT_S) as connection:
            if connection is None:
                return []
            names = [str(name) for (name,) in connection.execute("SELECT name FROM files WHERE passages > 0")]
            admitted = None if options.admits_all else [name for name in names if options.admits(name)]
            return [] if admitted == [] else find(connection, question, admitted, limit)

    def _nothing(self, options: Options, page: int) -> str:
        assert self._index is not None
        if page:
            return "I have nothing more about that."
        if not self._index.passages:
            empty = "There is nothing to answer from: no file in the folder of documents could be read."
            return empty if self._index.is_complete else "I have not read any document yet." + self.progress()
        where = f"the files that match {', '.join(options.filters)}" if options.filters else f"{self._counts()}"
        return f"I found nothing about that in the documents ({where}).{self.progress()} {_HINT}"


_HINT: Final = "I search for words, without a language model: other words may help."


def _before(turn: Turn) -> list[dict[str, Any]]:
    """Return the messages before the one to answer."""
    for at in range(len(turn.messages) - 1, -1, -1):
        if turn.messages[at].get("role") == "user":
            return turn.messages[:at]
    return turn.messages


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _cannot_be(persona: Persona) -> str:
    return f"I only quote here: to speak as {persona.name}, an agent with a language model is needed."


def _noted(told: list[Fact]) -> str:
    return f"Noted: {'; '.join(fact.said for fact in told)}."


def _from_session(text: str, memory: Memory) -> tuple[list[Fact], list[str], str]:
    """Take in what a message states; return that, answers that the session gives, and what is left to look up."""
    told: list[Fact] = []
    answers: list[str] = []
    rest: list[str] = []
    for clause in clauses(text):
        stated = facts(clause)
        answer = None if stated else recall(clause, memory)
        for fact in stated:
            memory.hear(fact)
        told += stated
        if answer is not None:
            answers.append(answer)
        elif not stated or stated[0].weak:
            rest.append(clause)
    asked = [clause for clause in rest if is_request(clause)] if (told or answers) else rest
    keep = asked or [clause for clause in rest if any(fact.weak for fact in facts(clause))]
    return told, answers, " ".join(keep) if any(content_words(part) for part in keep) or not (told or answers) else ""
