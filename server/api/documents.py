"""The documents that an agent answers from: listed for everybody who may ask it, changed by admins.

A file comes as JSON, like every write: `content` is its text, `content_base64` any file. `agent` names whose folder is
meant; left out, it is that of the first agent that has one. What is answered is what the index knows: 201 (or 200 for a
file in the place of another) when the file was read, 202 when it lies in the folder and will be.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from ..core.documents import Document, Documents
from ..core.events import rfc3339
from ..errors import Forbidden, NotFound
from .access import check_agent, hub_of, principal_of
from .answers import json_answer
from .bodies import Body, read_body
from .query import query_id, query_int, query_text
from .strict_json import invalid

MAX_CURSOR_CHARS: Final = 4096
"""The longest path of a file system; a cursor is the name of a document."""


class DocumentBody(Body, frozen=True, kw_only=True):
    """POST /api/documents."""

    own_checks: ClassVar[frozenset[str]] = frozenset({"content"})

    name: str
    content: str | None = None
    content_base64: str | None = None
    agent: str | None = None
    replace: bool = False


async def index(request: Request) -> Response:
    """GET /api/documents: by name; `q` is a part of the name."""
    principal_of(request)
    limit = query_int(request, "limit", 100, 1, 1000)
    after = request.query_params.get("cursor") or ""
    if len(after) > MAX_CURSOR_CHARS:
        raise invalid("cursor", "is not one of this list")
    agent, documents = _chosen(request, query_id(request, "agent"))
    page = await documents.page(after, limit, query_text(request, "q") or "")
    listed = [_public(document) for document in page.documents]
    return json_answer(
        {
            "agent": agent,
            "documents": listed,
            "count": len(listed),
            "next_cursor": listed[-1]["name"] if page.has_more else None,
            "read_only": documents.is_read_only,
        }
    )


async def upload(request: Request) -> Response:
    """POST /api/documents."""
    _require_admin(request)
    body = await read_body(request, DocumentBody, hub_of(request).settings)
    agent, documents = _chosen(request, body.agent)
    content = await anyio.to_thread.run_sync(_content, body)
    document, is_new = await documents.add(body.name, content, replace=body.replace)
    status = 202 if document.status == "pending" else 201 if is_new else 200
    return json_answer({"agent": agent, **_public(document)}, status=status)


async def remove(request: Request) -> Response:
    """DELETE /api/documents/{name}."""
    _require_admin(request)
    agent, documents = _chosen(request, query_id(request, "agent"))
    name = request.path_params["name"]
    is_forgotten = await documents.remove(name)
    told = {"status": "deleted" if is_forgotten else "pending", "agent": agent, "name": name}
    return json_answer(told, status=200 if is_forgotten else 202)


def _require_admin(request: Request) -> None:
    if not principal_of(request).is_admin:
        raise Forbidden


def _chosen(request: Request, agent: str | None) -> tuple[str, Documents]:
    """Return the agent that is meant and its documents."""
    hub = hub_of(request)
    name = check_agent(hub, agent)
    for entry in hub.agents.entries:
        if entry.documents is not None and name in (None, entry.name):
            return entry.name, entry.documents
    if name is not None:
        raise invalid("agent", "has no folder of documents")
    raise NotFound(code="no_documents")


def _content(body: DocumentBody) -> bytes:
    if body.content is not None and body.content_base64 is not None:
        raise invalid("content_base64", "must not be given beside content")
    if body.content is not None:
        field, content = "content", body.content.encode()
    elif body.content_base64 is not None:
        field, content = "content_base64", _decoded(body.content_base64)
    else:
        raise invalid("content", "is missing")
    if not content.strip():
        raise invalid(field, "must not be empty")
    return content


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid("content_base64", "is not base64") from None


def _public(document: Document) -> Mapping[str, Any]:
    return {
        "name": document.name,
        "size": document.size,
        "modified_at": rfc3339(document.modified_at),
        "status": document.status,
        "passages": document.passages,
        **({"reason": document.reason} if document.reason else {}),
    }
