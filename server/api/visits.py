"""Visitors of other sites, in the widget: who they are is said by a token that names their site and agent too.

A page that may embed an agent is given a ticket, made out to its origin, which is the browser's word and not the
page's. Our own page in its frame turns the ticket into a token, and keeps it where browsers keep what a frame stores
for one site. Nothing of it is a cookie: those of other sites are blocked more and more. Where a browser lets the frame
store nothing at all, the page around it keeps a voucher, which only our own page can turn into the token again.

Each token is a visitor of one agent on one origin. So two sites never meet, though they share a host, or a browser
that does not part their storage; and a site that is not allowed any more has no visitors any more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.authentication import AuthCredentials, AuthenticationBackend
from starlette.requests import HTTPConnection

from ..errors import Forbidden, Unauthenticated
from ..ids import new_id
from ..settings import Settings, canonical_origin, split_list
from .auth import Authenticated, Principal, is_public

TICKET_MAX_AGE_S: Final = 600
"""Longer than a page takes to load its frame, on any line."""
TOKEN_MAX_AGE_S: Final = 30 * 24 * 3600
"""Of tokens and vouchers; the frame has them renewed long before, whenever the visitor is there."""
MAX_CHARS: Final = 1024
"""Ours have about 300: a longer text is cut, and then it is none of ours."""
_PREFIX: Final = "widget."
"""Tells these tokens from those of `AUTH=visitor`: one that cannot be read must not count as no token."""
_SIGNER: Final = {"digest_method": hashlib.sha256}


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody on a page of `origin` who talks to `agent`."""

    user_id: str
    agent: str
    origin: str

    @property
    def site(self) -> str | None:
        """The host that the page is of."""
        return urlsplit(self.origin).hostname


class Passes:
    """Signs and reads tickets, tokens and vouchers; none can stand for another, and each is good for a time only.

    All raise Unauthenticated when they read what is not ours, or too old.
    """

    def __init__(self, secret: bytes) -> None:
        self._tickets = URLSafeTimedSerializer(secret, salt="sessionstream.widget.ticket", signer_kwargs=_SIGNER)
        self._tokens = URLSafeTimedSerializer(secret, salt="sessionstream.widget.token", signer_kwargs=_SIGNER)
        self._vouchers = URLSafeTimedSerializer(secret, salt="sessionstream.widget.voucher", signer_kwargs=_SIGNER)

    def ticket(self, agent: str, origin: str) -> str:
        """Return what a page of `origin` gives to its frame, which has a few minutes to use it."""
        return str(self._tickets.dumps([agent, origin]))

    def token(self, visit: Visit) -> str:
        """Return what says who asks."""
        return _PREFIX + str(self._tokens.dumps([visit.user_id, visit.agent, visit.origin]))

    def voucher(self, visit: Visit) -> str:
        """Return what the page around may keep for its frame."""
        return str(self._vouchers.dumps([visit.user_id, visit.agent, visit.origin]))

    def admit(self, ticket: str) -> Visit:
        """Return a new visitor."""
        try:
            agent, origin = self._tickets.loads(ticket[:MAX_CHARS], max_age=TICKET_MAX_AGE_S)
        except (BadData, UnicodeError):
            raise Unauthenticated("the ticket is not one of ours, or too old") from None
        return Visit(f"visitor-{new_id()}", agent, origin)

    def readmit(self, voucher: str) -> Visit:
        """Return the visitor that a page kept a voucher for."""
        return self._read(self._vouchers, voucher, "the voucher is not one of ours, or too old")

    def visit(self, token: str) -> Visit:
        """Return whose token this is."""
        return self._read(
            self._tokens, token.removeprefix(_PREFIX), "the widget's token is not one of ours, or too old"
        )

    @staticmethod
    def _read(serializer: URLSafeTimedSerializer, text: str, refusal: str) -> Visit:
        try:
            given: Any = serializer.loads(text[:MAX_CHARS], max_age=TOKEN_MAX_AGE_S)
        except (BadData, UnicodeError):
            raise Unauthenticated(refusal) from None
        return Visit(*given)


class Embedding:
    """Says which pages may embed which agents: those that the agent names, and those of `ALLOWED_ORIGINS`."""

    def __init__(self, settings: Settings, agents_of: Callable[[str], frozenset[str]]) -> None:
        self.everywhere = frozenset(filter(None, map(canonical_origin, split_list(settings.allowed_origins))))
        self._agents_of = agents_of

    def allows(self, agent: str, origin: str) -> bool:
        """Say whether pages of this origin may embed the agent."""
        return origin in self.everywhere or agent in self._agents_of(origin)


class WidgetBackend(AuthenticationBackend):
    """Knows the visitors in widgets, and leaves everybody else to `others`.

    `paths` are those that a visitor may use who talks to one agent: there, each session is checked for its agent.
    """

    def __init__(
        self,
        others: AuthenticationBackend,
        settings: Settings,
        passes: Passes,
        embedding: Embedding,
        paths: re.Pattern[str],
    ) -> None:
        self._others = others
        self._way = settings.auth
        self._passes = passes
        self._embedding = embedding
        self._paths = paths

    async def authenticate(self, conn: HTTPConnection) -> Authenticated | None:
        """Return the visitor of a widget's token, else whom the others know."""
        token, path = _widget_token(conn), conn.scope["path"]
        if not token or is_public(path):
            return _as_anybody(conn, await self._others.authenticate(conn))
        if self._way == "local":
            # For what it refuses: a Host that is not this machine.
            await self._others.authenticate(conn)
        elif self._way != "visitor":
            raise Unauthenticated(f"AUTH={self._way} knows no visitors")
        visit = self._passes.visit(token)
        if not self._embedding.allows(visit.agent, visit.origin):
            raise Forbidden(f"pages of {visit.origin} may not talk to this agent any more", code="origin_refused")
        if not self._paths.fullmatch(path):
            raise Forbidden("the widget talks to its agent, and uses nothing else here", code="origin_refused")
        state = conn.scope.setdefault("state", {})
        state["agents"] = state.get("agents", frozenset({visit.agent})) & {visit.agent}
        state["site"] = visit.site
        return AuthCredentials(["authenticated"]), Principal(visit.user_id)


def _widget_token(conn: HTTPConnection) -> str:
    """Return the token that a request of a widget carries, "" for any other; most carry none, and must not pay."""
    for name, value in conn.scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            token = token.strip()
            return token if scheme.lower() == "bearer" and token.startswith(_PREFIX) else ""
    return ""


def _as_anybody(conn: HTTPConnection, found: Authenticated | None) -> Authenticated | None:
    """Let nobody be an admin from a page that only some agents allow: it would see what other sites' visitors say."""
    if found is None or "agents" not in conn.scope.get("state", {}) or not isinstance(found[1], Principal):
        return found
    return found[0], replace(found[1], is_admin=False)
