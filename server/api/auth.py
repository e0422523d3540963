"""Who is asking: one Starlette authentication backend for each value of `AUTH`.

    local    one's own machine: `X-Forwarded-User` if sent, else `local`, who is admin; only loopback Hosts
    visitor  public sites: everyone is a signed token, in a cookie or as Bearer, made on first contact
    proxy    `X-Forwarded-User`, else `X-Forwarded-Email`, believed from `TRUSTED_PROXIES` only

A backend raises `Unauthenticated` or `Forbidden`; whatever stands around it (`FaultMiddleware`) answers. Paths that
hold nothing of anybody (`is_public`) work without a principal. The peer is `scope["client"]` as the socket has it:
the server must not let `X-Forwarded-For` overwrite it (uvicorn: `proxy_headers=False`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.requests import HTTPConnection
from starlette.types import Scope

from ..errors import ConfigError, Forbidden, Unauthenticated
from ..ids import is_client_id, new_id
from ..settings import Settings, split_list

logger: Final = logging.getLogger(__name__)

COOKIE: Final = "sessionstream_visitor"
KEY_FILE: Final = "visitor.key"
KEY_BYTES: Final = 32
MAX_USER_CHARS: Final = 128
MAX_TOKEN_CHARS: Final = 512
"""Ours have about 100: a longer one is not worth hashing."""

_PUBLIC: Final = frozenset(
    {"/", "/health", "/health/ready", "/metrics", "/openapi.json", "/favicon.ico", "/stats", "/widget", "/api/widget"}
)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", re.IGNORECASE)

Authenticated = tuple[AuthCredentials, BaseUser]
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Principal(BaseUser):
    """Who is asking. `user_id` owns sessions; an admin sees all of them."""

    user_id: str
    is_admin: bool = False
    email: str | None = None

    @property
    def is_authenticated(self) -> bool:
        """True: somebody is asking."""
        return True

    @property
    def display_name(self) -> str:
        """What to call the principal."""
        return self.email or self.user_id

    @property
    def identity(self) -> str:
        """The user id."""
        return self.user_id


def principal_of(connection: HTTPConnection) -> Principal:
    """Return who asks.

    Raises:
        Unauthenticated: nobody does, on a path that works without a principal.
    """
    user = connection.scope.get("user")
    if not isinstance(user, Principal):
        raise Unauthenticated
    return user


def is_public(path: str) -> bool:
    """Say whether a path works without a principal."""
    return path in _PUBLIC or path.startswith("/static/")


# --- hosts and peers


@lru_cache(maxsize=64)
def is_loopback_host(host: str) -> bool:
    """Say whether a Host header, or an address to listen on, names this machine alone."""
    match = _HOST.fullmatch(host)
    name = (match[1] if match else host).lower().strip("[]").removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_bind(settings: Settings) -> None:
    """Refuse to serve a local principal, who is admin, to a network.

    Raises:
        ConfigError: `AUTH=local` would listen beyond loopback.
    """
    if settings.auth == "local" and not settings.allow_anyone and not is_loopback_host(settings.host):
        raise ConfigError(
            f"AUTH=local makes everyone who reaches HOST={settings.host or '(any)'} an admin: listen on 127.0.0.1, or "
            "choose AUTH=visitor or AUTH=proxy, or pass --allow-anyone when the network is trusted"
        )


class TrustedPeers:
    """The addresses and networks of `TRUSTED_PROXIES`."""

    def __init__(self, text: str) -> None:
        self._networks = tuple(_network(part) for part in split_list(text))

    def has(self, scope: Scope) -> bool:
        """Say whether the peer of this connection may speak for others."""
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0] if client else "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # a dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d
        return any((mapped or address) in network for network in self._networks)


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"TRUSTED_PROXIES must hold addresses or networks, not {text!r}") from None


# --- local and proxy


class LocalBackend(AuthenticationBackend):
    """One's own machine. A foreign Host is a page elsewhere whose name was pointed here (DNS rebinding)."""

    def __init__(self, settings: Settings) -> None:
        self._any_host = settings.allow_anyone
        self._admins = frozenset(split_list(settings.admins))

    async def authenticate(self, conn: HTTPConnection) -> Authenticated | None:
        """Return the forwarded user, else the local one."""
        if not self._any_host:
            hosts = conn.headers.getlist("host")
            if len(hosts) != 1 or not is_loopback_host(hosts[0]):
                raise Forbidden("AUTH=local answers loopback hosts only, such as localhost", code="host_refused")
        if is_public(conn.scope["path"]):
            return None
        user_id = _forwarded(conn, "X-Forwarded-User")
        if user_id is None:
            return _signed_in(Principal("local", is_admin=True))
        return _signed_in(Principal(user_id, is_admin=user_id in self._admins))


