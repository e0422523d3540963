"""Every error a caller can meet, as one tree; the HTTP edge turns it into `application/problem+json`.

    SessionstreamError                status  code                retryable
    ├── BadRequest                    400     malformed_json, …   no
    ├── Unauthenticated               401     unauthenticated     no
    ├── Forbidden                     403     origin_refused, …   no
    ├── NotFound                      404     session_not_found … no
    ├── Conflict                      409     run_active, …       by code
    ├── Gone                          410     session_deleted, …  no
    ├── TooLarge                      413     body_too_large      no
    ├── NotJson                       415     not_json            no
    ├── Invalid                       422     invalid_field       no   (names the field)
    ├── LimitReached                  429     limit_…             yes  (says when to come back)
    ├── AgentFailed                   502     agent_…             by code
    └── Unavailable                   503     storage_…, …        yes

An interrupt is an outcome of a run and a cursor that is too old is answered by a snapshot: neither is an error.
`detail` is for people: it never holds ids that are not the caller's, nor a stack.
"""

from __future__ import annotations

from typing import ClassVar, Final

CODES: Final[dict[str, tuple[int, str]]] = {
    "malformed_json": (400, "the body is not JSON in UTF-8, or nests too deep"),
    "bad_request": (400, "the request itself is not valid HTTP for this server"),
    "unauthenticated": (401, "no principal: the identity header, cookie or token is missing or wrong"),
    "origin_refused": (403, "the request carries an Origin that is neither ours nor allowed"),
    "host_refused": (403, "in local mode the Host must be loopback, against DNS rebinding"),
    "admin_only": (403, "only an admin may do this"),
    "not_found": (404, "there is no such path"),
    "session_not_found": (404, "no session with this id belongs to the caller"),
    "queue_entry_not_found": (404, "no waiting message with this id"),
    "tool_call_not_found": (404, "no tool call, and no question, of this id waits for the client, or has waited"),
    "tool_not_found": (404, "no MCP server has a tool of this name"),
    "no_documents": (404, "no agent here answers from a folder of documents"),
    "document_not_found": (404, "there is no document of this name"),
    "method_not_allowed": (405, "this path does not take this method"),
    "run_active": (409, "the session has an active run; wait, queue or interrupt"),
    "message_id_conflict": (409, "this message_id was used for another message"),
    "tool_result_conflict": (409, "this tool call was answered otherwise, or was declined, or has expired"),
    "session_exists": (409, "a session with this id exists already"),
    "document_exists": (409, "a document of this name is there already; send `replace` to put another in its place"),
    "documents_read_only": (409, "the documents are this project's own; set `DOCUMENTS` to a folder to add others"),
    "session_deleted": (410, "the session was deleted"),
    "session_expired": (410, "the session expired"),
    "body_too_large": (413, "the body exceeds MAX_BODY_BYTES"),
    "document_too_large": (413, "the document has more bytes than are ever read"),
    "not_json": (415, "writes need Content-Type: application/json"),
    "invalid_field": (422, "a field is missing, unknown or wrong; `field` names it"),
    "limit_sessions_per_user": (429, "MAX_SESSIONS_PER_USER reached"),
    "limit_streams_per_session": (429, "MAX_STREAMS_PER_SESSION reached"),
    "limit_streams_per_user": (429, "MAX_STREAMS_PER_USER reached"),
    "limit_runs_per_user": (429, "MAX_RUNS_PER_USER reached"),
    "queue_full": (429, "MAX_QUEUE messages wait already"),
    "agent_failed": (502, "the agent raised"),
    "agent_protocol": (502, "the agent broke the order of events"),
    "agent_timeout": (502, "the run exceeded RUN_TIMEOUT_SECONDS"),
    "run_too_large": (502, "the run produced more than MAX_RUN_BYTES"),
    "tool_failed": (502, "the tool said that it failed, did not answer in time, or its server is not there"),
    "model_misconfigured": (502, "the model cannot be used as it is set up"),
    "model_unauthorized": (502, "the model's provider does not take our key, or refuses it this model"),
    "model_quota_exceeded": (502, "the account at the model's provider is used up"),
    "model_rate_limited": (502, "the model's provider takes no more requests right now"),
    "model_unavailable": (502, "the model's provider cannot be reached, or failed"),
    "model_timeout": (502, "the model's provider said nothing for too long"),
    "model_cut_off": (502, "the model's answer broke off; what came of it is kept"),
    "model_context_exceeded": (502, "the conversation is longer than the model can read"),
    "model_rejected": (502, "the model's provider does not take the request"),
    "model_refused": (502, "the model, or its provider's filter, refused to answer"),
    "model_tool_limit": (502, "the model asked for tools again and again, and gave no answer"),
    "remote_failed": (502, "the remote agent ended its run by an error"),
    "remote_rejected": (502, "the remote agent refused the request"),
    "remote_unauthorized": (502, "the remote agent refused our credentials"),
    "remote_rate_limited": (502, "the remote agent takes no more requests for now"),
    "remote_unavailable": (502, "the remote agent cannot be reached, or cannot answer right now"),
    "remote_timeout": (502, "the remote agent was silent for too long"),
    "remote_cut_off": (502, "the remote agent's stream ended before its run did"),
    "storage_unavailable": (503, "the storage does not take writes right now"),
    "storage_full": (503, "the storage has no room for more; what ends is still stored, what is stored can be read"),
    "documents_unavailable": (503, "the folder of documents, or its index, cannot be used right now"),
    "server_full": (503, "MAX_SESSIONS reached"),
    "draining": (503, "the server is shutting down"),
    "body_timeout": (408, "the body did not arrive within BODY_TIMEOUT_SECONDS"),
    "internal_error": (500, "a defect of the server; the log has it under the request_id"),
}
"""Every code with its status and meaning; the README's table is this one."""

