"""What the user has said about themselves in this session, as facts that can be told back.

Only the user's own messages of the session at hand are read, each time anew: nothing is kept between turns, so nothing
can leak between sessions. A statement is recognised by its form ("my X is Y", "I live in Y", "call me Y", "remember
that …"), never guessed. Later statements take the place of earlier ones; likes add up until they are taken back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .shapes import listed
from .words import fold, sentences, stem, words

MAX_MESSAGES: Final = 1000
"""The newest messages that are remembered."""
MAX_CHARS: Final = 4000
"""Of each: people say who they are in the first lines."""

_POLITE: Final = re.compile(
    r"(?:(?:hi|hello|hey|ok|okay|well|so|yes|yeah|no|nope|actually|sorry|by the way|btw|please|also|and|but|fyi|thanks|"
    r"oh|then|now|just|in fact|good (?:morning|day|evening)|for the record|just so you know|as i said)\b[\s,!.:\-]*)+",
    re.IGNORECASE,
)
_REMEMBER: Final = re.compile(
    r"(?:please |can you |could you )*(?:remember|note|keep in mind|don't forget|do not forget|memori[sz]e|"
    r"(?:i want|i'd like) you to (?:know|remember)|you should know|let me tell you)(?: this| please)?"
    r"(?:\s*[:,-]|\s+that)?\s+(?!when\b|how\b|what\b|where\b|who\b|me\b|the last\b|our last\b)",
    re.IGNORECASE,
)
_STARTS: Final = (
    r"(?=(?:i|i'm|i've|my|our|call me|you can call|please|what|who|where|when|how|which|can|could|do|does|tell)\b)"
)
_CLAUSES: Final = re.compile(
    rf"\s*;\s+|,?\s+(?:and|but)\s+(?:also\s+)?{_STARTS}|,\s+{_STARTS}|(?<=[.!?])\s+{_STARTS}|\n+", re.IGNORECASE
)
_TROUBLE: Final = re.compile(
    r"crash|\bslow|broken|fail|not work|n't work|stuck|hang|leak|throw|rais|return|error|refus|timing out|not \w+ing\b",
    re.IGNORECASE,
)
_CALL_ME: Final = re.compile(
    r"(?:you (?:can|may|should) |everyone |people |they |friends )?calls? me (.+)", re.IGNORECASE
)
_MINE: Final = re.compile(
    r"(?:my|our) (?P<what>.{1,80}?)(?::| (?P<be>is|are|was|were|will be|isn't|aren't|is not|are not)) (?P<value>.+)",
    re.IGNORECASE,
)
_MINE_SHORT: Final = re.compile(r"(?:my|our) (?P<what>[\w -]{1,60})'s (?P<value>.+)", re.IGNORECASE)
_THE: Final = re.compile(r"the (?P<what>.{1,80}?) (?P<be>is|are|was|were|will be) (?P<value>.+)", re.IGNORECASE)
_I_AM: Final = re.compile(r"(?:i'm|i am|im) (.+)", re.IGNORECASE)
_I_DO: Final = re.compile(
    r"(?:i(?P<have>'ve got| have got)|i (?P<how>(?:really|also|usually|currently|now|mostly|always|often|only|still|"
    r"don't|do not|never|no longer|dislike)(?: really| even)?\s+)?(?P<verb>[a-z]+(?: (?:born|up))?)) (?P<rest>.+)",
    re.IGNORECASE,
)

_LIKES: Final = ("like", "love", "enjoy", "adore", "hate", "dislike")
# The verb as it is said, the key it is kept under, and whether values add up.
VERBS: Final[dict[str, tuple[str, bool]]] = {
    **{verb: (verb, True) for verb in (*_LIKES, "speak", "own", "play", "collect", "drink", "eat")},
    **{verb: (verb, False) for verb in ("prefer", "live", "work", "study", "drive", "support", "teach")},
    "moved": ("live", False),
    "come": ("from", False),
    "was born": ("born", False),
    "grew up": ("grow", False),
    "studied": ("study", False),
    "worked": ("work", False),
    "lived": ("lived", False),
    "have": ("have", True),
    "use": ("use", True),
}
WEAK: Final = listed("have use")
"""Often the beginning of a question about the documents; then they are remembered in silence."""
_NO_FACT: Final = re.compile(
    r"(?:to (?:know|see|ask|understand|be|do|say)|it\b(?! is)|that\b|this\b|you\b|when\b|how\b|if\b|"
    r"(?:an? |the |some |this )?(?:question|problem|issue|error|bug|doubt|idea|trouble|no idea)|been\b|tried\b|no\b)",
    re.IGNORECASE,
)
_NOT_ABOUT_ME: Final = re.compile(
    r"(?:not|sorry|sure|unsure|afraid|glad|happy to|going|about to|curious|confused|wondering|done|ready|back|here|"
    r"fine|ok|okay|good|well|stuck|lost|new to|able|unable|interested|familiar|aware|thinking|using|supposed)\b|"
    r"(?:look|try|hav|gett|see|runn|writ|build|mak|do|ask|talk|read|wait|hop|plann|mean|us|call|send|sett)ing\b",
    re.IGNORECASE,
)
_AGE: Final = re.compile(r"(\d{1,3})(?:\s+years?(?:\s+old)?|\s+yo)?$", re.IGNORECASE)
_NAME: Final = re.compile(
    r"[^\W\d_a-z][\w'.\-]*(?: (?:(?:van|von|de|der|da|di|bin|al|la|le)|[^\W\d_a-z][\w'.\-]*)){0,3}"
)
_PEOPLES: Final = listed("""
    american british english german french dutch spanish italian irish scottish welsh chinese japanese indian korean
    russian polish swedish danish finnish norwegian swiss austrian belgian portuguese greek turkish brazilian mexican
    canadian australian african european asian jewish muslim christian buddhist hindu vegan vegetarian
