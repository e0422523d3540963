"""One user of the server, and the calls a user makes.

A user sends `X-Forwarded-User` and whatever cookies the server gave, so the same code is known under every way of
identity that needs no token.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from .wire import Answer, Stream, Wire


class Caller:
    """A user at one server. Raises `Broken` when the server cannot be reached."""

    def __init__(self, wire: Wire, user: str) -> None:
        self.wire = wire
        self.user = user
        self._cookies: dict[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        """What says who is calling."""
        named = {"X-Forwarded-User": self.user} if self.user else {}
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        return {**named, **({"Cookie": cookies} if cookies else {})}

    async def call(
        self, method: str, path: str, body: Any = None, *, query: dict[str, Any] | None = None, **options: Any
    ) -> Answer:
        """Send one request as this user; keep the cookie that comes back."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {**self.headers, **options.pop("headers", {})}
        answer = await self.wire.call(method, target, headers=headers, body=body, **options)
        name, _, value = answer.headers.get("set-cookie", "").partition(";")[0].partition("=")
        if name:
            self._cookies[name] = value
        return answer

    async def chat(self, message: str, **fields: Any) -> Answer:
        """POST a chat message; `fields` are the other fields of the body."""
        return await self.call("POST", "/api/chat", {"message": message, **fields})

    async def interrupt(self, session_id: str, **fields: Any) -> Answer:
        """Stop the run of a session, or the one that is named."""
        return await self.call("POST", "/api/interrupt", {"session_id": session_id, **fields})

    async def state(self, session_id: str) -> Answer:
        """GET the server's own fold."""
        return await self.call("GET", "/api/state", query={"session_id": session_id})

    async def messages(self, session_id: str) -> list[dict[str, Any]]:
        """Return the whole history, oldest first, read page by page."""
        pages: list[list[dict[str, Any]]] = []
        query: dict[str, Any] = {"limit": 200}
        while True:
            answer = await self.call("GET", f"/api/sessions/{quote(session_id)}/messages", query=query)
            if answer.status != 200:
                raise ValueError(f"history answered {answer.status} {answer.code}")
            page = answer.json()
            pages.append(page["messages"])
            if page.get("next_before") is None:
                return [message for part in reversed(pages) for message in part]
            query["before"] = page["next_before"]

    async def stream(self, session_id: str, cursor: str | None = None, *, in_query: bool = False) -> Stream:
        """Open the session's event stream, with a cursor in the header or in the query."""
        query = {"session_id": session_id, **({"last_event_id": cursor} if in_query and cursor is not None else {})}
        headers = {"Last-Event-ID": cursor} if cursor is not None and not in_query else {}
        return await self.wire.stream(f"/api/chat/stream?{urlencode(query)}", headers={**self.headers, **headers})
