"""Personas: how an agent speaks, as Markdown files: who it is on top, its instructions below.

    ---
    name: technical-support
    description: Finds the cause of a technical problem, step by step
    greeting: "Hello! What is not working?"
    temperature: 0.3
    ---
    You are a patient support engineer. …

`name` and `description` are required. `greeting` is for clients, to show before the first message. `temperature` (0 to
2) may be left out: the model then uses its own. The lines between the `---` are a small part of YAML, so that every
editor knows them: one key a line, its value plain or in quotes, `#` comments on lines of their own. Whatever else YAML
could mean there is refused rather than guessed at.

Personas ship with the package; a folder of one's own adds to them, and replaces those whose name it uses. All of it is
bounded and read at once: whatever is wrong is a `ConfigError` that begins with the file and names the key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ..errors import ConfigError
from ..ids import is_client_id

DEFAULT_PERSONA: Final = "assistant"
"""The shipped one that speaks when a session names none."""
MAX_PERSONAS: Final = 100
MAX_FILE_BYTES: Final = 64 << 10
MAX_DESCRIPTION_CHARS: Final = 300
MAX_GREETING_CHARS: Final = 2000
MAX_INSTRUCTIONS_CHARS: Final = 20_000  # about 5,000 tokens, sent with every request to the model
MAX_TEMPERATURE: Final = 2.0

_SHIPPED: Final = Path(__file__).parents[1] / "personas"
_FENCE: Final = "---"
_KEYS: Final = ("name", "description", "greeting", "temperature")
_LINE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?:[ \t]+(.*))?")
# What YAML would not read as plain text: an indicator in front, a mapping or a comment inside.
_NOT_PLAIN: Final = re.compile(r"[,\[\]{}#&*!|>'\"%@`]|[-?](?:\s|$)|.*(?::(?:\s|$)|\s#)")
_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """One way to speak. `greeting` may be empty; `temperature` None leaves it to the model."""

    name: str
    description: str
    greeting: str
    temperature: float | None
    instructions: str


class Personas:
    """Every persona by name, the shipped ones first; iterating gives the personas."""

    def __init__(self, personas: Mapping[str, Persona]) -> None:
        self._personas = dict(personas)

    def get(self, name: str) -> Persona | None:
        """Return the persona of this name, or None."""
        return self._personas.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(self._personas)

    def __iter__(self) -> Iterator[Persona]:
        return iter(self._personas.values())

    def __len__(self) -> int:
        return len(self._personas)


def load_personas(folder: Path | None) -> Personas:
    """Return the shipped personas and, over them, those of `folder`; blocks on files.

    Raises:
        ConfigError: the folder, or one of its files, is missing or wrong.
    """
    personas = _personas_of(_SHIPPED)
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: is no folder of personas")
        personas |= _personas_of(folder)
    if len(personas) > MAX_PERSONAS:
        raise ConfigError(f"{folder}: more than {MAX_PERSONAS} personas")
    return Personas(personas)


def _personas_of(folder: Path) -> dict[str, Persona]:
    """Return the personas of the Markdown files right in a folder, in the order of the files' names."""
    found: dict[str, Persona] = {}
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*.md")):
        persona = _read_persona(file)
        if persona.name in files:
            raise ConfigError(f"{file}: name: {persona.name!r} is that of {files[persona.name].name}, too")
        files[persona.name] = file
        found[persona.name] = persona
    return found


def _read_persona(file: Path) -> Persona:
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_FILE_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8: {error.reason} at byte {error.start}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{file}: has more than {MAX_FILE_BYTES} bytes")
    values, body = _front_matter(file, text)
    return Persona(
        name=_name(file, values),
        description=_text(file, values, "description", MAX_DESCRIPTION_CHARS, required=True),
        greeting=_text(file, values, "greeting", MAX_GREETING_CHARS),
        temperature=_temperature(file, values),
        instructions=_instructions(file, body),
    )


# --- the front matter


def _front_matter(file: Path, text: str) -> tuple[dict[str, str], str]:
    """Return the values by key, and what follows the second fence."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != _FENCE:
        raise ConfigError(f"{file}: must begin with a line {_FENCE}, then name and description, then {_FENCE} again")
    values: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.rstrip() == _FENCE:
            return values, "\n".join(lines[number:])
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, value = _entry(file, number, line)
        if key in values:
            raise ConfigError(f"{file}: {key}: stands there twice")
        values[key] = value
    raise ConfigError(f"{file}: the second line {_FENCE}, which ends the front matter, is missing")


def _entry(file: Path, number: int, line: str) -> tuple[str, str]:
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise ConfigError(f"{file}: line {number} is not `key: value`; a value stands on one line")
    key, value = match[1], (match[2] or "").strip()
    if key not in _KEYS:
        raise ConfigError(f"{file}: {key}: unknown key; known are {', '.join(_KEYS)}")
    return key, _scalar(file, key, value)


def _scalar(file: Path, key: str, value: str) -> str:
    if value.startswith('"'):
        return _unquoted(file, key, value, _double_quoted)
    if value.startswith("'"):
        return _unquoted(file, key, value, _single_quoted)
    if _NOT_PLAIN.match(value):
        raise ConfigError(f"{file}: {key}: must be in double quotes, because of what it begins with or a `: ` or ` #`")
    return value


def _unquoted(file: Path, key: str, value: str, read: Callable[[str], str]) -> str:
    try:
        return read(value)
    except ValueError:
        raise ConfigError(f"{file}: {key}: the quotes around it, or those inside, do not match") from None


def _double_quoted(value: str) -> str:
    # A JSON string is one of YAML, too.
    read: Any = orjson.loads(value)
    return str(read)


def _single_quoted(value: str) -> str:
    inside = value[1:-1]
    if len(value) < len("''") or value[-1] != "'" or "'" in inside.replace("''", ""):
        raise ValueError(value)
    return inside.replace("''", "'")


# --- the values


def _name(file: Path, values: Mapping[str, str]) -> str:
    name = _text(file, values, "name", MAX_DESCRIPTION_CHARS, required=True)
    if not is_client_id(name):
        raise ConfigError(f"{file}: name: must be 1 to 128 letters, digits, or any of . _ : -, not {name!r}")
    return name


def _text(file: Path, values: Mapping[str, str], key: str, most: int, *, required: bool = False) -> str:
    value = values.get(key, "").strip()
    if required and not value:
        raise ConfigError(f"{file}: {key}: is {'empty' if key in values else 'missing'}")
    if "\0" in value:
        raise ConfigError(f"{file}: {key}: holds a NUL character")
    if len(value) > most:
        raise ConfigError(f"{file}: {key}: has more than {most} characters")
    return value


def _temperature(file: Path, values: Mapping[str, str]) -> float | None:
    if "temperature" not in values:
        return None
    value = values["temperature"]
    if not _NUMBER.fullmatch(value) or float(value) > MAX_TEMPERATURE:
        raise ConfigError(f"{file}: temperature: must be a number from 0 to {MAX_TEMPERATURE:g}, not {value!r}")
    return float(value)


def _instructions(file: Path, body: str) -> str:
    instructions = body.strip()
    if not instructions:
        raise ConfigError(f"{file}: the instructions, below the second {_FENCE}, are missing")
    if "\0" in instructions:
        raise ConfigError(f"{file}: the instructions hold a NUL character")
    if len(instructions) > MAX_INSTRUCTIONS_CHARS:
        raise ConfigError(f"{file}: the instructions have more than {MAX_INSTRUCTIONS_CHARS} characters")
    return instructions
