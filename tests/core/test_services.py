"""What agents need beside their runs: started once, replaced while the node works, let go when no run needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from server.core.ports import Agent, AgentEntry, Service
from server.core.question import Question
from tests.support.agents import Catalog, Puppet, echo
from tests.support.node import Node, eventually, open_node


class Counted:
    """A service that counts its lives; `fails` makes it raise at once."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.started = self.ended = 0

    async def run(self) -> None:
        """Live until cancelled."""
        self.started += 1
        try:
            if self.fails:
                raise RuntimeError("broken")
            await anyio.sleep_forever()
        finally:
            self.ended += 1

    def health(self) -> dict[str, Any]:
        """Say ok."""
        return {"status": "ok", "lives": self.started}


class Serviced(Catalog):
    """A catalog of one agent with services."""

    def __init__(self, agent: Agent, services: Mapping[str, Service]) -> None:
        super().__init__([("default", agent)])
        self._services = dict(services)

    @property
    def services(self) -> dict[str, Service]:
        """Those that were given."""
        return self._services


def look(node: Node) -> None:
    """Let the hub look twice whether what is wanted no longer is used; by itself it does so every second."""
    node.hub.services.beat()
    node.hub.services.beat()


async def test_a_service_that_two_need_runs_once_and_is_shown_for_both(tmp_path: Path) -> None:
    shared = Counted()
    async with open_node(tmp_path) as node:
        node.hub.replace_agents(Serviced(echo, {"a": shared, "b": shared}))
        await eventually(lambda: shared.started)

        assert node.hub.services.health() == {key: {"status": "ok", "lives": 1} for key in ("a", "b")}
    assert (shared.started, shared.ended) == (1, 1)


async def test_what_stays_goes_on_what_went_ends_and_what_is_new_starts(tmp_path: Path) -> None:
    stays, goes, comes = Counted(), Counted(), Counted()
    async with open_node(tmp_path) as node:
        node.hub.replace_agents(Serviced(echo, {"stays": stays, "goes": goes}))
        await eventually(lambda: stays.started and goes.started)
        node.hub.replace_agents(Serviced(echo, {"stays": stays, "comes": comes}))
        look(node)
        await eventually(lambda: comes.started and goes.ended)

        assert (stays.started, stays.ended, comes.ended) == (1, 0, 0)
        assert set(node.hub.services.health()) == {"stays", "comes"}


async def test_what_a_run_may_need_ends_after_the_run(tmp_path: Path) -> None:
    old, puppet = Counted(), Puppet()
    async with open_node(tmp_path) as node:
        node.hub.replace_agents(Serviced(puppet, {"old": old}))
        accepted = await node.ask("go on")
        await eventually(lambda: puppet.turns)
        node.hub.replace_agents(Serviced(echo, {}))
        later = await node.ask("and you?", session="other")
        await node.over(later.run_id, session="other")
        look(node)
        await anyio.wait_all_tasks_blocked()
        assert old.ended == 0

        puppet.finish()
        record = await node.over(accepted.run_id)
        look(node)
        await eventually(lambda: old.ended)

        assert record.status == "finished"


async def test_what_a_run_may_need_ends_after_it_however_often_all_is_read_anew(tmp_path: Path) -> None:
    old, puppet = Counted(), Puppet()
    async with open_node(tmp_path) as node:
        node.hub.replace_agents(Serviced(puppet, {"old": old}))
        accepted = await node.ask("go on")
        await eventually(lambda: puppet.turns)
        node.hub.replace_agents(Serviced(echo, {"old": old}))
        node.hub.replace_agents(Serviced(echo, {}))
        look(node)
        await anyio.wait_all_tasks_blocked()
        assert old.ended == 0

        puppet.finish()
        await node.over(accepted.run_id)
        look(node)
        await eventually(lambda: old.ended)


async def test_what_a_command_may_need_ends_after_it(tmp_path: Path) -> None:
    """Who performs one is no agent that the catalog names."""
    old, puppet = Counted(), Puppet()
    performer = AgentEntry(name="tool", kind="command", agent=puppet)
    async with open_node(tmp_path) as node, node.held() as held:
        node.hub.replace_agents(Serviced(echo, {"old": old}))
        question = Question(message="tool", message_id="q", digest=b"", performer=performer)
        accepted = await held.ask(question, agent=None, on_busy="reject")
        await eventually(lambda: puppet.turns)
        node.hub.replace_agents(Serviced(echo, {}))
        look(node)
        await anyio.wait_all_tasks_blocked()
        assert old.ended == 0

        puppet.finish()
        record = await node.over(accepted.run_id)
        look(node)
        await eventually(lambda: old.ended)

        assert record.status == "finished"


async def test_a_service_that_failed_is_down_until_it_is_wanted_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Counted(fails=True)
    async with open_node(tmp_path) as node:
        node.hub.replace_agents(Serviced(echo, {"it": broken}))
        await eventually(lambda: node.hub.services.health()["it"]["status"] == "down")
        accepted = await node.ask("still there?")
        assert (await node.over(accepted.run_id)).status == "finished"

        broken.fails = False
        node.hub.replace_agents(Serviced(echo, {"it": broken}))
        await eventually(lambda: node.hub.services.health()["it"] == {"status": "ok", "lives": 2})
    assert "the service it ended" in caplog.text
