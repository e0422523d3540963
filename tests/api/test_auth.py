"""Identity: who each way of `AUTH` takes for whom, and whom it refuses."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from server.api.auth import COOKIE, check_bind, is_loopback_host, load_secret, principal_of
from server.api.middleware import build_middleware
from server.api.problems import exception_handlers
from server.errors import ConfigError
from server.settings import Settings
from tests.asgi import Response, request

SECRET = b"0123456789abcdef0123456789abcdef"
PUBLIC = ["/", "/health", "/health/ready", "/metrics", "/static/app.js"]


async def who(incoming: Request) -> JSONResponse:
    principal = principal_of(incoming)
    return JSONResponse([principal.identity, principal.is_admin, principal.email])


async def public(incoming: Request) -> JSONResponse:
    return JSONResponse(incoming.user.is_authenticated, headers={"Cache-Control": "max-age=60"})


def make_app(secret: bytes = SECRET, **values: Any) -> Starlette:
    routes = [Route("/api/who", who), Route("/api/open", public), *(Route(path, public) for path in PUBLIC)]
    middleware = build_middleware(Settings(**values), secret)
    return Starlette(routes=routes, middleware=middleware, exception_handlers=exception_handlers)


Pairs = Iterable[tuple[str, str]] | dict[str, str]


async def ask(app: Starlette, headers: Pairs = (), path: str = "/api/who", **more: Any) -> tuple[Response, Any]:
    response, body = await request(app, "GET", path, headers=headers, **more)
    return response, json.loads(body)


async def refused(app: Starlette, headers: Pairs = (), path: str = "/api/who", **more: Any) -> tuple[int, str]:
    response, problem = await ask(app, headers, path, **more)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert ("www-authenticate" in response.headers) == (response.status == 401)
    return response.status, problem["code"]


# --- local


async def test_local_is_one_admin_unless_a_user_is_forwarded() -> None:
    """Identity: `X-Forwarded-User` if sent, else the one principal `local`, who is admin."""
    app = make_app(admins="root, ops")

    assert (await ask(app))[1] == ["local", True, None]
    assert (await ask(app, {"X-Forwarded-User": "alice"}))[1] == ["alice", False, None]
    assert (await ask(app, {"X-Forwarded-User": " jürgen ".encode().decode("latin-1")}))[1] == ["jürgen", False, None]
    assert (await ask(app, {"X-Forwarded-User": "ops"}))[1] == ["ops", True, None]


@pytest.mark.parametrize("user", ["", "   ", "a\x07", "x" * 129, "\xff\xfe", "‮bob".encode().decode("latin-1")])
async def test_a_forwarded_user_that_cannot_be_seen_is_nobody(user: str) -> None:
    """Our contract: 1 to 128 visible characters, so that two users never look like one."""
    assert await refused(make_app(), {"X-Forwarded-User": user}) == (401, "unauthenticated")


async def test_two_forwarded_users_are_nobody() -> None:
    """Our contract: a proxy that appends its header instead of replacing the client's must not be fooled."""
    headers = [("X-Forwarded-User", "mallory"), ("X-Forwarded-User", "alice")]

    assert await refused(make_app(), headers) == (401, "unauthenticated")
    assert await refused(make_app(auth="proxy"), headers) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "a.localhost:1", "localhost.", "127.0.0.1", "127.9.8.7:80", "[::1]", "[::1]:8"],
)
async def test_a_loopback_host_is_answered(host: str) -> None:
    """Identity: local mode is for one's own machine."""
    assert (await ask(make_app(), {"Host": host}))[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#localhost",
        "notlocalhost",
        "192.168.1.5",
        "0.0.0.0:8000",
        "[::]",
        "[::1].evil.example",
        "localhost:80:80",
        "127.1",
    ],
)
async def test_any_other_host_is_refused(host: str) -> None:
    """Identity: a `Host` that is not loopback is refused, against DNS rebinding, on every path."""
    for path in ("/api/who", "/", "/health"):
        assert await refused(make_app(), {"Host": host}, path) == (403, "host_refused")

    assert (await ask(make_app(allow_anyone=True), {"Host": host}))[0].status == 200


async def test_two_hosts_are_refused() -> None:
    """Our contract: which Host counts is not guessed."""
    headers = [("Host", "localhost"), ("Host", "evil.example")]

    assert await refused(make_app(), headers) == (403, "host_refused")


