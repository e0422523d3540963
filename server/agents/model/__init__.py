"""The model agent: a language model behind a session, with tools, over pydantic-ai.

    agent     what it is given, checked; the library is imported by its first run, or a moment after start
    provider  the model and the one request to it; what goes wrong there has a code (`failures`)
    answering one turn: requests and tool calls in turn, until there is an answer or a question to the client
    reply     what streams in, as AG-UI events
    history   AG-UI messages as the library's, valid for every provider whatever happened before
    fitting   what of the history is sent · summary  what stands for the rest
    calling   the tools on offer, and how one is called

Only `provider`, `reply`, `history` and `failures` import the library, and only `agent` imports `answering`, late.
"""

from __future__ import annotations

from .agent import ModelAgent

__all__ = ["ModelAgent"]
