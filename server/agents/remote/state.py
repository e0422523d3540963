"""State: the remote's state as ours, which is the session's artifacts.

A remote that is a Sessionstream itself keeps its artifacts inside a larger state, about a session that is not this one:
of that, only the artifacts are taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ...core.ports import Event

_ARTIFACTS: Final = "/artifacts"


class State:
    """What the remote's state events change; nothing, where we are in that state already."""

    def __init__(self, ours: Mapping[str, Any]) -> None:
        self.is_inside = False
        """Whether the artifacts are a part of the remote's state."""
        self._known: Any = dict(ours)
        """The state as it is here; None once it was patched."""

    def replaced(self, snapshot: Any) -> Iterator[Event]:
        """Yield what a STATE_SNAPSHOT means here. Null is how agents without a state say so."""
        if self.is_inside:
            snapshot = snapshot.get("artifacts") if isinstance(snapshot, dict) else None
        if snapshot is not None and snapshot != self._known:
            self._known = snapshot
            yield {"type": "STATE_SNAPSHOT", "snapshot": snapshot}

    def patched(self, operations: Any) -> Iterator[Event]:
        """Yield what a STATE_DELTA means here."""
        if self.is_inside and isinstance(operations, list):
            operations = [moved for moved in map(_moved_out, operations) if moved is not None]
        if operations != []:
            self._known = None
            yield {"type": "STATE_DELTA", **({} if operations is None else {"delta": operations})}


def _moved_out(operation: Any) -> Any:
    """Return an operation on the artifacts as one on the whole state; None for one on anything else."""
    if not isinstance(operation, dict):
        return operation
    moved = dict(operation)
    for name in ("path", "from"):
        if name in moved:
            place = moved[name]
            if not isinstance(place, str) or not f"{place}/".startswith(f"{_ARTIFACTS}/"):
                return None
            moved[name] = place.removeprefix(_ARTIFACTS)
    return moved
