"""What an agent asks: approvals, choices, forms and plain questions, answered on the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Locator, expect

from tests.browser.pages import Tab
from tests.browser.serving import ROOT, ServerProcess, serve

pytestmark = pytest.mark.anyio

WALLET = ROOT / "docs" / "examples" / "wallet"
TO = "0x52908400098527886E0F7030069857D2E4169EE7"
HOSTILE = "<img src=x onerror='window.hit=1'>"
AGENTS = """default = "asking"

[agents.asking]
kind = "python"
entrypoint = "asking_agent:agent"

[agents.wallet]
kind = "python"
entrypoint = "wallet_agent:agent"
"""

ASKING_AGENT = '''
import json

async def agent(turn):
    """Ask before a deletion, ask for a colour, or say what was answered."""
    if turn.resume:
        entry = turn.resume[0]
        if entry["status"] == "resolved" and "toolCallId" in entry:
            result = {"type": "TOOL_CALL_RESULT", "messageId": f"r-{turn.run_id}", "toolCallId": entry["toolCallId"]}
            yield {**result, "content": "deleted", "role": "tool"}
        yield "answered " + json.dumps({key: entry.get(key) for key in ("status", "payload")})
        return
    interrupt = {"id": f"ask-{turn.run_id}", "reason": "input", "message": "Which colour?"}
    if turn.message.startswith("{"):
        interrupt["responseSchema"] = json.loads(turn.message)
    if "delete" in turn.message:
        call = f"call-{turn.run_id}"
        yield {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": "files.delete"}
        yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": '{"path": "a.txt"}'}
        yield {"type": "TOOL_CALL_END", "toolCallId": call}
        interrupt |= {"reason": "approval", "toolCallId": call, "message": "Delete a.txt?"}
    yield {"type": "RUN_FINISHED", "outcome": {"type": "interrupt", "interrupts": [interrupt]}}
'''


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "asking_agent.py").write_text(ASKING_AGENT)
    shutil.copy(WALLET / "wallet_agent.py", folder)
    async with serve(folder, AGENTS) as server:
        yield server


async def _ask(tab: Tab, message: str | dict[str, Any]) -> Locator:
    await expect(tab.page.get_by_label("Agent")).to_be_visible()
    await tab.send(message if isinstance(message, str) else json.dumps(message))
    card = tab.page.get_by_test_id("approval")
    await expect(card).to_be_visible()
    return card


async def test_approval_is_given_in_one_tab_and_seen_in_the_other(tab: Tab) -> None:
    await _ask(tab, "delete it")
    other = await tab.open_another()
    await expect(other.page.get_by_test_id("approval")).to_contain_text("Delete a.txt?")
    await expect(other.page.get_by_test_id("approval").locator("pre")).to_contain_text('"path": "a.txt"')
    await other.page.get_by_role("button", name="Approve").click()

    for page in (tab, other):
        await expect(page.page.get_by_test_id("approval")).to_have_count(0)
        await expect(page.answers.last).to_contain_text('"status": "resolved"')
    assert tab.complaints == other.complaints == []


async def test_approval_is_refused(tab: Tab) -> None:
    await _ask(tab, "delete it")
    await tab.page.get_by_role("button", name="Decline").click()

    await expect(tab.answers.last).to_contain_text('"status": "cancelled"')
    await expect(tab.page.locator(".call .state")).to_have_text("Declined")
    assert tab.complaints == []


async def test_question_with_a_field_survives_a_reload_and_is_answered(tab: Tab) -> None:
    await _ask(tab, "paint it")
    await tab.page.reload()
    await tab.page.get_by_label("Your answer").fill("blue")
    await tab.page.get_by_role("button", name="Answer", exact=True).click()

    await expect(tab.answers.last).to_contain_text('"payload": "blue"')
    assert tab.complaints == []


async def test_one_of_several_is_chosen_by_its_button(tab: Tab) -> None:
    card = await _ask(tab, {"type": "string", "enum": ["teal", HOSTILE, "x" * 500]})
    await expect(card.get_by_role("button")).to_have_count(4)
    await expect(card.get_by_role("button").nth(1)).to_have_text(HOSTILE)
    assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await card.get_by_role("button", name="teal").click()

    await expect(tab.answers.last).to_contain_text('"payload": "teal"')
    await expect(tab.composer).to_be_focused()
    assert await tab.page.evaluate("window.hit") is None
    assert tab.complaints == []


async def test_choice_in_an_object_is_answered_as_one(tab: Tab) -> None:
    choice = {"oneOf": [{"const": 1, "title": "One"}, {"const": 2, "title": "Two"}]}
    card = await _ask(tab, {"type": "object", "properties": {"number": choice}})
    await card.get_by_role("button", name="Two").click()

    await expect(tab.answers.last).to_contain_text('"payload": {"number": 2}')


async def test_form_is_filled_in_and_says_what_is_missing(tab: Tab) -> None:
    fields = {
        "guests": {"type": "integer"},
        "place": {"enum": ["inside", "outside"], "title": "Where"},
        "reminder": {"type": "boolean", "title": "Remind me"},
        "card": {"type": "string", "description": "As it is to stand there"},
    }
    card = await _ask(tab, {"type": "object", "properties": fields, "required": ["guests"]})
    await card.get_by_role("button", name="Answer", exact=True).click()
    await expect(card.get_by_label("guests")).to_be_focused()
    await card.get_by_label("guests").fill("4")
    await card.get_by_label("Where").select_option(label="outside")
    await card.get_by_label("Remind me").check()
    await card.get_by_label("guests").press("Enter")

    answer = {"guests": 4, "place": "outside", "reminder": True}
    await expect(tab.answers.last).to_contain_text(f'"payload": {json.dumps(answer)}')
    assert tab.complaints == []


async def test_question_that_a_person_cannot_answer_says_so(tab: Tab) -> None:
    card = await _ask(tab, "paint it")
    await card.get_by_role("button", name="I cannot").click()

    await expect(card).to_have_count(0)
    await expect(tab.answers.last).to_contain_text("answered")


async def test_wallet_of_another_page_is_answered_and_refused_here(tab: Tab) -> None:
    """The wallet is in another page: here a person says what it did, or that it did not."""
    await tab.page.get_by_label("Agent").select_option(label="Wallet")
    card = await _ask(tab, f"send 0.5 ETH to {TO} on Sepolia")
    await expect(card).to_contain_text("Switch to Sepolia?")
    await expect(card.locator("pre")).to_contain_text("0xaa36a7")
    await card.get_by_label("Your answer").fill("switched")
    await card.get_by_role("button", name="Answer", exact=True).click()
    await expect(card).to_contain_text("Send 0.5 ETH")
    await card.get_by_label("Your answer").fill("rejected by me")
    await card.get_by_role("button", name="I cannot").click()

    await expect(tab.answers.last).to_contain_text("Nothing was sent: rejected by me.")
    assert tab.complaints == []
