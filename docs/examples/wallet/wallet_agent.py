"""An agent whose hands are in the page: the page's wallet switches networks and sends transactions, the agent asks.

    send 0.5 ETH to 0x52908400098527886E0F7030069857D2E4169EE7 on Sepolia

Nothing is kept here: each turn reads from the history what was asked, what the wallet did, and which network it is on.
A run that waits for the wallet ends by asking, and the next one begins with the answer, so it makes no difference
whether that takes a second, a restart of the server or a night. No model is involved; a model would call the same two
tools.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

SWITCH = "wallet_switchEthereumChain"
SEND = "eth_sendTransaction"
CHAINS = {"mainnet": "0x1", "sepolia": "0xaa36a7", "base": "0x2105"}
WEI = 10**18

_ORDER = re.compile(r"send (?P<amount>\d{1,9}(?:\.\d{1,18})?) ETH to (?P<to>0x[0-9a-f]{40}) on (?P<network>\w+)", re.I)
_REPORT = re.compile(r"The wallet is on chain (0x[0-9a-f]+)\.", re.I)
_HELP = f"Say: send 0.5 ETH to 0x… on Sepolia. I know the networks {', '.join(CHAINS)}."


async def agent(turn: Any) -> AsyncIterator[str | dict[str, Any]]:
    """Answer a message, or go on where the wallet was asked."""
    order = _ORDER.search(turn.message)
    if order is None or order["network"].lower() not in CHAINS:
        yield _HELP
        return
    chain = CHAINS[order["network"].lower()]
    name, content, has_failed = last_deed(turn.messages)
    if has_failed:
        yield f"Nothing was sent: {content}."
    elif name == SEND:
        yield f"Sent {order['amount']} ETH to {order['to']}. The transaction is {content}."
    elif chain_of(turn.messages) != chain:
        yield f"This needs the network {order['network']}. "
        for event in asking(SWITCH, {"chainId": chain}, f"Switch to {order['network']}?", turn.run_id):
            yield event
    else:
        value = hex(int(Decimal(order["amount"]) * WEI))
        question = f"Send {order['amount']} ETH to {order['to']}?"
        for event in asking(SEND, {"to": order["to"], "value": value, "chainId": chain}, question, turn.run_id):
            yield event


def asking(tool: str, arguments: dict[str, Any], question: str, run_id: str) -> Iterator[dict[str, Any]]:
    """Yield the call of a tool that the page performs, and end the run by asking for its result."""
    call_id = f"{tool}-{run_id}"
    yield {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": tool}
    yield {"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": json.dumps(arguments)}
    yield {"type": "TOOL_CALL_END", "toolCallId": call_id}
    interrupt = {"id": f"ask-{run_id}", "reason": "tool_call", "toolCallId": call_id, "message": question}
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [interrupt]}}


def last_deed(messages: list[dict[str, Any]]) -> tuple[str, str, bool]:
    """Return what the wallet did last since the user spoke: the tool, what it returned, whether it refused."""
    deed = ("", "", False)
    for message, arguments_of in with_calls(messages):
        if message["role"] == "user":
            deed = ("", "", False)
        elif message["role"] == "tool":
            status = message.get("metadata", {}).get("sessionstream", {}).get("status")
            deed = (arguments_of[message["toolCallId"]][0], message["content"], status is not None)
    return deed


def chain_of(messages: list[dict[str, Any]]) -> str | None:
    """Return the network that the wallet is on, as far as it was said: by a switch, or by the page's own report."""
    chain = None
    for message, arguments_of in with_calls(messages):
        if message["role"] == "tool":
            tool, arguments = arguments_of[message["toolCallId"]]
            status = message.get("metadata", {}).get("sessionstream", {}).get("status")
            if tool == SWITCH and status is None:
                chain = arguments["chainId"]
        elif message["role"] == "system" and (report := _REPORT.search(message["content"])):
            chain = report[1].lower()
    return chain


def with_calls(
    messages: list[dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], dict[str, tuple[str, dict[str, Any]]]]]:
    """Yield each message with all calls so far: id → tool and arguments."""
    calls: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in messages:
        for call in message.get("toolCalls", ()):
            calls[call["id"]] = (call["function"]["name"], json.loads(call["function"]["arguments"]))
        yield message, calls
