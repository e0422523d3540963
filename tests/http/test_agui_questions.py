"""POST /api/agents/{agent}/run: what a run ends by asking, and how a request answers it."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.blackbox.arena import script
from scripts.blackbox.caller import Caller
from tests.http.agui import PAINT, asked, asking, own_id, ran, refused, text_of, user_message
from tests.http.kit import ask, check_problem


async def test_questions_of_both_kinds_are_interrupts_all_of_them(tmp_path: Path) -> None:
    """A success could not name the approval; a tool message answers the call nevertheless."""
    async with asking(tmp_path) as user:
        events = await ran(user, asked(user_message("paint launch", "m"), tools=[PAINT]), "asker")
        interrupts = events[-1]["outcome"]["interrupts"]
        result = {"id": "t", "role": "tool", "toolCallId": interrupts[0]["toolCallId"], "content": "painted"}
        resume = [{"interruptId": interrupts[1]["id"], "status": "cancelled"}]
        answering = asked(user_message("paint launch", "m"), result, resume=resume)
        first, again = await ran(user, answering, "asker"), await ran(user, answering, "asker")

        assert [one["reason"] for one in interrupts] == ["tool_call", "approval"]
        assert own_id(first[0]) == own_id(again[0]) != own_id(events[0])
        assert json.loads(text_of(first))["results"][0] == "painted"
        assert "declined" in json.loads(text_of(first))["results"][1]
        assert json.loads(text_of(first))["tools"] == ["paint"]
        brought = [event["toolCallId"] for event in first if event["type"] == "TOOL_CALL_RESULT"]
        assert brought == [interrupts[1]["toolCallId"]]


async def test_a_question_that_was_answered_is_not_asked_again_when_its_run_is_told_again(tmp_path: Path) -> None:
    """Official clients let nobody go on before they answered: a question nobody asks would lock them out."""
    async with asking(tmp_path) as user:
        question = asked(user_message("launch", "m"))
        first, again = await ran(user, question, "asker"), await ran(user, question, "asker")
        interrupts = first[-1]["outcome"]["interrupts"]
        await ran(user, asked(resume=[{"interruptId": interrupts[0]["id"], "status": "cancelled"}]), "asker")
        later = await ran(user, question, "asker")

        assert first[-1]["outcome"] == again[-1]["outcome"] == {"type": "interrupt", "interrupts": interrupts}
        assert later[-1]["outcome"] == {"type": "success"}


async def test_results_sent_twice_are_the_same_run(tmp_path: Path) -> None:
    async with asking(tmp_path) as user:
        message = user_message("paint", "m")
        events = await ran(user, asked(message, tools=[PAINT]), "asker")
        [call_id] = events[-1]["outcome"]["pendingToolCallIds"]
        result = {"id": "t", "role": "tool", "toolCallId": call_id, "content": "painted"}
        first = await ran(user, asked(message, result, tools=[PAINT]), "asker")
        again = await ran(user, asked(message, result, tools=[PAINT]), "asker")

        assert own_id(first[0]) == own_id(again[0]) != own_id(events[0])
        assert text_of(first) == text_of(again)
        other = asked(message, {**result, "content": "not painted"}, tools=[PAINT])
        check_problem(await refused(user, other, "asker"), "tool_result_conflict")


async def test_an_answer_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    async with asking(tmp_path, MAX_MESSAGE_CHARS="200") as user:
        message = user_message("paint launch", "m")
        events = await ran(user, asked(message), "asker")
        [paint, launch] = [one["id"] for one in events[-1]["outcome"]["interrupts"]]
        done = {"interruptId": paint, "status": "resolved", "payload": "painted"}
        approved = {"interruptId": launch, "status": "resolved", "payload": True}
        for resume, field in (
            ([done], "resume"),
            ([done, {**approved, "payload": "perhaps"}], "resume[1].payload"),
            ([{**done, "payload": "x" * 201}, approved], "resume[0].payload"),
        ):
            check_problem(await refused(user, asked(message, resume=resume), "asker"), "invalid_field", field)
        unknown = asked(message, resume=[{**done, "interruptId": "unknown"}])
        check_problem(await refused(user, unknown, "asker"), "tool_call_not_found")
        whole = [done, approved]
        check_problem(await refused(user, asked(message, resume=whole)), "invalid_field", "agent")
        both = asked(message, user_message("and this"), resume=whole)
        check_problem(await refused(user, both, "asker"), "invalid_field", "messages")

        assert json.loads(text_of(await ran(user, asked(message, resume=whole), "asker")))["results"][0] == "painted"


async def test_a_new_message_declines_what_was_asked(tmp_path: Path) -> None:
    """With the question cancelled, as official clients must, and without a word about it; sent again, it is one run."""
    async with asking(tmp_path) as user:
        for number, is_cancelled in enumerate((True, False)):
            events = await ran(user, asked(user_message("launch"), thread_id=f"s{number}"), "asker")
            cancelled = [{"interruptId": events[-1]["outcome"]["interrupts"][0]["id"], "status": "cancelled"}]
            body = asked(
                user_message("paint"), thread_id=f"s{number}", **({"resume": cancelled} if is_cancelled else {})
            )
            first, again = await ran(user, body, "asker"), await ran(user, body, "asker")
            history = (await user.state(f"s{number}")).json()["messages"]

            assert own_id(first[0]) == own_id(again[0])
            assert ["declined" in one["content"] for one in history if one["role"] == "tool"] == [True]
            assert [one["content"] for one in history if one["role"] == "user"] == ["launch", "paint"]


async def test_results_of_the_servers_own_tools_are_history(user: Caller) -> None:
    """A client that asks again with what it was told gets the same run, not an error."""
    tool = {"tool": {"name": "search", "args": {}}}
    message = user_message(script(tool), "m")
    first = await ran(user, asked(message))
    brought = [one for one in (await user.state("s")).json()["messages"] if one["role"] != "user"]
    again = await ran(user, asked(message, *brought))

    assert brought[-1]["role"] == "tool"
    assert own_id(again[0]) == own_id(first[0])


async def test_a_question_asked_elsewhere_is_answered_here(tmp_path: Path) -> None:
    """By a chat message; the stream of the session has it, and its interrupt id."""
    async with asking(tmp_path) as user:
        answer = await ask(user, "launch", session_id="s", agent="asker")
        [waiting] = answer["state"]["pending"]
        resume = [{"interruptId": waiting["id"], "status": "resolved", "payload": {"approved": False}}]
        events = await ran(user, asked(resume=resume), "asker")

        assert events[-1]["outcome"] == {"type": "success"}
        assert "declined" in text_of(events)
