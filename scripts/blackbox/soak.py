"""Break a server in every way we know, from outside, and count what went wrong: nothing may.

    scripts/soak                    all scenarios with their full numbers
    scripts/soak kills slow         these only
    scripts/soak nodes              several nodes at one Redis: all scenarios of theirs
    scripts/soak nodes kills cut    these only
    scripts/soak --quick            a tenth of the numbers
    scripts/soak --seed 7           the same random moments again

Each scenario has server processes of its own on a free port of this machine and a temporary folder; traffic is
loopback only. Progress goes to stderr, the counts to stdout. Exits 1 when anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import anyio

from .arena import Arena
from .interrupts import interrupts
from .isolation import isolation
from .kills import kills
from .leaks import leaks
from .nodes.cut import cut
from .nodes.speed import interrupts as interrupts_from_other_nodes
from .nodes.storms import deaf, disconnects, everything, freezes, restarts, rolling, steady, unanswered
from .nodes.storms import kills as kills_of_nodes
from .reconnects import reconnects
from .repeats import repeats
from .sigterm import sigterm
from .slow import slow
from .tally import Tally

Scenario = Callable[[Arena], Awaitable[Tally]]
Scenarios = Mapping[str, Scenario]

SCENARIOS: Final[Scenarios] = {
    "isolation": isolation,
    "repeats": repeats,
    "sigterm": sigterm,
    "slow": slow,
    "reconnects": reconnects,
    "interrupts": interrupts,
    "leaks": leaks,
    "kills": kills,
}
NODE_SCENARIOS: Final[Scenarios] = {
    "steady": steady,
    "kills": kills_of_nodes,
    "restarts": restarts,
    "cut": cut,
    "disconnects": disconnects,
    "deaf": deaf,
    "unanswered": unanswered,
    "freezes": freezes,
    "everything": everything,
    "interrupts": interrupts_from_other_nodes,
    "rolling": rolling,
}
NODES: Final = "nodes"
"""The word before the names of these."""
SCENARIO_TIMEOUT_S: Final = 900.0


def main() -> int:
    """Run the scenarios of the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description="Break a server from outside and count what went wrong."
    )
    listed = f"of {', '.join(SCENARIOS)}; behind the word `{NODES}`: of {', '.join(NODE_SCENARIOS)}; none: all"
    parser.add_argument("names", nargs="*", metavar="scenario", help=listed)
    parser.add_argument("--quick", action="store_true", help="a tenth of the numbers")
    parser.add_argument("--seed", type=int, default=None, help="repeat the random choices of an earlier soak")
    options = parser.parse_args()
    is_of_nodes = options.names[:1] == [NODES]
    scenarios = NODE_SCENARIOS if is_of_nodes else SCENARIOS
    names = options.names[1:] if is_of_nodes else options.names
    unknown = [name for name in names if name not in scenarios]
    if unknown:
        parser.error(f"no scenario is named {', '.join(unknown)}")
    # Ended by a time limit, it ends as by Ctrl-C: the server it started goes with it.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    chosen = {name: scenarios[name] for name in names or scenarios}
    return anyio.run(_soak, chosen, options.quick, seed, backend_options={"use_uvloop": True})


async def _soak(scenarios: Scenarios, is_quick: bool, seed: int) -> int:
    started_at = time.monotonic()
    print(f"seed {seed}, {'quick' if is_quick else 'full'}", flush=True)
    failed = []
    for name, scenario in scenarios.items():
        tally = await _run(name, scenario, Arena(random.Random(f"{seed} {name}"), is_quick))
        print(tally.report(), flush=True)
        if not tally.is_clean:
            failed.append(name)
    seconds = time.monotonic() - started_at
    print(f"{len(scenarios) - len(failed)} of {len(scenarios)} scenarios clean in {seconds:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


async def _run(name: str, scenario: Scenario, arena: Arena) -> Tally:
    """Run one scenario; one that fails to run is a fault, not the end of the soak."""
    try:
        with anyio.fail_after(SCENARIO_TIMEOUT_S):
            return await scenario(arena)
    except Exception:  # boundary: whatever breaks in one scenario, the others shall still run
        tally = Tally(name, faults=())
        tally.fault("crashed", traceback.format_exc())
        return tally


if __name__ == "__main__":
    sys.exit(main())
