"""Text as words, sentences and pieces: what indexing, ranking and answering agree on.

`stem` is for comparing words of a question with words of a text in Python (the index has its own stemmer): both
sides go through it, so it needs to be consistent, not linguistically right. Nothing here cuts a grapheme: text is
cut where `is_boundary` says so, because a client shows each piece by itself before the next one comes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Final

from .shapes import listed

# Scripts without spaces: the index sees a run of these as one word, so its pairs are indexed and asked for as well.
_UNSPACED: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff]{2,}")
_WORD: Final = re.compile(r"[^\W_]+")
_IDENTIFIER: Final = re.compile(r"[^\W\d_]+[a-z][A-Z]\w*|[A-Z]{2,}[a-z]\w*", re.ASCII)
_CAPITALS: Final = re.compile(r"\b[A-Z]{2,}\b")
_CAMEL: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

STOP_WORDS: Final = listed("""
    a about after again all also am an and any anybody anyone anything are as at be because been before being
    both but by can cannot could did do does doing done dont each either else ever every few for from further
    get gets getting give given go goes going got had has have having he hello help her here hers hey hi him his
    how i if im in into is isnt it its just know let lets like ll look looking make makes many may maybe me mean
    might mine more most much must my myself need needed needs neither no nor not now of off ok on once one ones
    only or other others our ours out over own per please possible put quite rather re really s same say shall
    she should show so some somebody someone something still such suppose t tell than thank thanks that the
    their theirs them then there these they thing things think this those through to too try trying under until
    up upon us ve very want wanted wants was way ways we well were what whats when where whether which while who
    whom whose why will wish with within without would yes yet you your yours best correctly documentation docs
    document documents explain exactly happen happens mean means question sure understand wonder wondering work
    works able actually already always anyway ask asked asks came come comes even gave gives instead itself really
    said says seem seems simply take taken takes tell told took use used uses using way ways
""")

# What people write as several words where texts use one.
_IDIOMS: Final = (
    (re.compile(r"\b(?:turn|switch)(?:ed|ing|s)?\s+(\w+\s+)?off\b", re.IGNORECASE), r"disable \1"),
    (re.compile(r"\b(?:turn|switch)(?:ed|ing|s)?\s+(\w+\s+)?on\b", re.IGNORECASE), r"enable \1"),
    (re.compile(r"\b(?:log|sign|logged|signed|signing)[\s-]+in\b", re.IGNORECASE), "login"),
    (re.compile(r"\b(?:log|sign|logged|signed|signing)[\s-]+out\b", re.IGNORECASE), "logout"),
    (re.compile(r"\b(set|shut|start|back|clean|look)[\s-]+(up|down)\b", re.IGNORECASE), r"\1\2 \1"),
    (re.compile(r"\bget(?:ting)?\s+rid\s+of\b", re.IGNORECASE), "remove"),
    (re.compile(r"\buser[\s-]+name\b", re.IGNORECASE), "username user"),
    (re.compile(r"\bfile[\s-]+name\b", re.IGNORECASE), "filename file"),
    (re.compile(r"\btime(?:s|d)?[\s-]+out\b", re.IGNORECASE), "timeout"),
    (re.compile(r"\bkeep[\s-]+alive\b", re.IGNORECASE), "keepalive keep alive"),
)
_IRREGULAR: Final = {
    "kept": "keep", "sent": "send", "ran": "run", "built": "build", "wrote": "write", "written": "write",
    "chosen": "choose", "chose": "choose", "broken": "break", "thrown": "throw", "caught": "catch", "lost": "lose",
    "held": "hold", "went": "go", "began": "begin", "begun": "begin", "shown": "show", "hidden": "hide",
    "children": "child", "indices": "index", "people": "person", "bought": "buy", "paid": "pay", "told": "tell",
    "said": "say",
}  # fmt: skip

# Longest first: the first that fits is taken off.
_SUFFIXES: Final = sorted(
    listed("""
        izations isations ization isation ational fulness iveness ousness ations ation ities ments ment ness ables able
        ibles ible ances ance ences ence ates ate at ators ator ions ion ally ity ive ers er ors or als al ful ly
    """),
    key=lambda suffix: (-len(suffix), suffix),
)
_SPLIT_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'`(\[*]*[^\W_a-z])|(?<=[\u3002\uff01\uff1f])|\n+")
_ABBREVIATION: Final = re.compile(r"\b(?:[Ee]\.g|[Ii]\.e|etc|vs|cf|[Dd]r|[Mm]rs?|[Mm]s|[Pp]rof|St|eg|ie|[A-Z])\.$")
_PIECE: Final = re.compile(r"\s*\S+")


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """Return the stem of a lower-case word: `timeouts`, `encoding`, `encoder` → `timeout`, `encod`, `encod`."""
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isascii() or not word.isalpha():
        return word
    word = _without_plural(word)
    word = _without_participle(word)
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 5:
            word = word[: -len(suffix)]
            break
    word = word[:-1] if word.endswith("e") and len(word) > 4 else word
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def _without_plural(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _without_participle(word: str) -> str:
    for suffix in ("ing", "ed"):
        rest = word[: -len(suffix)]
        if word.endswith(suffix) and len(rest) >= 3 and re.search("[aeiouy]", rest):
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            return rest[:-1] if doubled else rest
    return word


def words(text: str) -> list[str]:
    """Return the words of `text`, folded, in order; identifiers appear whole and in parts."""
    return [word for match in _WORD.finditer(text) for word in _parts(match[0])]


def _parts(word: str) -> list[str]:
    whole = fold(word)
    if _UNSPACED.fullmatch(word):
        return _pairs(word)
    split = _CAMEL.findall(word) if _IDENTIFIER.fullmatch(word) else []
    return [whole, *(fold(part) for part in split)] if len(split) > 1 else [whole]


def _pairs(word: str) -> list[str]:
    return [first + second for first, second in pairwise(word)]


def fold(word: str) -> str:
    """Return `word` without case and accents, as the index does it."""
    folded = word.casefold()
    if folded.isascii():
        return folded
    plain = unicodedata.normalize("NFKD", folded)
    return unicodedata.normalize("NFC", "".join(char for char in plain if not unicodedata.combining(char)))


def stems(text: str) -> list[str]:
    """Return the stems of all words of `text`, in order."""
    return [stem(word) for word in words(text)]


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, each stem once, in order."""
    found: dict[str, str] = {}
    # In capitals it is a name: PUT is a method, IT a trade. Where all is in capitals, nothing is.
    names = frozenset() if text.isupper() else frozenset(map(fold, _CAPITALS.findall(text)))
    for idiom, single in _IDIOMS:
        text = idiom.sub(single, text)
    for word in words(text.replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "")):
        says_much = word not in STOP_WORDS or word in names
        if says_much and (len(word) > 1 or not word.isascii() or word.isdigit()):
            found.setdefault(stem(word), word)
    return list(found.values())


