"""How a message is meant: small talk, a follow-up of the question before it, and the options beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from .memory import Memory, clauses, facts
from .ranking import Question, ask
from .recall import recall
from .words import content_words

DEFAULT_TOP_K: Final = 3
MAX_TOP_K: Final = 20
_MAX_FILTERS: Final = 100
_MAX_CONTEXT: Final = 4
_MAX_LOOKED_BACK: Final = 30

_GREETING: Final = re.compile(
    r"(?:(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day)|yo|hola|moin|salut|help|"
    r"there|again|everyone|bot|docs|how are you(?: today)?|how do you do|nice to meet you|please)\b[\s,!.?]*)+",
    re.IGNORECASE,
)
# In the first person only: documents speak of killing processes, too.
_DANGER: Final = re.compile(
    r"\b(?:(?:kill|hurt|harm|cut|hang|shoot)(?:ing)? myself|(?:end|take|ending|taking) my (?:own )?life|"
    r"i(?:'?m| am)? (?:want|going|wish|need|plan(?:ning)?) to die|i(?:'?m| am) suicidal|"
    r"(?:don'?t|do not) want to (?:live|be alive|exist)|better off (?:dead|without me))\b",
    re.IGNORECASE,
)
IN_DANGER: Final = (
    "This sounds serious, and I am a program that quotes documents: I cannot help you with it, and I do not want to "
    "leave you alone with it. If you are in danger, please call your emergency number now (112, 911, 999, or that of "
    "your country). To talk to somebody: in the US and Canada call or text 988, in the UK and Ireland call 116 123; "
    "findahelpline.com lists lines for every country. If somebody you trust is near, tell them now."
)
_THANKS: Final = re.compile(
    r"(?:(?:ok|okay|great|perfect|cool|nice|super|good|awesome|thanks|thank you|thx|cheers|a lot|very much|so much|bye|"
    r"goodbye|see you|that helps?|got it|understood|for (?:your|the) help|that(?:'s| is) (?:all|it)|no)\b[\s,!.]*)+",
    re.IGNORECASE,
)
_SELF: Final = re.compile(
    r"(?:(?:and )?(?:so )?who are you|what are you|what(?:'s| is) your name|(?:tell me|what) about you(?:rself)?|"
    r"are you (?:an? |the )?(?:ai|bot|robot|human|person|machine|computer|chatbot|chatgpt|gpt\S*|claude|llm|gemini|"
    r"(?:large )?(?:language )?model|real(?: person)?|alive).*|"
    r"(?:which|what) (?:(?:ai|language|llm) )?(?:model|llm|ai) (?:are you|do you use|is (?:this|it|used|behind .*)|"
    r"powers .*|am i .*)(?: using| based on)?|do you use (?:an? )?(?:ai|llm|(?:language )?model).*|"
    r"what (?:can|do) (?:you|i) (?:do|ask|know|answer)(?: (?:you|here|for me|about))?|how (?:do|can) you (?:work|help)"
    r"(?: me)?)[\s?!.]*",
    re.IGNORECASE,
)
_FILES: Final = re.compile(
    r"(?:(?:which|what) (?:files?|docs|documents?|sources?) (?:do you (?:have|know|use)|are (?:there|indexed)|"
    r"can you (?:read|see|search)|have you (?:read|indexed))|(?:list|show)(?: me)?(?: all| your)?(?: the)?"
    r" (?:files|documents|docs|sources))[\s?!.]*",
    re.IGNORECASE,
)
_MORE: Final = re.compile(
    r"(?:(?:can|could) you |please )*(?:(?:tell|show|give) me )?(?:(?:some |any )?more(?: details?| results?| about "
    r"(?:it|that|this)| on (?:it|that|this))?|go on|continue|keep going|elaborate|what else|anything else|next|and\?*)"
    r"(?: please)?[\s.?!]*",
    re.IGNORECASE,
)
_LEADS_ON: Final = re.compile(
    r"(?:and|but|also|or|then|so|what about|how about|what if|same for|why|why not)\b", re.IGNORECASE
)
_POINTS_BACK: Final = re.compile(
    r"\b(?:it|its|that|this|these|those|they|them|there|one|ones|same|instead|example|examples|else)\b", re.IGNORECASE
)
_REQUEST: Final = re.compile(
    r"(?:please |can you |could you )*(?:what|who|where|when|which|why|how|is|are|does|do|did|can|could|should|will|"
    r"would|show|tell|explain|find|describe|list|give|help|search|look|compare|summari[sz]e)\b",
    re.IGNORECASE,
)


class OptionError(ValueError):
    """An option of the message cannot be used; the text names it and is for the user."""


@dataclass(frozen=True, slots=True)
class Options:
    """How many sources to name, and which files to look in: substrings or patterns, in lower case; none is all."""

    top_k: int = DEFAULT_TOP_K
    filters: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    """More of them: a file must pass both."""

    @property
    def admits_all(self) -> bool:
        """Whether no file is left out."""
        return not self.filters and not self.within

    def admits(self, name: str) -> bool:
        """Say whether a file, by its path below the folder, may be used."""
        lowered = name.lower()
        return all(
            not texts or any(_is_like(lowered, wanted) for wanted in texts) for texts in (self.filters, self.within)
        )


def _is_like(name: str, wanted: str) -> bool:
    if not set(wanted) & set("*?["):
        return wanted in name
    return fnmatchcase(name, wanted) or fnmatchcase(name.rpartition("/")[2], wanted)


def read_options(options: Mapping[str, Any], what: str = "option") -> Options:
    """Return what `options` asks for; options of other agents are passed over. `what` they are called in errors.

    Raises:
        OptionError: one of ours is not of its kind.
    """
    top_k = options.get("top_k")
    if top_k is None:
        top_k = DEFAULT_TOP_K
    elif not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= MAX_TOP_K:
        raise OptionError(f"The {what} top_k must be a whole number from 1 to {MAX_TOP_K}.")
    wanted = options.get("filename_filter")
    filters = [wanted] if isinstance(wanted, str) else [] if wanted is None else wanted
    if not isinstance(filters, list | tuple) or not all(isinstance(text, str) for text in filters):
        raise OptionError(f"The {what} filename_filter must be a text, or a list of texts, to look for in file names.")
    if len(filters) > _MAX_FILTERS:
        raise OptionError(f"The {what} filename_filter takes at most {_MAX_FILTERS} texts.")
    return Options(top_k, tuple(text.strip().lower()[:500] for text in filters if text.strip()))


def is_greeting(text: str) -> bool:
    """Say whether a message only opens the conversation."""
    return not text.strip() or _GREETING.fullmatch(text.strip()) is not None


def is_in_danger(text: str) -> bool:
    """Say whether somebody speaks of dying or of being hurt by their own hand."""
    return _DANGER.search(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")) is not None


def is_thanks(text: str) -> bool:
    """Say whether a message only thanks, agrees or takes leave."""
    return _THANKS.fullmatch(text.strip()) is not None


def is_about_agent(text: str) -> bool:
    """Say whether a message asks who answers here, and how."""
    return _SELF.fullmatch(text.strip()) is not None


def is_about_files(text: str) -> bool:
    """Say whether a message asks which documents there are."""
    return _FILES.fullmatch(text.strip()) is not None


def is_request(text: str) -> bool:
    """Say whether a clause asks for something."""
    return text.rstrip().endswith("?") or _REQUEST.match(text.strip()) is not None


def to_look_for(text: str, memory: Memory) -> tuple[Question, int]:
    """Return what to look for in the light of the session, and how many pages of it were shown already."""
    recent = memory.said[-_MAX_LOOKED_BACK:]
    before = [said for said in recent if _MORE.fullmatch(said.strip()) or _is_for_documents(said)]
    page = 0
    if _MORE.fullmatch(text.strip()):
        page = 1
        while before and _MORE.fullmatch(before[-1].strip()):
            before.pop()
            page += 1
        if not before:
            return Question(), 0
        text = before.pop()
    questions = [said for said in before if not _MORE.fullmatch(said.strip())]
    return ask(text, _context(text, questions)), page


def _context(text: str, questions: list[str]) -> str:
    """Return the questions that a follow-up leans on: back to the first that stands by itself."""
    context: list[str] = []
    for earlier in reversed(questions[-_MAX_CONTEXT:]):
        if not _leans_back(text):
            break
        context.append(earlier)
        text = earlier
    return " ".join(context)


def _leans_back(text: str) -> bool:
    own = content_words(text)
    if not own:
        return True
    leads_on, points_back = _LEADS_ON.match(text.strip()), _POINTS_BACK.search(text)
    return len(own) <= 4 and (leads_on is not None or (points_back is not None and len(own) <= 3))


def _is_for_documents(text: str) -> bool:
    if is_greeting(text) or is_thanks(text) or is_about_agent(text) or is_about_files(text):
        return False
    parts = clauses(text)
    return any(not facts(part) and recall(part, Memory()) is None and content_words(part) for part in parts)