RETRYABLE: Final = frozenset(
    {"run_active", "agent_timeout", "body_timeout"}
    | {"remote_rate_limited", "remote_unavailable", "remote_timeout", "remote_cut_off"}
    | {"model_rate_limited", "model_unavailable", "model_timeout", "model_cut_off"}
    | {code for code, (status, _) in CODES.items() if status in (429, 503)}
)


class SessionstreamError(Exception):
    """A failure with a code. `field` names what was wrong in the input; `retry_after_s` when to come back."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.code = code or self.default_code
        self.status, meaning = CODES[self.code]
        self.detail = detail or meaning
        self.field = field
        self.retryable = self.code in RETRYABLE
        self.retry_after_s = retry_after_s
        super().__init__(f"{self.code}: {self.detail}")


class BadRequest(SessionstreamError):
    """The request cannot be read."""

    default_code = "bad_request"


class Unauthenticated(SessionstreamError):
    """Nobody is asking."""

    default_code = "unauthenticated"


class Forbidden(SessionstreamError):
    """The caller is known and may not do this."""

    default_code = "admin_only"


class NotFound(SessionstreamError):
    """Nothing of this name belongs to the caller."""

    default_code = "session_not_found"


class Conflict(SessionstreamError):
    """The request is right, the moment is wrong."""

    default_code = "run_active"


class Gone(SessionstreamError):
    """It was there and never will be again."""

    default_code = "session_deleted"


class TooLarge(SessionstreamError):
    """The body is over its bound."""

    default_code = "body_too_large"


class NotJson(SessionstreamError):
    """The body claims another media type."""

    default_code = "not_json"


class Invalid(SessionstreamError):
    """A field of the input is wrong; `field` names it."""

    default_code = "invalid_field"


class LimitReached(SessionstreamError):
    """A limit of the caller is reached; `retry_after_s` says when to come back."""

    default_code = "limit_sessions_per_user"


class AgentFailed(SessionstreamError):
    """What ran behind the session failed."""

    default_code = "agent_failed"


class Unavailable(SessionstreamError):
    """We, or something below us, cannot serve right now."""

    default_code = "storage_unavailable"


class ConfigError(ValueError):
    """A setting or a file of the operator is wrong; the message names it."""
