"""Every setting: one frozen dataclass, read from the environment and the command line in one function.

The environment variable of a setting is its name in capitals; units are in the names. 0 switches a limit off
where the unit says so. README's table is made of this file (`python -m server --print-settings`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from .errors import ConfigError

# As browsers send them, so names of other scripts in Punycode: they stand in headers, one of which is a policy.
_ORIGIN: Final = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


class _Form(NamedTuple):
    """What a text must look like, and how to say so. The value itself is never shown: a URL may hold a password."""

    pattern: re.Pattern[str]
    told: str


_SECRET: Final = _Form(re.compile(r"(?s).*"), "be text")
_REDIS_URL: Final = _Form(re.compile(r"(|(rediss?|unix)://\S+)"), "begin with redis://, rediss:// or unix://")
_HTTP_URL: Final = _Form(re.compile(r"(|https?://\S+)"), "begin with http:// or https://")
# No braces: they would decide which server of a Redis Cluster holds a key.
_PREFIX: Final = _Form(re.compile(r"[A-Za-z0-9._-]{1,64}"), "be 1 to 64 letters, digits, or . _ -")


def _setting(
    default: Any,
    unit: str,
    why: str,
    choices: tuple[str, ...] = (),
    *,
    minimum: float = 0,
    form: _Form | None = None,
) -> Any:
    metadata = {"unit": unit, "why": why, "choices": choices, "minimum": minimum, "form": form}
    # A form may be that of a secret, or of what holds one: it stands in no log and no traceback.
    return field(default=default, metadata=metadata, repr=form is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can choose. Values are checked by `read_settings`, not here."""

    host: str = _setting("127.0.0.1", "address", "loopback: `AUTH=local` listens nowhere else")
    port: int = _setting(8000, "port", "what newcomers try first; 0 takes a free one")
    data: str = _setting("data", "folder", "the database and the cookie key live here")
    agents: str = _setting("", "TOML file", "empty: the documents agent alone")
    documents: str = _setting("", "folder", "empty: this project's own README and docs")
    model: str = _setting(
        "", "provider:name", "`openai:NAME`, `anthropic:NAME`, …: a model answers by default; needs the extra `model`"
    )
    model_base_url: str = _setting(
        "",
        "URL",
        "where another server speaks the provider's protocol: Ollama, vLLM, llama.cpp, gateways",
        form=_HTTP_URL,
    )
    model_api_key: str = _setting("", "text", "empty: the provider's own variable, `OPENAI_API_KEY` say", form=_SECRET)
    model_timeout_seconds: float = _setting(
        120.0, "seconds", "a model that says nothing for this long is given up", minimum=0.1
    )
    context_tokens: int = _setting(
        32_000, "tokens", "the oldest turns are left out beyond this; what today's models take at least", minimum=256
    )
    personas: str = _setting("", "folder", "Markdown files that add to the personas that come with the server")
    mcp: str = _setting("", "JSON file", "`mcpServers`: tools for models; needs the extra `mcp`")
    mcp_timeout_seconds: float = _setting(60.0, "seconds", "a tool that takes longer has failed", minimum=0.1)
    mcp_commands: str = _setting(
        "admins", "who", "may call tools directly; with `AUTH=local` everybody does", ("admins", "everyone")
    )
    no_docs: bool = _setting(False, "switch", "start without indexing documents")
    allow_anyone: bool = _setting(False, "switch", "let `AUTH=local` listen beyond loopback, for trusted networks")
    log_level: str = _setting(
        "info", "level", "one line per start, stop and fault", ("debug", "info", "warning", "error")
    )

    auth: str = _setting("local", "way", "who is asking: see Identity", ("local", "visitor", "proxy"))
    trusted_proxies: str = _setting("127.0.0.1,::1", "addresses", "only these may say who the user is (`AUTH=proxy`)")
    secret_key: str = _setting(
        "", "text", "signs visitor cookies; empty: one is made and kept in the data folder", form=_SECRET
    )
    admins: str = _setting("", "user ids", "who may see all sessions (`AUTH=proxy`)")
    allowed_origins: str = _setting("", "origins", "other sites whose pages may call us; exact, comma-separated")

    redis_url: str = _setting(
        "",
        "URL",
        "empty: SQLite in the data folder; `redis://`, `rediss://` or `unix://`, with `?cluster=true` if it is one: "
        "nodes share it",
        form=_REDIS_URL,
    )
    redis_prefix: str = _setting(
        "sessionstream", "text", "all its keys begin so: one for each deployment", form=_PREFIX
    )
    lease_seconds: float = _setting(
        10.0, "seconds", "a node that is silent for this long has its runs ended by another", minimum=1
    )
    workers: int = _setting(1, "processes", "nodes behind one port of this machine; needs `REDIS_URL`", minimum=1)

    durability: str = _setting(
        "normal",
        "mode",
        "`normal` survives a killed process, `full` a power cut too (one fsync a batch)",
        ("normal", "full"),
    )
    storage_timeout_seconds: float = _setting(
        5.0, "seconds", "how long a POST waits for its commit before 503", minimum=0.1
    )
    slow_commit_ms: float = _setting(100.0, "ms", "a commit slower than this is logged: the disk is in trouble")
    journal_pending_bytes: int = _setting(
        1 << 20, "bytes", "a run waits while its session has more uncommitted", minimum=1024
    )
    ring_bytes: int = _setting(256 << 10, "bytes", "newest frames kept in memory per busy session", minimum=1024)
    resume_window_seconds: float = _setting(
        300.0, "seconds", "a finished run's deltas are kept this long for exact resumption"
    )
    log_kept_bytes: int = _setting(
        1 << 20, "bytes", "collapsed log kept per session after that; older cursors get a snapshot"
    )

    session_timeout_minutes: float = _setting(60.0, "minutes, 0 never", "an hour of silence ends a conversation")
    approval_timeout_minutes: float = _setting(
        1440.0, "minutes, 0 never", "a person asked in the evening answers the next day; a session waits that long"
    )
    cleanup_interval_seconds: float = _setting(
        60.0, "seconds", "expiry and log collapse lag by this much", minimum=0.05
    )
    idle_memory_seconds: float = _setting(120.0, "seconds", "an idle session leaves memory after this, unnoticed")
    tombstone_days: float = _setting(30.0, "days", "how long a deleted id answers 410 before it is forgotten")

    max_sessions: int = _setting(100_000, "sessions, 0 none", "about 2 GB of disk at 20 KB a session")
    max_sessions_per_user: int = _setting(100, "sessions, 0 none", "expired ones are cleared before refusing")
    max_streams_per_session: int = _setting(100, "streams, 0 none", "tabs and devices of one conversation")
    max_streams_per_user: int = _setting(1000, "streams, 0 none", "one client must not take every socket")
    max_runs_per_user: int = _setting(100, "runs, 0 none", "runs cost what the agent costs")
    max_queue: int = _setting(20, "messages", "a queue nobody reads is a mistake of the client")
    max_message_chars: int = _setting(100_000, "characters", "about 25,000 tokens", minimum=1)
    max_body_bytes: int = _setting(
        1 << 20, "bytes", "a message of the longest kind with room for options", minimum=1024
    )
    max_import_bytes: int = _setting(64 << 20, "bytes", "an exported session is larger than a message", minimum=1024)
    max_run_bytes: int = _setting(16 << 20, "bytes", "an agent that never stops must not fill the disk", minimum=1024)
    body_timeout_seconds: float = _setting(15.0, "seconds", "a slow body must not hold a place", minimum=0.1)

    run_timeout_seconds: float = _setting(600.0, "seconds, 0 never", "a hung agent must not lock its session")
    stop_grace_seconds: float = _setting(
        2.0, "seconds", "between cancellations of an agent that ignores them", minimum=0.05
    )
    send_timeout_seconds: float = _setting(
        30.0, "seconds", "a socket that takes nothing for this long is closed", minimum=0.1
    )
    heartbeat_seconds: float = _setting(15.0, "seconds", "below the 30 s idle cut of common proxies", minimum=0.05)
    stream_max_age_seconds: float = _setting(
        14_400.0, "seconds, 0 never", "streams rotate with jitter, so a deploy meets no storm"
    )
    drain_seconds: float = _setting(3.0, "seconds", "streams and runs get this long to end on SIGTERM")


