"""`scripts/chat`: a terminal, or a pipe."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import anyio

from .api import Api, without_password
from .chat import Chat
from .memory import Memory, state_folder
from .options import Options, parse
from .pipe import WRONG, Pipe, complain
from .terminal import is_closed, is_terminal


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = parse(sys.argv[1:])
    if is_closed():
        return complain("stdin or stdout is closed", WRONG)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal of another encoding is no reason to fail
            stream.reconfigure(errors="replace")
    if not (options.is_pipe or options.as_json or not sys.stdin.isatty()):
        if not is_terminal():
            return complain("stdout is no terminal; in a pipe: echo question | scripts/chat -", WRONG)
        return anyio.run(converse, options)
    question = sys.stdin.buffer.read().decode("utf-8", "replace").strip("\r\n").rstrip()
    if not question:
        return complain("there is no question on stdin", WRONG)
    return anyio.run(answer, options, question)


async def converse(options: Options) -> int:
    """Chat until the person leaves."""
    memory = Memory(state_folder(), without_password(options.url), options.user)
    async with Api(options.url, user=options.user, token=options.token, visitor_token=memory.visitor_token) as api:
        await Chat(options, api, memory).run()
    return 0


async def answer(options: Options, question: str) -> int:
    """Answer one question."""
    memory = Memory(state_folder(), without_password(options.url), options.user)
    async with Api(options.url, user=options.user, token=options.token, visitor_token=memory.visitor_token) as api:
        code = await Pipe(options, api, memory).ask(question)
        if api.visitor_token:
            memory.remember(visitor_token=api.visitor_token)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
