"""Running text, code and tables in a real browser, under the page's own CSP; also those of somebody hostile."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.drawing import HOSTILE, WIDTH, draw, drawing_page
from tests.browser.serving import ServerProcess

pytestmark = pytest.mark.anyio


@pytest.fixture
async def page(browser: Browser, server: ServerProcess) -> AsyncIterator[Page]:
    async with drawing_page(browser, server) as page:
        yield page


async def html(page: Page) -> str:
    return str(await page.evaluate("document.querySelector('#place').innerHTML"))


async def test_markdown_becomes_elements(page: Page) -> None:
    await draw(page, "# A *b*\n\none **two** ~~three~~ `f<x>`\nfour\n\n> said\n\n3. a\n4. b\n   - [x] c\n\n---")

    assert await html(page) == (
        '<h3 dir="auto">A <em>b</em></h3>'
        '<p dir="auto">one <strong>two</strong> <del>three</del> <code>f&lt;x&gt;</code><br>four</p>'
        '<blockquote dir="auto"><p>said</p></blockquote>'
        '<ol start="3" dir="auto"><li>a</li><li>b<ul><li>'
        '<span class="task" role="img" aria-label="Done:"></span>c</li></ul></li></ol><hr>'
    )


async def test_blocks_read_the_way_their_text_does(page: Page) -> None:
    arabic = "\u0623\u0648\u0644\u0627"
    await draw(
        page, f"1. {arabic}\n2. b\n\n> {arabic}\n>\n> b\n\n| {arabic} | b |\n|--|--|\n| 1 | 2 |\n\n- b\n- {arabic}"
    )
    directions = (
        "['ol', 'blockquote', 'table', 'ul'].map((name) =>"
        " getComputedStyle(document.querySelector(`#place ${name}`)).direction)"
    )

    assert await page.evaluate(directions) == ["rtl", "rtl", "rtl", "ltr"]


async def test_links_lead_out_and_tell_nothing_of_where_they_were(page: Page) -> None:
    await draw(page, "[a](https://x.test/?q=1&amp;r=2) https://y.test/b. ![c](https://x.test/c.png) d@x.test")
    links = await page.evaluate("[...document.querySelectorAll('#place a')].map((a) => [a.href, a.target, a.rel])")

    assert links == [
        [address, "_blank", "noopener noreferrer nofollow"]
        for address in ("https://x.test/?q=1&r=2", "https://y.test/b", "https://x.test/c.png", "mailto:d@x.test")
    ]
    assert await page.locator("#place img").count() == 0


async def test_link_says_where_it_leads(page: Page) -> None:
    """An address as a link's text is the one it leads to, and no sign turns round how it reads."""
    await draw(
        page,
        "[https://bank.test](https://evil.test/a) [**www.bank.test**](https://evil.test) [words](https://x.test) "
        "[www.x.test/a](https://x.test/b) [\u202etxt](https://x.test/c) "
        "[![badge](https://x.test/badge.png)](https://x.test/d) [constructor]",
    )
    links = await page.evaluate("[...document.querySelectorAll('#place a')].map((a) => [a.textContent, a.href])")

    assert links == [
        ["https://evil.test/a", "https://evil.test/a"],
        ["https://evil.test/", "https://evil.test/"],
        ["words", "https://x.test/"],
        ["www.x.test/a", "https://x.test/b"],
        ["\\u202etxt", "https://x.test/c"],
        ["badge", "https://x.test/d"],
    ]
    await expect(page.locator("#place")).to_contain_text("[constructor]")


async def test_code_is_shown_in_the_order_it_runs(page: Page) -> None:
    code = "if x: # \u202e } \u2066if y"
    await draw(page, f"`{code}`\n\n```\n{code}\n```")

    assert await page.locator("#place code").all_text_contents() == ["if x: # \\u202e } \\u2066if y"] * 2