def hidden_words(text: str) -> str:
    """Return words of `text` that the index's tokenizer does not see: parts of CamelCase, pairs of unspaced script."""
    split = (_CAMEL.findall(match[0]) for match in _IDENTIFIER.finditer(text))
    parts = [" ".join(found) for found in split if len(found) > 1]
    return " ".join([*parts, *(" ".join(_pairs(match[0])) for match in _UNSPACED.finditer(text))])


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph; `e.g.` and initials do not end one."""
    found: list[str] = []
    for part in _SPLIT_SENTENCE.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] = f"{found[-1]} {part}"
        elif part and part.strip():
            found.append(part.strip())
    return found


# --- cutting

_JOINERS: Final = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")


def _extends(char: str) -> bool:
    """Say whether `char` belongs to the character before it (combining marks, emoji modifiers, tags)."""
    if char < "\u0300":
        return False
    tone_or_tag = "\U0001f3fb" <= char <= "\U0001f3ff" or "\U000e0020" <= char <= "\U000e007f"
    return tone_or_tag or char in _JOINERS or unicodedata.category(char) in ("Mn", "Me", "Mc")


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _is_jamo(char: str) -> bool:
    return "\u1100" <= char <= "\u11ff" or "\uac00" <= char <= "\ud7ff"


def is_boundary(text: str, at: int) -> bool:
    """Say whether `text` may be cut before position `at` without cutting a grapheme. Errs on the side of no."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if after < "\u0300":
        return not (before == "\r" and after == "\n")
    # X, not counting flag letters from the start: a run of flags is rare, and keeping it whole is always right.
    joined = before in _JOINERS or (_is_flag_letter(before) and _is_flag_letter(after))
    return not (joined or _extends(after) or (_is_jamo(before) and "\u1160" <= after <= "\u11ff"))


def cut(text: str, limit: int) -> int:
    """Return where to cut `text` so that the first part has at most `limit` characters: a sentence's end, else a space.

    A single grapheme longer than `limit` is cut at `limit`: bounds win over beauty there.
    """
    if len(text) <= limit:
        return len(text)
    for mark, least in ((". ", limit // 2), ("\n", limit // 2), (" ", limit // 4)):
        at = text.rfind(mark, 0, limit) + len(mark)
        if at >= max(least, len(mark)) and is_boundary(text, at):
            return at
    at = limit
    while at > 0 and not is_boundary(text, at):
        at -= 1
    return at or limit


def pieces(text: str, size: int = 24) -> Iterator[str]:
    """Yield `text` in groups of words of about `size` characters, as it is streamed; joined they are `text`."""
    start = 0
    for match in _PIECE.finditer(text):
        while match.end() - start > 4 * size:  # one very long word, or a script without spaces
            at = start + cut(text[start : match.end()], 2 * size)
            yield text[start:at]
            start = at
        if match.end() - start >= size and is_boundary(text, match.end()):
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]