""")
_NAME_ENDS: Final = re.compile(
    r"\s*(?:[,;(!\u2013\u2014]|\s-\s|\s(?:and|but|by the way|btw|nice to|from|please|here)\b)", re.IGNORECASE
)
_FLIPS: Final = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "am": "are", "i'm": "you are",
    "i've": "you have", "i'll": "you will", "i'd": "you would", "our": "your", "ours": "yours",
    "we": "you", "us": "you",
}  # fmt: skip
_FLIP: Final = re.compile(
    r"(?<![\w'])(?:" + "|".join(sorted(_FLIPS, key=len, reverse=True)) + r")(?![\w'])", re.IGNORECASE
)
_SPELLINGS: Final = {"favourite": "favorite", "colour": "color", "mum": "mother", "mom": "mother", "dad": "father"}
_FILLERS: Final = listed("current actual own real the a an new")


class Fact(NamedTuple):
    """One thing the user said: `key` is what it is about, `said` tells it back in the second person."""

    key: str
    value: str
    said: str
    adds: bool = False
    weak: bool = False
    denied: bool = False


def plain_text(content: Any) -> str:
    """Return the text of an AG-UI message's content: a string, or parts of which some are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def clauses(text: str) -> list[str]:
    """Return the clauses of a message that may each state or ask something by themselves."""
    straight = text[:MAX_CHARS].translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
    found: list[str] = []
    for sentence in sentences(straight):
        found.extend(part.strip() for part in _CLAUSES.split(sentence) if part.strip(" ,.!"))
    return found


def without_politeness(clause: str) -> str:
    """Return a clause without "hi", "well", "by the way" and the like before it."""
    match = _POLITE.match(clause)
    return clause[match.end() :] if match else clause


def second_person(text: str) -> str:
    """Turn the user's words round: `my sister and I` → `your sister and you`."""
    return _FLIP.sub(lambda match: _FLIPS[match[0].lower()], text)


def about(what: str) -> str:
    """Return the key of "my X": its words without fillers, in one spelling, possessors marked."""
    kept: list[str] = []
    for word in re.findall(r"[\w.\-]+(?:'s?\b)?", what.lower()):
        owner = word.endswith(("'s", "'"))
        plain = fold(word.removesuffix("'s").removesuffix("'"))
        plain = stem(_SPELLINGS.get(plain, plain))
        if plain not in _FILLERS:
            kept.append(plain + "'s" if owner else plain)
    return "my " + " ".join(kept)


def about_that(what: str) -> str:
    """Return the key of "the X"."""
    return "the" + about(what).removeprefix("my")


def facts(clause: str) -> list[Fact]:
    """Return what a clause states about its speaker; questions state nothing."""
    bare = without_politeness(clause.strip())
    asked_to_remember = _REMEMBER.match(bare)
    if asked_to_remember:
        bare = without_politeness(bare[asked_to_remember.end() :])
    if clause.rstrip().endswith("?"):
        return []
    bare = bare.strip().rstrip(".! \u3002\uff01")
    fact = _called(bare) or _mine(bare) or _am(bare) or _doing(bare) or _the(bare)
    if fact is None and asked_to_remember and words(bare):
        fact = Fact("note", bare, second_person(bare), adds=True)
    return [] if fact is None else [fact._replace(weak=fact.weak and not asked_to_remember)]


def _name(value: str) -> str:
    end = _NAME_ENDS.search(value)
    name = (value[: end.start()] if end else value).strip(" .,!\"'")[:100]
    while name and (unicodedata.category(name[-1])[0] in "SZ" or name[-1] in "\ufe0f\u200d"):  # a smile after it
        name = name[:-1]
    return name


def _called(bare: str) -> Fact | None:
    match = _CALL_ME.fullmatch(bare)
    name = _name(match[1]) if match else ""
    return Fact("my name", name, f"your name is {name}") if name else None


