"""The widget: one line in a page of another site, and an agent of ours answers there.

| request | what |
|---|---|
| GET `/static/widget.js`, `/static/widget/around/*` | what the line loads: any page may, to say why it may no more |
| GET `/api/widget` | may this page embed the agent? A ticket for it, and how the agent greets |
| GET `/widget` | the page in the frame, which only pages of the allowed origins can frame |
| POST `/api/widget` | the page in the frame becomes a visitor or stays one: a token for a ticket, voucher or token |
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ..core.offers import check_persona
from ..core.ports import AgentEntry
from ..errors import Forbidden, Invalid, NotFound, SessionstreamError, Unauthenticated
from ..settings import canonical_origin
from .access import hub_of
from .answers import json_answer
from .bodies import Body, read_body
from .operations import StaticModules, static_folder
from .problems import answer
from .query import query_id, query_text
from .visits import Embedding, Passes

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors "
)
# Nothing in these answers is anybody's but the page's that asks; no cookie is looked at, and none may be sent.
_FOR_ANY_PAGE: Final = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
# A page that is isolated from others (`crossOriginIsolated`) takes in frames that say so of themselves, and no others.
_ISOLATED: Final = {"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "cross-origin"}
_MAX_SHOWN_CHARS: Final = 200
_FILES: Final = StaticModules(directory=static_folder(), check_dir=False)


class EntryBody(Body, frozen=True, kw_only=True):
    """POST /api/widget: one of them."""

    ticket: str | None = None
    voucher: str | None = None
    token: str | None = None


async def script(request: Request) -> Response:
    """GET /static/widget.js, and what it imports: browsers load modules of other sites only when these agree."""
    response = await _FILES.get_response(request.url.path.removeprefix("/static/"), request.scope)
    response.headers.update(_FOR_ANY_PAGE)
    return response


async def page(request: Request) -> Response:
    """GET /widget: names in its policy whose pages may frame it; browsers keep all others from doing so."""
    entry, embedding = _agent_of(request), _embedding_of(request)
    ancestors = " ".join(sorted(entry.allowed_origins | embedding.everywhere)) or "'none'"
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": CSP + ancestors, **_ISOLATED}
    return FileResponse(static_folder() / "widget" / "index.html", headers=headers)


async def offer(request: Request) -> Response:
    """GET /api/widget: what a page gets that may embed the agent; any other is told, readably, why not."""
    try:
        response = _offer(request)
    except SessionstreamError as error:
        response = answer(request.scope, error)
    response.headers.update(_FOR_ANY_PAGE)
    return response


def _offer(request: Request) -> Response:
    hub = hub_of(request)
    if hub.settings.auth not in ("local", "visitor"):
        raise Unauthenticated(f"AUTH={hub.settings.auth} knows no visitors: the widget needs AUTH=visitor")
    entry, origin = _agent_of(request), _origin_of(request)
    if not _embedding_of(request).allows(entry.name, origin):
        detail = f"pages of {origin} may not embed the agent {entry.name!r}: its allowed_origins do not name them"
        raise Forbidden(detail, code="origin_refused")
    persona = query_text(request, "persona")
    check_persona(entry, persona)
    name = persona or entry.persona
    greeting = next((known["greeting"] for known in hub.agents.personas if known["name"] == name), "")
    passes: Passes = request.app.state.passes
    return json_answer(
        {
            "agent": entry.name,
            "persona": persona,
            "greeting": greeting,
            "ticket": passes.ticket(entry.name, origin),
        }
    )


async def admit(request: Request) -> Response:
    """POST /api/widget: a fresh token for a ticket, a voucher or a token, and the origin that it is for."""
    body = await read_body(request, EntryBody, hub_of(request).settings)
    passes: Passes = request.app.state.passes
    if body.token is not None:
        visit = passes.visit(body.token)
    elif body.voucher is not None:
        visit = passes.readmit(body.voucher)
    elif body.ticket is not None:
        visit = passes.admit(body.ticket)
    else:
        raise Invalid("ticket, voucher or token must be there", field="ticket")
    if not _embedding_of(request).allows(visit.agent, visit.origin):
        raise Forbidden(f"pages of {visit.origin} may not talk to this agent any more", code="origin_refused")
    entry = {"token": passes.token(visit), "voucher": passes.voucher(visit)}
    return json_answer({**entry, "agent": visit.agent, "origin": visit.origin}, status=201)


def _embedding_of(request: Request) -> Embedding:
    embedding: Embedding = request.app.state.embedding
    return embedding


def _agent_of(request: Request) -> AgentEntry:
    agents = hub_of(request).agents
    name = query_id(request, "agent") or agents.default
    entry = agents.get(name)
    if entry is None:
        raise NotFound(f"there is no agent {name!r}", code="not_found")
    return entry


def _origin_of(request: Request) -> str:
    """Return the origin of the page that asks, as its browser says it."""
    given = request.headers.get("origin")
    if given is None:  # a page of our own origin: only what it reads elsewhere carries one
        referer = request.headers.get("referer", "")
        given = "/".join(referer.split("/", 3)[:3])
    origin = canonical_origin(given)
    if origin is None:
        shown = given[:_MAX_SHOWN_CHARS]
        raise Invalid(f"the widget works on pages of http and https, not of {shown!r}", field="Origin")
    return origin
