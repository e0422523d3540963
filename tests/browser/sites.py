"""Other people's sites, each on an origin of its own, and a browser that treats third parties as browsers do."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from playwright.async_api import Browser, BrowserContext, Playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.browser.pages import ARGUMENTS, CHROMIUM

_BLOCKED = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}}
_ICON = '<link rel="icon" href="data:,">'
_UNPARTED = "ThirdPartyStoragePartitioning"
# What pages do to everything in them, meant or not.
_HOSTILE_STYLE = """
* { all: unset !important; display: none !important; color: red !important; background: lime !important;
    font: 40px/3 serif !important; opacity: .3 !important; visibility: hidden !important; direction: rtl !important; }
html, head + body, main, body p { display: block !important; visibility: visible !important; opacity: 1 !important; }
html { transform: rotate(0.1deg) scale(.9) !important; --accent: red !important; --ink: red !important; }
body { filter: blur(2px) !important; height: 3000px !important; }
.cover { display: block !important; visibility: visible !important; position: fixed !important; inset: 0 !important;
         z-index: 2147483647 !important; }
"""
_HOSTILE_SCRIPT = """
const natives = { fetch: window.fetch };
window.fetch = (url, init = {}) =>
  natives.fetch(url, { ...init, credentials: "include", headers: { ...init.headers, "X-Trace": "1" } });
for (const name of ["filter", "find", "findLast", "forEach", "at", "flatMap", "entries"]) {
  Array.prototype[name] = () => { throw new Error(`no ${name} here`); };
}
Array.prototype.enumerable = Object.prototype.inherited = "everywhere";
String.prototype.toJSON = Array.prototype.toJSON = function () { return `<${this}>`; };
addEventListener("keydown", (event) => { document.title += ` ${event.key}`; });
addEventListener("message", () => parent.postMessage("noise", "*"));
"""


class _Server(uvicorn.Server):
    """One that leaves signals to the tests."""

    def install_signal_handlers(self) -> None:
        """Do nothing."""


class Site:
    """Pages of one origin that embed the widget of `server`, with the attributes that the query names.

    `/` is as strict as a site can be; the others are each strange in one way.
    """

    def __init__(self, host: str, server: str) -> None:
        self.listener = socket.create_server((host if host != "localhost" else "127.0.0.1", 0))
        self.origin = f"http://{host}:{self.listener.getsockname()[1]}"
        self._server = server
        self.rest = anyio.Event()
        """Lets `/early` send the rest of itself."""
        pages = {
            "": self._home,
            "framing": self._framing,
            "nesting": self._nesting,
            "hostile": self._hostile,
            "early": self._early,
            "twice": self._twice,
            "rtl": self._rtl,
            "isolated": self._isolated,
        }
        self.app = Starlette(routes=[Route(f"/{path}", page) for path, page in pages.items()])

    def _script(self, request: Request, path: str = "widget.js", more: str = "") -> str:
        named = {"agent": "support", **request.query_params}
        data = " ".join(f'data-{name}="{escape(value)}"' for name, value in named.items())
        return f'<script type="module" {more} src="{self._server}/static/{path}" {data}></script>'

    async def _home(self, request: Request) -> Response:
        # As strict as a site can be that lets the widget in.
        sources = " ".join(f"{kind}-src {self._server};" for kind in ("script", "connect", "frame"))
        policy = (
            f"default-src 'none'; img-src data:; {sources} require-trusted-types-for 'script'; trusted-types 'none'"
        )
        return self._page(self._script(request), {"Content-Security-Policy": policy})

    async def _isolated(self, request: Request) -> Response:
        isolation = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
        return self._page(self._script(request), isolation)

    async def _framing(self, request: Request) -> Response:
        return self._page(f'<iframe src="{escape(self._server + request.query_params["path"])}"></iframe>')

    async def _nesting(self, request: Request) -> Response:
        return self._page(f'<iframe src="{escape(request.query_params["url"])}"></iframe>')

    async def _hostile(self, request: Request) -> Response:
        strange = f"<style>{_HOSTILE_STYLE}</style><script>{_HOSTILE_SCRIPT}</script>"
        return self._page(f'{strange}{self._script(request)}<div class="cover"></div>')

    async def _early(self, request: Request) -> Response:
        """It runs before there is a body: the page takes its time to send it."""

        async def pieces() -> AsyncIterator[str]:
            yield f"<!doctype html><html lang=en><head>{_ICON}{self._script(request, more='async')}"
            await self.rest.wait()
            yield "</head><body><h1>A site</h1></body></html>"

        return StreamingResponse(pieces(), media_type="text/html")

    async def _twice(self, request: Request) -> Response:
        scripts = [self._script(request), self._script(request), self._script(request, "widget.js?again")]
        return self._page("".join(scripts))

    async def _rtl(self, request: Request) -> Response:
        return self._page(self._script(request), start='<!doctype html><html lang="ar" dir="rtl">')

    def _page(
        self, content: str, headers: dict[str, str] | None = None, start: str = '<!doctype html><html lang="en">'
    ) -> Response:
        head = '<meta name="viewport" content="width=device-width"><title>Site</title>'
        page = f"{start}{head}{_ICON}"
        links = '<main><h1>A site</h1><p><a href="#here">A link</a></p></main>'
        return HTMLResponse(f"{page}{links}{content}</html>", headers=headers)


@asynccontextmanager
async def serving(*sites: Site) -> AsyncIterator[None]:
    """Serve them while the block runs."""
    servers = [_Server(uvicorn.Config(site.app, lifespan="off", log_config=None)) for site in sites]
    async with anyio.create_task_group() as tasks:
        for server, site in zip(servers, sites, strict=True):
            tasks.start_soon(server.serve, [site.listener])
        try:
            yield
        finally:
            for server in servers:
                server.should_exit = server.force_exit = True
    for site in sites:
        site.listener.close()


async def open_browser(playwright: Playwright, folder: Path, features: str, *, is_parted: bool) -> BrowserContext:
    """Open a browser that blocks cookies of third parties; so do the contexts that it opens.

    It gives a frame of theirs a storage of its own for each site, as browsers do, if `is_parted`; else none at all, as
    some people want it, for which playwright's own switch must stay. `features` are the `disabled_features`.
    """
    (folder / "Default").mkdir(parents=True)
    (folder / "Default" / "Preferences").write_text(json.dumps(_BLOCKED), encoding="utf-8")
    ours = features.replace(f"{_UNPARTED},", "")
    assert (_UNPARTED in features, _UNPARTED in ours) == (True, False)
    # What is left out of the defaults is left out of the arguments too: the very same switch would be gone.
    changed: dict[str, Any] = {"args": [*ARGUMENTS, ours], "ignore_default_args": [features]} if is_parted else {}
    options = {"executable_path": CHROMIUM, "args": ARGUMENTS, **changed}
    return await playwright.chromium.launch_persistent_context(folder, **options)


async def disabled_features(playwright: Playwright) -> str:
    """Return the switch by which playwright turns features off, the parting of storage among them."""
    arguments = [*ARGUMENTS, "--enable-automation"]  # else it does not say
    browser: Browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
    try:
        session = await browser.new_browser_cdp_session()
        line = await session.send("Browser.getBrowserCommandLine")
    finally:
        await browser.close()
    found: str = next(text for text in line["arguments"] if text.startswith("--disable-features="))
    return found
