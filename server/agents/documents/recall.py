"""Questions about the session itself: what the user said of themselves, and what was said when.

`recall` answers only what it recognises as such a question, and only from the session: what was not said is answered
by saying so, never from the documents and never by a guess. Everything else is None: a question for the documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from .memory import VERBS, WEAK, Fact, Memory, about, about_that, clauses, facts, second_person, without_politeness
from .words import content_words, cut, stem, words

_MAX_QUOTE_CHARS: Final = 400
_PLEASE: Final = re.compile(
    r"(?:(?:can|could|would|will) you (?:please )?(?=tell|say|remind|repeat|remember|recall|list|summari))?"
    r"(?P<ask>(?:please |do you (?:still )?(?:know|remember|recall)|(?:you )?(?:still )?remember|tell me(?: again)?|"
    r"remind me(?: of)?|say|recall|repeat|i forgot|do i have to tell you)\b[\s,:]*)+",
    re.IGNORECASE,
)
_MY: Final = r"(?:my|our) (?P<what>.{1,80}?)"
_WHAT_IS_MY: Final = (
    re.compile(rf"(?:what|which|who|where|when) {_MY} (?:is|are|was|were)(?: called| named)?"),
    re.compile(rf"(?:what|who|where|when)(?:'s|s| is| are| was| were| will be)? {_MY}(?: again| now| called| named)?"),
    re.compile(
        r"what (?:did|have) i (?:just )?(?:say|said|tell you|told you|give you|given you)(?: that)?(?: is| was)? "
        rf"{_MY}(?: is| was| are| were| as)?"
    ),
    re.compile(rf"{_MY}(?: is| are| was)"),
)  # fmt: skip
_OF_MY: Final = re.compile(
    r"(?:what|who|where|when)(?:'s| is| are| was) the (?P<part>[\w -]{1,60}?) of (?:my|our) (?P<what>.{1,60})"
)
_KIND_OF_MY: Final = re.compile(
    r"(?:what|which) (?P<part>[\w -]{1,40}?) (?:is|are|was|were) (?:my|our) (?P<what>.{1,60})"
)
_WHAT_IS_THE: Final = re.compile(
    r"(?:what|who|where|when|which)(?:'s| is| are| was| were| will) the (?P<what>.{1,80}?)(?: called| named| be)?"
)
_IS_MY: Final = re.compile(rf"(?:is|are|was|were) {_MY} (?P<value>\S.*)")
_WHO_AM_I: Final = re.compile(
    r"(?:who|what) am i(?: called| named)?|who i am|what(?:'s| is) me name|what do you call me|how am i called|"
    r"(?:what|which) name did i (?:give|tell)(?: you)?|what(?: should| do| can) you call me"
)
_HOW_OLD: Final = re.compile(r"how old (?:am i|i am)|what age am i")
_DO_I: Final = re.compile(
    r"(?P<asked>what|where|who|when|which [\w -]{1,40}?|what [\w -]{1,40}?|how) (?:(?:do|did|have|am|was) )?i "
    r"(?:(?:really|usually|currently|just|most) )?(?P<verb>[a-z]+(?: up)?)\b(?P<rest>.*)"
)
_DO_I_EVEN: Final = re.compile(r"(?:do|did|am|was|have) i (?P<verb>[a-z]+(?: up)?)\b(?P<rest>.*)")
_ABOUT_ME: Final = re.compile(
    r"(?:what|everything|all)(?: (?:do|did|have|else))?(?: (?:you|i|that|do))*"
    r" (?:know|remember|learn(?:ed)?|told you|tell you|said|shared)(?: with you)?(?: about (?:me|myself))|"
    r"(?:about )?me(?: still)?|what (?:do you|you) remember|what have i told you(?: so far)?|"
    r"(?:what|who) do you (?:think|know) (?:that )?i am|what is known about me|who i am and .*"
)
_NTH: Final = re.compile(
    r"(?:what (?:was|were|is)|repeat|quote) (?:my|the|our) (?:very )?"
    r"(?P<nth>first|second|third|last|latest|previous|earlier) "
    r"(?:question|message|thing|statement|sentence|prompt|request)s?(?: (?:that )?i .*)?"
)
_DID_I_SAY: Final = re.compile(
    r"what (?:did|have|had) i (?:just |first |last |already )?(?:say|said|ask|asked|write|wrote|written|tell|told|"
    r"mention|mentioned|type|typed|send|sent|talk|talked)(?: (?:to )?you)?"
    r"(?: (?:about|regarding) (?P<topic>.+)|(?P<when> .*)?)"
)
_DID_I_MENTION: Final = re.compile(
    r"(?:did|have) i (?:ever |already )?(?:mention(?:ed)?|told? you|tell you|talk(?:ed)?|said|say)"
    r"(?: anything| something)?(?: about)? (?P<topic>.+)"
)
_DID_YOU_SAY: Final = re.compile(
    r"what (?:did|have) you (?:just |first |last )?(?:say|said|answer|answered|tell me|told me|reply|replied)"
    r"(?P<when> .*)?|"
    r"what was your (?P<nth>first|last|previous) (?:answer|reply|message)|(?:say|repeat) that again"
)
_HOW_MANY: Final = re.compile(
    r"how many (?P<kind>messages|questions|things) (?:did|have) i (?:sent?|ask(?:ed)?|wr[io]t(?:e|ten)|said?|say)\b.*"
)

_NAMES: Final = frozenset(map(stem, ("name", "nickname")))
_OF_NAMES: Final = frozenset(map(stem, ("first", "full", "given", "whole", *_NAMES)))
# What is asked for by one word and told by a verb.
_TOLD_BY: Final = {
    "job": ("work", "am"), "profession": ("work", "am"), "occupat": ("work", "am"), "employer": ("work",),
    "company": ("work",), "workplace": ("work",), "citi": ("live",), "home": ("live",), "town": ("live",),
    "hometown": ("from", "born", "live"), "countri": ("live", "from"), "address": ("live",), "nation": ("from", "am"),
    "hobbi": ("like", "love", "enjoy", "play", "collect"), "birthplac": ("born",), "origin": ("from",),
}  # fmt: skip
_AKIN: Final = {"date of birth": "birthday", "birth date": "birthday", "birthdate": "birthday", "e-mail": "email"}
_VERB_FORMS: Final = {
    "lived": "live", "worked": "work", "liked": "like", "loved": "love", "studied": "study", "come": "from",
    "born": "born", "grew up": "grow", "grow up": "grow", "moved": "live", "from": "from", "based": "live",
    "do": "work",
    "living": "live", "working": "work",
}  # fmt: skip


def recall(clause: str, memory: Memory) -> str | None:
    """Return the answer to a question about this session, or None for any other question."""
    straight = clause.strip().translate({0x2018: "'", 0x2019: "'"})
    bare = without_politeness(straight).rstrip("?!. ").strip()
    match = _PLEASE.match(bare)
    core = bare[match.end() :].strip() if match else bare
    if match and not core:
        return None
    core = core.removeprefix("that ").removeprefix("if ")
    asks = match is not None or clause.rstrip().endswith("?") or _starts_as_question(core)
    if not asks:
        return None
    lowered = re.sub(r"\s+(?:please|again|for me|in this (?:session|chat|conversation))$", "", core.lower())
    for answer in _ANSWERS:
        if (text := answer(lowered, memory)) is not None:
            return text
    if match:
        return _bare_my(lowered, memory)
    return None


def _starts_as_question(core: str) -> bool:
    return re.match(r"(?:what|who|where|when|which|how|whats|whos)\b", core, re.IGNORECASE) is not None


def not_told(what: str) -> str:
    """Say that the session does not hold it."""
    return f"You have not told me {what} in this session."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _told(found: list[Fact]) -> str:
    """Tell facts back in one sentence: `You like tea and coffee.` or, of several kinds, each by itself."""
    return " ".join(f"{_capital(fact.said)}." for fact in found)


# --- my X


def _my(lowered: str, memory: Memory) -> str | None:
    if (match := _OF_MY.fullmatch(lowered)) is not None:
        whats = [f"{match['what']}'s {match['part']}", f"{match['what']} {match['part']}"]
        return _lookup(whats, memory) or not_told(f"the {match['part']} of your {second_person(match['what'])}")
    if (match := _KIND_OF_MY.fullmatch(lowered)) is not None:
        return _kind_of(match["part"], match["what"], memory)
    for pattern in _WHAT_IS_MY:
        match = pattern.fullmatch(lowered)
        if match is not None and not re.search(r"\w(?:ed|en|ing)$", match["what"].split()[-1]):
            what = match["what"]
            named = re.search(r" (?:called|named)$", lowered) is not None
            return _lookup([f"{what}'s name", what] if named else [what], memory) or not_told(_your(what, lowered))
    return None


def _your(what: str, lowered: str) -> str:
    called = re.search(r" (?:called|named)$", lowered)
    if called:
        return f"what your {second_person(what)} is called"
    asked = re.match(r"(?:where|when|who)\b", lowered)
    return f"{asked[0]} your {second_person(what)} is" if asked else f"your {second_person(what)}"


def _bare_my(lowered: str, memory: Memory) -> str | None:
    """Answer what follows "tell me", "do you remember": a thing, or a topic of the session."""
    if lowered.startswith(("my ", "our ")):
        what = lowered.partition(" ")[2]
        return _lookup([what], memory) or not_told(f"your {second_person(what)}")
    if lowered.startswith("about my "):
        asked = {stem(word) for word in content_words(lowered)}
        told = [fact for fact in memory.facts() if asked & {stem(word) for word in words(fact.said)}]
        return _told(told) if told and asked else not_told(f"anything about your {lowered[9:]}")
    return None


def _kind_of(part: str, what: str, memory: Memory) -> str | None:
    """Answer `what colour is my car`: told as my car's colour, as the colour of my car, or just as my car."""
    found = _lookup([f"{what}'s {part}", f"{what} {part}", what], memory)
    return found or not_told(f"what {part} your {second_person(what)} is")