def read_settings(environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of `environ`, with `overrides` (by field name, None ignored) winning.

    Raises:
        ConfigError: a value is not of its kind, or out of range; the message names the variable.
    """
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name = item.name.upper()
        raw = (overrides or {}).get(item.name)
        if raw is None:
            raw = environ.get(name)
        if raw is None:
            continue
        values[item.name] = _checked(name, raw, type(item.default), item.metadata)
    return Settings(**values)


def _checked(name: str, raw: Any, kind: type, metadata: Mapping[str, Any]) -> Any:
    value = _parsed(name, raw, kind)
    choices = metadata["choices"]
    if choices and value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    if kind in (int, float) and not metadata["minimum"] <= value < float("inf"):
        raise ConfigError(f"{name} must be at least {metadata['minimum']:g}, not {value!r}")
    form = metadata["form"]
    if form and not form.pattern.fullmatch(value):
        raise ConfigError(f"{name} must {form.told}")
    return value


def _parsed(name: str, raw: Any, kind: type) -> Any:
    if isinstance(raw, kind):
        return raw
    text = str(raw).strip()
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(f"{name} must be 1 or 0, not {text!r}")
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{name} must be {'a whole number' if kind is int else 'a number'}, not {text!r}") from None


def split_list(text: str) -> tuple[str, ...]:
    """Return the comma-separated parts of a setting, without empty ones."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def canonical_origin(text: str) -> str | None:
    """Return an origin as browsers spell it, None when it is none: `https://Example.org:443/` is one."""
    origin = text.lower().removesuffix("/")
    match = _ORIGIN.fullmatch(origin)
    if match is None or "*" in origin:
        return None
    return origin.removesuffix(_DEFAULT_PORTS[match[1]])


def settings_table() -> str:
    """Return the README's table of settings as Markdown."""
    rows = ["| variable | unit | default | why |", "|---|---|---|---|"]
    for item in fields(Settings):
        default = item.default if item.default != "" else "(empty)"
        choices = item.metadata["choices"]
        unit = " \\| ".join(choices) if choices else item.metadata["unit"]
        rows.append(f"| `{item.name.upper()}` | {unit} | `{default}` | {item.metadata['why']} |")
    return "\n".join(rows)
