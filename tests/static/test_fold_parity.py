"""One log, three folds: the server's, the browser's and the black-box one agree after every event of a recording.

`recordings/` holds what a real server streamed of sessions of the scripted agent, of one that asks and of the documents
agent, from their empty beginning on, and what `GET /api/state` answered at the end.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.blackbox.fold import Fold, without_derived
from server.core.transcript import Transcript

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings").glob("*.json"))
RUN_S = 60

EVENTS = {
    *("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "STEP_STARTED", "STEP_FINISHED"),
    *(f"TEXT_MESSAGE_{part}" for part in ("START", "CONTENT", "END")),
    *(f"REASONING_MESSAGE_{part}" for part in ("START", "CONTENT", "END")),
    *(f"TOOL_CALL_{part}" for part in ("START", "ARGS", "END", "RESULT")),
    *("REASONING_START", "REASONING_END", "REASONING_ENCRYPTED_VALUE", "ACTIVITY_SNAPSHOT", "ACTIVITY_DELTA"),
    *("MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "STATE_DELTA"),
}


def recorded(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def folded_by_browser(path: Path) -> list[dict[str, Any]]:
    command = ["node", str(HERE / "fold_recording.mjs"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=True)
    states: list[dict[str, Any]] = json.loads(done.stdout)
    return states


def written(folder: Path, logs: list[list[dict[str, Any]]]) -> Path:
    path = folder / "logs.json"
    path.write_text(json.dumps({"logs": logs}), "utf-8")
    return path


def folded_by_server(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    transcript, states = Transcript(), []
    for event in events:
        if event["type"] == "MESSAGES_SNAPSHOT":
            assert event["messages"] == []
            transcript = Transcript()
        transcript.apply(event)
        states.append(transcript.messages())
    return states


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_browser_and_server_fold_alike(path: Path) -> None:
    """The issue: a pure fold identical to the server's; both run the same recorded event files."""
    events, answer = recorded(path)["events"], recorded(path)["answer"]
    browser, server, blackbox = folded_by_browser(path), folded_by_server(events), Fold()

    for number, event in enumerate(events):
        assert browser[number]["messages"] == server[number], f"after event {number}, {event['type']}"
        assert blackbox.apply(event) == []
        assert browser[number]["messages"] == list(blackbox.messages.values())
        if blackbox.state:
            assert without_derived(browser[number]["shared"]) == without_derived(blackbox.state)
        assert (browser[number]["shared"]["run"] or {}).get("run_id") == blackbox.run_id
    assert browser[-1]["messages"] == answer["messages"]
    assert without_derived(browser[-1]["shared"]) == without_derived(answer["state"])
    assert browser[-1]["open"] == []


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_browser_that_comes_in_the_middle_folds_alike(path: Path, tmp_path: Path) -> None:
    """After each event a client may begin anew: with a snapshot, what is open opened again, and what follows."""
    events, answer = recorded(path)["events"], recorded(path)["answer"]
    transcript, blackbox, joined = Transcript(), Fold(), []
    for number, event in enumerate(events):
        if event["type"] == "MESSAGES_SNAPSHOT":
            transcript = Transcript()
        transcript.apply(event)
        blackbox.apply(event)
        messages = {"type": "MESSAGES_SNAPSHOT", "messages": transcript.messages()}
        state = {"type": "STATE_SNAPSHOT", "snapshot": blackbox.state}
        joined.append([messages, state, *transcript.reopening(), *events[number + 1 :]])

    ends = folded_by_browser(written(tmp_path, joined))

    assert len(ends) == len(events)
    assert [end["messages"] for end in ends] == [answer["messages"]] * len(events)


def test_recordings_hold_every_event_that_a_fold_knows() -> None:
    """What no recording holds is compared by nothing."""
    found = [event for path in RECORDINGS for event in recorded(path)["events"]]
    pending = [one for one in found if "/pending" in json.dumps(one.get("delta", ""))]

    assert {event["type"] for event in found} >= EVENTS
    assert {event["outcome"]["type"] for event in found if "outcome" in event} == {"success", "cancelled", "interrupt"}
    assert pending