def _lookup(whats: list[str], memory: Memory) -> str | None:
    for what in whats:
        found = _of(about(_AKIN.get(what, what)), memory)
        if found:
            return _told(found)
    return None


def _of(key: str, memory: Memory) -> list[Fact]:
    if key in memory.known:
        return memory.known[key]
    asked = set(key.removeprefix("my ").split())
    if len(asked) == 1 and (verbs := _TOLD_BY.get(next(iter(asked)))):
        return [fact for verb in verbs for fact in memory.known.get(verb, [])][:3]
    for other in reversed(memory.known):
        if other.startswith("my ") and _is_same_thing(asked, set(other.removeprefix("my ").split())):
            return memory.known[other]
    return []


def _is_same_thing(asked: set[str], told: set[str]) -> bool:
    """Compare by words. A name is never another's: owners must agree, and a part of a name is only a name's."""
    if {word for word in asked if word.endswith("'s")} != {word for word in told if word.endswith("'s")}:
        return False
    if asked & _NAMES or told & _NAMES:
        owners = {word for word in asked | told if word.endswith("'s")}
        return bool(asked & _NAMES) and bool(told & _NAMES) and asked | told <= _OF_NAMES | owners
    return asked <= told or (len(told) > 1 and told <= asked)


def _is_my(lowered: str, memory: Memory) -> str | None:
    match = _IS_MY.fullmatch(lowered)
    if match is None:
        return None
    text = f"{match['what']} {match['value']}".split()
    for length in range(len(text) - 1, 0, -1):
        held = memory.known.get(about(" ".join(text[:length])), [])
        if held:
            right = set(words(" ".join(text[length:]))) <= set(words(held[-1].value))
            return f"{'Yes, you told me:' if right else 'You told me otherwise:'} {held[-1].said}."
    return None


