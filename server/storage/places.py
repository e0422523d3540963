"""Places in a list of sessions, as page cursors: `<last activity>_<reference>`."""

from __future__ import annotations

import re
from typing import Final

_PLACE: Final = re.compile(r"([0-9]{1,12}\.[0-9]{1,20})_([0-9]{1,19})", re.ASCII)


def place_of(last_activity: float, ref: int) -> str:
    """Return the cursor behind a session."""
    return f"{last_activity!r}_{ref}"


def parse_place(cursor: str) -> tuple[float, int]:
    """Return last activity and reference.

    Raises:
        ValueError: it is no cursor.
    """
    place = _PLACE.fullmatch(cursor)
    if place is None:
        raise ValueError(cursor)
    return float(place[1]), int(place[2])