def test_local_does_not_listen_beyond_loopback() -> None:
    """Identity: refuses to listen on anything but loopback unless told `--allow-anyone`."""
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        check_bind(Settings(host=host))
    for host in ("0.0.0.0", "::", "", "192.168.1.5", "example.org"):
        with pytest.raises(ConfigError, match="allow-anyone"):
            check_bind(Settings(host=host))
        check_bind(Settings(host=host, allow_anyone=True))
        check_bind(Settings(host=host, auth="visitor"))

    assert not is_loopback_host("::ffff:1.2.3.4")


# --- proxy


async def test_a_trusted_proxy_says_who_is_asking() -> None:
    """Identity: `X-Forwarded-User` / `X-Forwarded-Email`, believed only from `TRUSTED_PROXIES`."""
    app = make_app(auth="proxy", trusted_proxies="10.0.0.0/8, ::1, 192.0.2.7", admins="boss@example.org")
    alice = {"X-Forwarded-User": "alice", "X-Forwarded-Email": "a@example.org"}

    for peer in ("10.1.2.3", "::1", "192.0.2.7", "::ffff:10.0.0.1"):
        assert (await ask(app, alice, client=(peer, 1)))[1] == ["alice", False, "a@example.org"]

    boss = {"X-Forwarded-Email": "boss@example.org"}

    assert (await ask(app, boss, client=("10.1.2.3", 1)))[1] == ["boss@example.org", True, "boss@example.org"]
    assert (await ask(app, alice, client=("10.1.2.3", 1), path="/api/who"))[0].status == 200


@pytest.mark.parametrize("client", [("11.0.0.1", 1), ("192.0.2.8", 1), ("::2", 1), ("unix", 1), ("", 0), None])
async def test_nobody_else_says_who_is_asking(client: tuple[str, int] | None) -> None:
    """Identity: headers of others are not believed, and what they say of other addresses neither."""
    app = make_app(auth="proxy", trusted_proxies="10.0.0.0/8,192.0.2.7")
    headers = {"X-Forwarded-User": "alice", "X-Forwarded-For": "10.0.0.1"}

    assert await refused(app, headers, client=client) == (401, "unauthenticated")


async def test_a_proxy_that_names_nobody_is_401() -> None:
    """Identity: missing is 401."""
    assert await refused(make_app(auth="proxy")) == (401, "unauthenticated")
    assert await refused(make_app(auth="proxy"), path="/nowhere") == (401, "unauthenticated")


@pytest.mark.parametrize("text", ["localhost", "10.0.0.0/99", "*"])
def test_a_trusted_proxy_that_is_no_address_is_a_mistake(text: str) -> None:
    """Our contract: a setting that means nothing stops the start."""
    with pytest.raises(ConfigError, match="TRUSTED_PROXIES"):
        make_app(auth="proxy", trusted_proxies=text)


@pytest.mark.parametrize("path", PUBLIC)
async def test_public_paths_need_no_principal(path: str) -> None:
    """Our contract: probes and the page's files come before identity."""
    assert (await ask(make_app(auth="proxy"), path=path, client=("203.0.113.1", 1)))[1] is False

    if path != "/":
        response, _ = await ask(make_app(auth="visitor"), {"Authorization": "Bearer scraper"}, path)

        assert (response.status, "set-cookie" in response.headers) == (200, False)


# --- visitor


def cookie_of(response: Response) -> str:
    return response.headers["set-cookie"].partition(";")[0]


async def test_a_visitor_is_made_on_first_contact_and_known_ever_after() -> None:
    """Identity: a signed, HttpOnly cookie, or the same token as Bearer."""
    app = make_app(auth="visitor")
    first, (user_id, is_admin, _) = await ask(app)
    token = first.headers["x-visitor-token"]

    assert first.headers["set-cookie"] == f"{COOKIE}={token}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
    assert user_id.startswith("visitor-")
    assert is_admin is False

    for headers in ({"Cookie": f"a=b; {cookie_of(first)}"}, {"Authorization": f"bearer {token}"}):
        again, (same, _, _) = await ask(app, headers)

        assert same == user_id
        assert not {"set-cookie", "x-visitor-token"} & set(again.headers)


async def test_every_visitor_is_somebody_else() -> None:
    """Identity: nobody is shared."""
    app = make_app(auth="visitor")
    users = {(await ask(app))[1][0] for _ in range(50)}

    assert len(users) == 50