# --- I do X


def _who(lowered: str, memory: Memory) -> str | None:
    if _HOW_OLD.fullmatch(lowered):
        return _lookup(["age"], memory) or not_told("how old you are")
    if not _WHO_AM_I.fullmatch(lowered):
        return None
    name = memory.known.get("my name", [])
    told = [*name, *memory.known.get("am", [])] if "name" not in lowered and "call" not in lowered else name
    return _told(told or memory.known.get("am", [])) or not_told("who you are" if "who" in lowered else "your name")


def _verb(lowered: str, memory: Memory) -> str | None:
    even = _DO_I_EVEN.fullmatch(lowered)
    match = even or _DO_I.fullmatch(lowered)
    if match is None or match["rest"].startswith(" to ") or (not even and match["asked"] == "how"):
        return None
    verb = match["verb"]
    key = _VERB_FORMS.get(verb, verb if verb in VERBS else stem(verb))
    key = key if key in {known for known, _ in VERBS.values()} | {"from"} else ""
    rest = second_person(match["rest"])
    if not key or (verb == "do" and re.sub(r" for (?:a|my) (?:living|job|work)", "", rest.replace("you", "")).strip()):
        return None
    held = [*memory.known.get(key, []), *(memory.known.get("am", []) if verb == "do" else [])]
    if even:
        return _whether(held, memory.known.get(f"not {key}", []), f"{verb}{rest}")
    if not held and key in WEAK:
        return None
    do = "are" if verb in ("from", "based", "living", "working") else "were" if verb == "born" else ""
    return _told(held) or not_told(f"{match['asked']} you {do + ' ' if do else ''}{verb}{rest}".removesuffix(" in"))


