"""Times as a person reads them."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def shown_time(text: str, zone: str) -> str:
    """Return an RFC 3339 time in a zone, or in this machine's when that is empty; to the minute."""
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(ZoneInfo(zone) if zone else None).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return text


def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False
    return True