class ProxyBackend(AuthenticationBackend):
    """Behind a proxy that signs people in."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = TrustedPeers(settings.trusted_proxies)
        self._admins = frozenset(split_list(settings.admins))

    async def authenticate(self, conn: HTTPConnection) -> Authenticated | None:
        """Return whom a trusted proxy names."""
        if is_public(conn.scope["path"]):
            return None
        if not self._trusted.has(conn.scope):
            raise Unauthenticated("the peer is not one of TRUSTED_PROXIES")
        email = _forwarded(conn, "X-Forwarded-Email")
        user_id = _forwarded(conn, "X-Forwarded-User") or email
        if user_id is None:
            raise Unauthenticated("the proxy named nobody: X-Forwarded-User and X-Forwarded-Email are missing")
        return _signed_in(Principal(user_id, is_admin=user_id in self._admins, email=email))


def _forwarded(conn: HTTPConnection, name: str) -> str | None:
    values = conn.headers.getlist(name)
    if not values:
        return None
    # Two of them: one is the client's own, which the proxy failed to remove. Nobody can say which.
    if len(values) > 1:
        raise Unauthenticated(f"{name} was sent more than once")
    try:
        text = values[0].encode("latin-1").decode("utf-8").strip(" ")
    except UnicodeDecodeError:
        raise Unauthenticated(f"{name} is not UTF-8") from None
    if not 1 <= len(text) <= MAX_USER_CHARS or not text.isprintable():
        raise Unauthenticated(f"{name} must hold 1 to {MAX_USER_CHARS} visible characters")
    return text


def _signed_in(principal: Principal) -> Authenticated:
    return AuthCredentials(["authenticated"]), principal


# --- visitor


class VisitorBackend(AuthenticationBackend):
    """Everyone is who their token says; who has none is somebody new, and is told so by `VisitorMiddleware`."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self._admins = frozenset(split_list(settings.admins))
        self._serializer = URLSafeSerializer(
            secret, salt="sessionstream.visitor", signer_kwargs={"digest_method": hashlib.sha256}
        )

    async def authenticate(self, conn: HTTPConnection) -> Authenticated | None:
        """Return the visitor of the Bearer token, else of the cookie, else a new one."""
        is_page = conn.scope["path"] == "/"
        if is_public(conn.scope["path"]) and not is_page:
            return None
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        user_id = self._user_id(token.strip() if is_bearer else conn.cookies.get(COOKIE, ""))
        if user_id is None and is_bearer and not is_page:
            raise Unauthenticated("the visitor token is not one of ours")
        if user_id is None:
            # The page is a first contact too: what it calls next, all at once, must already be the same visitor.
            user_id = f"visitor-{new_id()}"
            conn.scope.setdefault("state", {})["visitor_token"] = self._serializer.dumps(user_id)
        return _signed_in(Principal(user_id, is_admin=user_id in self._admins))

    def _user_id(self, token: str) -> str | None:
        if not 0 < len(token) <= MAX_TOKEN_CHARS:
            return None
        try:
            user_id: Any = self._serializer.loads(token)
        except (BadData, UnicodeError):
            return None
        return user_id if isinstance(user_id, str) and is_client_id(user_id) else None


# --- what the app calls


def make_backend(settings: Settings, secret: bytes) -> AuthenticationBackend:
    """Return the backend of `settings.auth`."""
    if settings.auth == "visitor":
        return VisitorBackend(settings, secret)
    if settings.auth == "proxy":
        return ProxyBackend(settings)
    if settings.auth == "local":
        return LocalBackend(settings)
    raise ConfigError(f"AUTH must be local, visitor or proxy, not {settings.auth!r}")


def load_secret(settings: Settings) -> bytes:
    """Return what signs visitor tokens: `SECRET_KEY`, else the data folder's key, else one for this process alone."""
    if settings.secret_key:
        return settings.secret_key.encode()
    path = Path(settings.data) / KEY_FILE
    try:
        if not path.exists():
            _write_key(path)
        secret = path.read_bytes()
    except OSError as error:
        logger.warning("visitors will be forgotten at the next start: cannot keep %s (%s)", path, error)
        return secrets.token_bytes(KEY_BYTES)
    if len(secret) < KEY_BYTES:
        raise ConfigError(f"{path} is damaged: remove it, and visitors start anew, or restore it")
    return secret


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{KEY_FILE}.{new_id()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: of two processes that start at once the first wins, and both read the same key.
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)