def _whether(held: list[Fact], denied: list[Fact], what: str) -> str | None:
    asked = {stem(word) for word in content_words(what)}
    for fact in [*denied, *held]:
        if asked & {stem(word) for word in content_words(fact.value)}:
            return f"{'No' if fact.denied else 'Yes'}, you told me that {fact.said}."
    return f"You told me that {held[-1].said}." if held else None


# --- the session


def _about_me(lowered: str, memory: Memory) -> str | None:
    if not _ABOUT_ME.fullmatch(lowered):
        return None
    told = memory.facts()
    if not told:
        return "You have not told me anything about yourself in this session."
    lines = "\n".join(f"- {_capital(fact.said)}." for fact in told)
    return f"This is what you told me in this session:\n\n{lines}"


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    at = cut(flat, _MAX_QUOTE_CHARS)
    more = "" if at == len(flat) else " \u2026"
    return f"\u201c{flat[:at].rstrip()}{more}\u201d"


def _history(lowered: str, memory: Memory) -> str | None:
    if (match := _NTH.fullmatch(lowered)) is not None:
        kept = [text for text in memory.said if "question" not in lowered or is_question(text)]
        return _nth(match["nth"], kept, "You have not asked or told me anything before this in this session.")
    if (match := _DID_I_SAY.fullmatch(lowered)) is not None:
        if match["topic"]:
            return _on_topic(match["topic"], memory)
        nth = "first" if re.search(r"\bfirst|begin|start", lowered) else "last"
        kept = [text for text in memory.said if " ask" not in lowered or is_question(text)]
        return _nth(nth, kept, "You have not asked or told me anything before this in this session.")
    if (match := _DID_I_MENTION.fullmatch(lowered)) is not None:
        return _on_topic(match["topic"], memory)
    if (match := _HOW_MANY.fullmatch(lowered)) is not None:
        count = sum(match["kind"] != "questions" or is_question(text) for text in memory.said)
        return f"Before this one, {count} in this session."
    return None


def _answers(lowered: str, memory: Memory) -> str | None:
    match = _DID_YOU_SAY.fullmatch(lowered)
    if match is None:
        return None
    first = match["nth"] == "first" or "first" in lowered
    if not memory.answered:
        return "I have not said anything in this session yet."
    return f"I said: {_quote(memory.answered[0 if first else -1])}"


def _nth(nth: str, said: list[str], nothing: str) -> str:
    at = {"first": 0, "second": 1, "third": 2}.get(nth, len(said) - 1)
    if not said or at >= len(said):
        return nothing
    return f"You said: {_quote(said[at])}"


def _on_topic(topic: str, memory: Memory) -> str:
    asked = {stem(word) for word in content_words(topic)}
    found = [text for text in memory.said if asked and asked <= {stem(word) for word in words(text)}]
    if not found:
        return f"You have not said anything about {second_person(topic)} in this session."
    return "You said: " + "\n".join(_quote(text) for text in found[-3:])


def is_question(text: str) -> bool:
    """Say whether a message asks for something rather than telling something."""
    return any(
        clause.rstrip().endswith("?") or (not facts(clause) and _starts_as_question(without_politeness(clause)))
        for clause in clauses(text)
    )


def said_earlier(question: str, memory: Memory) -> str | None:
    """Return what the user told earlier, when it speaks of every word that a question asks about."""
    bare = without_politeness(question).rstrip("?!. ").strip().lower()
    if (match := _WHAT_IS_THE.fullmatch(bare)) and (held := memory.known.get(about_that(match["what"]))):
        return f"Earlier in this session you said: {held[-1].said}."
    asked = {stem(word) for word in content_words(question)}
    if len(asked) < 2:
        return None
    for text in reversed(memory.said):
        if not is_question(text) and asked <= {stem(word) for word in words(text)}:
            return f"Earlier in this session you said: {_quote(text)}"
    return None


_ANSWERS: Final[tuple[Callable[[str, Memory], str | None], ...]] = (
    _about_me, _history, _answers, _who, _my, _is_my, _verb,
)  # fmt: skip
