"""Says what our agents say, as langgraph wants it: chunks written by a node of a graph."""

# langgraph is installed in an environment of its own:
# mypy: ignore-errors
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

from scripts.benchmark.peers.pacing import agent, asked


class State(TypedDict, total=False):
    """What goes in, and what is left."""

    message: str
    answer: str


async def words(state: State) -> State:
    """Write each word."""
    write = get_stream_writer()
    async for word in agent(asked(state["message"])):
        write({"type": "TEXT_MESSAGE_CONTENT", "delta": word})
    return {"answer": "the whole answer"}


graph = StateGraph(State).add_node("words", words).add_edge(START, "words").add_edge("words", END).compile()
