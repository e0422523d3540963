"""A page that draws the parts of messages by the modules themselves, in a place that the rest of it does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page

from tests.browser.pages import WAIT_MS
from tests.browser.serving import ServerProcess

WIDTH = 600

# Draws in `#place`; `answer(message, …)` as the page does it, `markdown(text, …)` its text alone.
DRAWING = """async () => {
  const { renderMarkdown } = await import("/static/blocks.js");
  await (await import("/static/rendering.js")).drawn();
  const { answerItem } = await import("/static/answer.js");
  const { reasoningItem } = await import("/static/reasoning.js");
  const { renderKeyed } = await import("/static/keyed.js");
  const place = document.createElement("div");
  place.id = "place";
  place.className = "body";
  for (const other of document.body.children) other.hidden = true;
  document.body.append(place);
  window.markdown = (text, isOpen = false, cites = []) =>
    renderMarkdown(place, text, { isOpen, cites: new Set(cites) });
  window.answer = (message, isOpen = false, results = [], pending = []) => {
    const items = [answerItem(message, isOpen, new Map(results.map((one) => [one.toolCallId, one])), pending)];
    renderKeyed(place, items);
  };
  window.reasoning = (message, isOpen = false) => renderKeyed(place, [reasoningItem(message, isOpen)]);
}"""

HOSTILE = """
<script>window.hit = 1</script> <img src=x onerror="window.hit = 2"> <svg onload="window.hit = 3"><style>*{display:none}
</style></svg> <iframe srcdoc="<script>parent.hit = 4</script>"></iframe> <a href="javascript:window.hit = 5">a</a>

<div style="position:fixed;inset:0" onclick="window.hit = 6">

[one](javascript:window.hit=7) [two](data:text/html,x) [three](<javascript:window.hit=8>) [four](//x.test)
![five](javascript:window.hit=9) ![six](https://x.test/track.png) <javascript:window.hit=10>
[seven]: javascript:window.hit=11
[seven] &lt;script&gt;window.hit=12&lt;/script&gt; `<script>window.hit=13</script>`
[e](https://x.test/"onmouseover="window.hit=14) [f](https://x.test 'onmouseover="window.hit=15"')

| <script>window.hit=16</script> | <img src=x onerror=window.hit=17> |
|---|---|
| [x](javascript:window.hit=18) | <b onclick=window.hit=19>b</b> |

```<script>window.hit=20</script>
</code></pre><script>window.hit=21</script>
```

# <img src=x onerror=window.hit=22>
- <form action=javascript:window.hit=23><input name=body><button>go</button></form>
"""


@asynccontextmanager
async def drawing_page(browser: Browser, server: ServerProcess) -> AsyncIterator[Page]:
    """Open a page that can draw; at its end, nothing was complained of and nothing asked for beyond the server."""
    context = await browser.new_context(viewport={"width": WIDTH, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(server.url)
    await page.evaluate(DRAWING)
    yield page
    await context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(server.url)] == []


async def draw(page: Page, text: str, *, is_open: bool = False, cites: tuple[str, ...] = ()) -> None:
    """Draw a text, which replaces the one before."""
    await page.evaluate("([text, isOpen, cites]) => markdown(text, isOpen, cites)", [text, is_open, list(cites)])
