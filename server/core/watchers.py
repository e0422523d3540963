"""Watchers: who wants to hear that a user's sessions changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .ports import SessionKey

Notice = Callable[[SessionKey | None], None]
"""Hears which session changed; None: any of the user's may have."""


class Watchers:
    """The list streams of one node, by user."""

    def __init__(self) -> None:
        self._notices: dict[str, set[Notice]] = {}

    @property
    def users(self) -> list[str]:
        """Whose sessions are watched."""
        return list(self._notices)

    @contextmanager
    def watching(self, user_id: str, notice: Notice) -> Iterator[None]:
        """Call `notice` whenever one of the user's sessions changed, until the context ends."""
        notices = self._notices.setdefault(user_id, set())
        notices.add(notice)
        try:
            yield
        finally:
            notices.discard(notice)
            if not notices and self._notices.get(user_id) is notices:
                del self._notices[user_id]

    def tell(self, user_id: str, key: SessionKey | None) -> None:
        """Say that a session of the user changed, in memory or not; None: any of them may have."""
        for notice in self._notices.get(user_id, ()):
            notice(key)