def _mine(bare: str) -> Fact | None:
    match = _MINE.fullmatch(bare) or _MINE_SHORT.fullmatch(bare)
    if match is None:
        return None
    what, value = match["what"].strip(), match["value"].strip()
    be = (match.groupdict().get("be") or "is").lower()
    named = re.match(r"(?:called|named)\s+(?=\S)", value, re.IGNORECASE)
    if named:
        what, be, value = f"{what}'s name", "is", value[named.end() :]
    denied = be.endswith(("n't", " not")) or value.lower().startswith("not ")
    if about(what).endswith("name") and not denied:
        if re.match(r"(?:spelled|spelt|pronounced|short for)\b", value, re.IGNORECASE):
            what += " spelling"
        else:
            value = _name(value)
    value = second_person(value)
    weak = _TROUBLE.search(value) is not None and not about(what).endswith("name")
    said = f"your {second_person(what)} {be} {value}"
    return Fact(about(what), value, said, weak=weak, denied=denied) if value else None


def _am(bare: str) -> Fact | None:
    match = _I_AM.fullmatch(bare)
    if match is None or (_NOT_ABOUT_ME.match(match[1]) and not re.match(r"new here", match[1])):
        return None
    value = match[1].strip()
    if age := _AGE.fullmatch(value):
        return Fact("my age", age[1], f"you are {age[1]} years old")
    if named := re.match(r"(?:called|named)\s+(?=\S)", value, re.IGNORECASE):
        return Fact("my name", _name(value[named.end() :]), f"your name is {_name(value[named.end() :])}")
    for start, key in (("from ", "from"), ("based in ", "live"), ("living in ", "live"), ("working ", "work"),
                       ("studying ", "study"), ("born ", "born"), ("learning ", "study")):  # fmt: skip
        if value.lower().startswith(start):
            return Fact(key, second_person(value), f"you are {second_person(value)}")
    name = _name(value)
    if _NAME.fullmatch(name) and name.lower() not in _PEOPLES:
        return Fact("my name", name, f"your name is {name}")
    return Fact("am", second_person(value), f"you are {second_person(value)}", adds=True)


def _doing(bare: str) -> Fact | None:
    match = _I_DO.fullmatch(bare)
    if match is None:
        return None
    verb, rest = ("have" if match["have"] else match["verb"].lower()), match["rest"].strip()
    how = (match["how"] or "").strip().lower()
    if verb not in VERBS or _NO_FACT.match(rest) or (verb in WEAK and rest.startswith("to ")):
        return None
    key, adds = VERBS[verb]
    denied = how.startswith(("don't", "do not", "never", "no longer"))
    rest = re.sub(r"\s+any ?more$", "", rest, flags=re.IGNORECASE) if denied else rest
    you = f"you {how + ' ' if how else ''}{verb.replace('was ', 'were ')} {second_person(rest)}"
    return Fact(key, second_person(rest), you, adds=adds, weak=verb in WEAK, denied=denied)


def _the(bare: str) -> Fact | None:
    match = _THE.fullmatch(bare)
    if match is None:
        return None
    value = second_person(match["value"])
    said = f"the {match['what']} {match['be']} {value}"
    return Fact(about_that(match["what"]), value, said, weak=_TROUBLE.search(value) is not None)


@dataclass(slots=True)
class Memory:
    """What the messages of one session say, oldest first."""

    said: list[str] = field(default_factory=list)
    """The user's messages."""
    answered: list[str] = field(default_factory=list)
    """The assistant's messages."""
    known: dict[str, list[Fact]] = field(default_factory=dict)

    def hear(self, fact: Fact) -> None:
        """Take a statement in; it may take the place of an earlier one, or take one back."""
        held = self.known.pop(fact.key, [])
        value = set(words(fact.value))
        if fact.denied:
            held = [other for other in held if set(words(other.value)) - value and not other.denied]
            denials = self.known.setdefault(f"not {fact.key}", [])
            denials.append(fact)
        else:
            self._take_back_denials(fact.key, value)
        if fact.adds and not fact.denied:
            held = [other for other in held if other.value.lower() != fact.value.lower()]
            held.append(fact)
        elif not fact.denied:
            held = [fact]
        if held:
            self.known[fact.key] = held

    def _take_back_denials(self, key: str, value: set[str]) -> None:
        denials = [other for other in self.known.pop(f"not {key}", []) if not set(words(other.value)) & value]
        if denials:
            self.known[f"not {key}"] = denials

    def facts(self) -> list[Fact]:
        """Return all that stands, in the order it was said last."""
        return [fact for held in self.known.values() for fact in held]


def remember(messages: Iterable[dict[str, Any]]) -> Memory:
    """Read the session's messages, oldest first, without the one that is being answered."""
    memory = Memory()
    for message in list(messages)[-MAX_MESSAGES:]:
        role, text = message.get("role"), plain_text(message.get("content"))
        if role == "user" and text.strip():
            memory.said.append(text)
            for clause in clauses(text):
                for fact in facts(clause):
                    memory.hear(fact)
        elif role == "assistant" and text.strip():
            memory.answered.append(text)
    return memory