async def test_hostile_markdown_is_text(page: Page) -> None:
    for end in [*range(0, len(HOSTILE), 97), len(HOSTILE)]:
        await draw(page, HOSTILE[:end], is_open=end < len(HOSTILE))
    await page.evaluate("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
    made = await page.evaluate(
        "[...document.querySelectorAll('#place *')].map((e) => [e.localName, ...e.getAttributeNames()])"
    )
    hrefs = await page.evaluate("[...document.querySelectorAll('#place a')].map((a) => a.href)")
    text = await page.evaluate("document.querySelector('#place').textContent")

    assert await page.evaluate("window.hit") is None
    assert {name for name, *_ in made}.isdisjoint(
        {"script", "img", "svg", "style", "iframe", "form", "input", "object"}
    )
    assert {attribute for _, *attributes in made for attribute in attributes} <= {
        *("aria-label", "class", "data-copy", "data-language", "dir", "href", "rel", "role", "tabindex", "target"),
        "type",
    }
    assert all(href.startswith("https://x.test") for href in hrefs)
    for shown in ("<script>window.hit = 1</script>", "onerror=window.hit=22", "<script>window.hit=21</script>"):
        assert shown in text


async def test_what_slips_in_is_taken_out_before_it_is_shown(page: Page) -> None:
    """The second look does not trust the first: an element that no view makes does not pass."""
    kept = await page.evaluate(
        """async () => {
          const { purify } = await import("/static/purified.js");
          const holder = document.createElement("div");
          const link = document.createElement("a");
          link.setAttribute("href", "javascript:alert(1)");
          link.setAttribute("ping", "https://x.test");
          link.setAttribute("id", "messages");
          link.append("link");
          holder.append(link, document.createElement("script"), document.createElement("iframe"));
          purify(holder);
          return holder.outerHTML;
        }"""
    )

    assert kept == "<div><a>link</a></div>"


async def test_growing_text_keeps_what_is_selected_and_scrolled(page: Page) -> None:
    code = "```text\n" + "line\n" * 100
    await draw(page, "First words\n\nand here it\n\n" + code, is_open=True)
    await page.evaluate(
        """() => {
          const [first, second, block] = document.querySelector("#place").children;
          Object.assign(window, { first, second, block });
          block.querySelector("pre").scrollTop = 200;
          const range = document.createRange();
          range.setStart(first.firstChild, 0);
          range.setEnd(block.querySelector("code").firstChild, 4);
          getSelection().addRange(range);
          window.selected = getSelection().toString();
        }"""
    )
    await draw(page, "First words\n\nand here it\n\n" + code + "line\n" * 100, is_open=True)
    await draw(page, "First words\n\nand here it\n\n" + code + "line\n" * 100 + "```\n\nAnd the end.")

    assert await page.evaluate(
        """[first, second, block].every((element, at) => document.querySelector("#place").children[at] === element)
           && getSelection().toString() === selected && block.querySelector("pre").scrollTop === 200"""
    )
    await expect(page.locator("#place > p").last).to_have_text("And the end.")


async def test_paragraph_that_grows_keeps_its_selection(page: Page) -> None:
    await draw(page, "Some words and **bold ones** and", is_open=True)
    await page.evaluate(
        "() => { const range = document.createRange(); const p = document.querySelector('#place p');"
        " range.setStart(p.firstChild, 5); range.setEnd(p.lastChild, 4); getSelection().addRange(range); }"
    )
    await draw(page, "Some words and **bold ones** and some *more* of `them`", is_open=True)

    assert await page.evaluate("getSelection().toString()") == "words and bold ones and"
    await expect(page.locator("#place p")).to_have_text("Some words and bold ones and some more of them")


async def test_text_that_comes_in_pieces_looks_as_if_it_came_at_once(page: Page) -> None:
    text = (
        HOSTILE + "\n\n1. a\n   ```py\n   def f(): pass\n   ```\n2. b\n\n> q\n> - r\n\n[x]: https://x.test\n\n[x] end"
    )
    at_once = await page.evaluate(
        """([text]) => { markdown(text); const whole = document.querySelector("#place").innerHTML; markdown("");
          for (let end = 1; end <= text.length; end += 3) markdown(text.slice(0, end), true);
          markdown(text);
          return [whole, document.querySelector("#place").innerHTML]; }""",
        [text],
    )

    assert at_once[0] == at_once[1]


async def test_text_that_is_shown_is_not_taken_back(page: Page) -> None:
    text = (
        "# A `b`\n\n**Bold** and *em*, [link](https://x.test/a), `code`.\n\n1. one\n2. **two**\n\n"
        "| a | b |\n|---|---|\n| 1 | *2* |\n\n```py\nx = 1\n```\n\n- [x] done\n\nThe **end**."
    )
    lengths = await page.evaluate(
        """async (text) => {
          const { renderMarkdown } = await import("/static/blocks.js");
          // Each in a place of its own: one that is slow to draw would be drawn less often.
          return [...text].map((_, end) => {
            const place = document.createElement("div");
            renderMarkdown(place, text.slice(0, end + 1), { isOpen: true });
            return place.textContent.replace(/\\s/g, "").length;
          });
        }""",
        text,
    )

    assert lengths == sorted(lengths)
    assert lengths[-1] == len("AbBoldandem,link,code.onetwoab12pyCopyx=1doneTheend.")


async def test_code_is_coloured_named_and_copied(page: Page) -> None:
    python = "def f(x):\n    return f'{x}'  # why"
    await draw(page, f"```python\n{python}\n```\n\n```nosuchlanguage\nplain\n```\n\n```\nbare\n```")
    await expect(page.locator("#place .hl-keyword")).to_have_text(["def", "return"])
    await expect(page.locator("#place .language")).to_have_text(["python", "nosuchlanguage", "text"])

    assert await page.locator("#place pre code").first.text_content() == python
    assert await page.locator("#place pre").first.get_attribute("aria-label") == "Code, python"
    assert await page.locator("#place button[data-copy=code]").count() == 3


async def test_code_that_is_being_written_has_colours_already(page: Page) -> None:
    await draw(page, "```js\nconst a = 1;\n", is_open=True)
    await expect(page.locator("#place .hl-keyword")).to_have_text(["const"])
    await page.evaluate("document.querySelector('#place .hl-keyword').marked = true")
    await draw(page, "```js\nconst a = 1;\nlet b", is_open=True)
    await expect(page.locator("#place .hl-keyword")).to_have_text(["const", "let"])

    assert await page.evaluate("document.querySelector('#place .hl-keyword').marked")
    assert await page.locator("#place code").text_content() == "const a = 1;\nlet b"


@pytest.mark.parametrize(
    "text",
    [
        "x" * 60_000,
        "word " * 12_000,
        "|" + " cell |" * 200 + "\n|" + "---|" * 200 + "\n" + ("|" + " 1 |" * 200 + "\n") * 20,
        "```\n" + "x" * 50_000 + "\n```",
        "- " * 300 + "deep",
        "> " * 300 + "deep",
        "\u202e" + "abc " * 100 + "\n\n" + "a\u0301" * 5000 + "\n\n" + "ـ" * 3000 + "\n\n" + "\ufdfd" * 500,
        "[" + "x" * 3000 + "](https://x.test/" + "y" * 1500 + ")",
    ],
    ids=["line", "words", "table", "code", "lists", "quotes", "letters", "link"],
)
async def test_layout_holds(page: Page, text: str) -> None:
    await draw(page, text)

    assert await page.evaluate("document.documentElement.scrollWidth") == WIDTH
    assert await page.evaluate("document.querySelector('#place').scrollWidth") <= WIDTH
    assert await page.evaluate("document.querySelector('#place').textContent.length") > 100


async def test_very_many_blocks_are_drawn_in_turns_between_which_the_page_goes_on(page: Page) -> None:
    counts = await page.evaluate(
        """async (text) => {
          markdown(text);
          const counts = [place.childElementCount];
          while (counts.at(-1) < 3000) {
            await new Promise((resolve) => setTimeout(resolve));
            counts.push(place.childElementCount);
          }
          return counts;
        }""".replace("place.", "document.querySelector('#place')."),
        "a\n\n" * 3000,
    )

    assert counts == sorted(counts)
    assert counts[0] < 300
    assert counts[-1] == 3000
    await draw(page, "a\n\n" * 2000)
    await draw(page, "b")
    await expect(page.locator("#place > *")).to_have_text(["b"])