async def test_the_page_makes_the_visitor_and_no_cache_keeps_it() -> None:
    """Our contract: what a page calls all at once is one visitor, and a cache does not hand it to the next."""
    app = make_app(auth="visitor")
    page, is_authenticated = await ask(app, {"Authorization": "Bearer wrong"}, "/")

    assert (page.status, is_authenticated) == (200, True)
    assert page.headers.getlist("cache-control") == ["no-store, no-transform"]

    again, _ = await ask(app, {"Cookie": cookie_of(page)}, "/")

    assert again.headers["cache-control"] == "max-age=60"


@pytest.mark.parametrize(
    "token", ["", "x", "a.b", "é", ".", "..", "x" * 5000, "InZpc2l0b3ItMSI.AAAAAAAAAAAAAAAAAAAAAAAAAAA", ".eJw.sig"]
)
async def test_a_wrong_token_is_401_and_a_wrong_cookie_somebody_new(token: str) -> None:
    """Our contract: who sends a Bearer means somebody; a cookie of another deployment is only stale."""
    app = make_app(auth="visitor")

    assert await refused(app, {"Authorization": f"Bearer {token}"}) == (401, "unauthenticated")
    assert "set-cookie" in (await ask(app, {"Cookie": f"{COOKIE}={token}"}))[0].headers


async def test_another_secret_knows_nobody() -> None:
    """Identity: signed."""
    token = (await ask(make_app(auth="visitor")))[0].headers["x-visitor-token"]

    assert (await refused(make_app(b"other" * 8, auth="visitor"), {"Authorization": f"Bearer {token}"}))[0] == 401


async def test_other_schemes_of_authorization_are_not_ours() -> None:
    """Our contract: Basic is of a proxy in front; the cookie counts."""
    app = make_app(auth="visitor")
    cookie = cookie_of((await ask(app))[0])
    response, _ = await ask(app, {"Authorization": "Basic eDp5", "Cookie": cookie})

    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    ("headers", "more", "is_secure"),
    [
        ({"Host": "localhost"}, {}, False),
        ({"Host": "127.0.0.1:8000"}, {}, False),
        ({"Host": "chat.example"}, {}, True),
        ({"Host": "localhost"}, {"scheme": "https"}, True),
        ({"Host": "localhost", "X-Forwarded-Proto": "https"}, {}, True),
        ({"Host": "localhost", "X-Forwarded-Proto": "https"}, {"client": ("203.0.113.1", 1)}, False),
    ],
)
async def test_the_cookie_is_secure_off_loopback(
    headers: dict[str, str], more: dict[str, Any], is_secure: bool
) -> None:
    """Identity: `Secure` off loopback."""
    response, _ = await ask(make_app(auth="visitor"), headers, **more)

    assert response.headers["set-cookie"].endswith("; Secure") == is_secure


async def test_an_error_on_first_contact_gives_the_token_too() -> None:
    """Our contract: a first call that fails is a first contact."""
    response, _ = await ask(make_app(auth="visitor"), path="/api/nowhere")

    assert (response.status, "set-cookie" in response.headers) == (404, True)


# --- the secret


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Identity: cookies survive a restart; the key is nobody else's."""
    settings = Settings(data=str(tmp_path / "new" / "data"))
    secret = load_secret(settings)
    folder = Path(settings.data)

    assert len(secret) == 32
    assert load_secret(settings) == secret
    assert [path.name for path in folder.iterdir()] == ["visitor.key"]
    assert stat.S_IMODE((folder / "visitor.key").stat().st_mode) == 0o600


def test_a_given_secret_wins(tmp_path: Path) -> None:
    """Our contract: `SECRET_KEY` is shared by several nodes, and leaves no file."""
    assert load_secret(Settings(data=str(tmp_path), secret_key="é" * 16)) == ("é" * 16).encode()
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_the_secret_lives_as_long_as_the_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Our contract: a folder that takes no file is a warning, not the end."""
    (tmp_path / "file").touch()
    settings = Settings(data=str(tmp_path / "file"))

    assert len(load_secret(settings)) == 32
    assert load_secret(settings) != load_secret(settings)
    assert "visitors will be forgotten" in caplog.text


def test_a_damaged_key_stops_the_start(tmp_path: Path) -> None:
    """Our contract: an empty key would sign anything for anybody."""
    (tmp_path / "visitor.key").touch()

    with pytest.raises(ConfigError, match=r"visitor\.key is damaged"):
        load_secret(Settings(data=str(tmp_path)))
