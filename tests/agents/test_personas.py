"""Personas are read from Markdown files with front matter; what is wrong is said with the file and the key."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.agents.personas import (
    MAX_DESCRIPTION_CHARS,
    MAX_FILE_BYTES,
    MAX_GREETING_CHARS,
    MAX_INSTRUCTIONS_CHARS,
    MAX_PERSONAS,
    Persona,
    load_personas,
)
from server.errors import ConfigError

GOOD = "---\nname: pirate\ndescription: Speaks like one\ngreeting: Ahoy!\ntemperature: 0.9\n---\nYou are a pirate.\n"
SHIPPED = ("assistant", "creative-writer", "mental-health-nurse", "technical-support")


def persona_of(folder: Path, text: str) -> Persona:
    """Return the only persona of a folder that is no shipped one."""
    (folder / "one.md").write_bytes(text.encode())
    [persona] = [one for one in load_personas(folder) if one.name not in SHIPPED]
    return persona


def trouble_of(folder: Path, text: str | bytes) -> str:
    """Return what is said of a file, behind its name."""
    file = folder / "one.md"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError) as raised:
        load_personas(folder)
    said = str(raised.value)
    assert said.startswith(f"{file}: ")
    return said.removeprefix(f"{file}: ")


# --- the shipped ones


def test_four_personas_ship_each_whole() -> None:
    personas = load_personas(None)

    assert personas.names == SHIPPED
    assert [personas.get(name) for name in SHIPPED] == list(personas)
    assert len(personas) == len(SHIPPED)
    assert personas.get("nobody") is None
    for persona in personas:
        assert persona.description
        assert persona.greeting
        assert persona.temperature is not None
        assert 0 <= persona.temperature <= 2
        assert len(persona.instructions) > 1000


def test_the_nurse_says_at_once_that_it_is_no_clinician() -> None:
    """A person in distress must not take it for one, nor for an emergency service."""
    nurse = load_personas(None).get("mental-health-nurse")

    assert nurse is not None
    assert "I'm not a nurse" in nurse.greeting
    assert "call your local emergency number" in nurse.greeting
    assert "no diagnosis" in nurse.description


@pytest.mark.parametrize(
    ("country", "line"),
    [
        ("United States", "988"),
        ("Canada", "988"),
        ("United Kingdom", "116 123"),
        ("Australia", "13 11 14"),
        ("Germany", "0800 111 0 111"),
        ("France", "3114"),
        ("India", "14416"),
        ("Brazil", "188"),
        ("elsewhere", "findahelpline.com"),
    ],
)
def test_the_nurse_knows_crisis_lines(country: str, line: str) -> None:
    nurse = load_personas(None).get("mental-health-nurse")

    assert nurse is not None
    [row] = [row for row in nurse.instructions.splitlines() if row.startswith(f"| {country} |")]
    assert line in row


# --- a folder of one's own


def test_a_folder_adds_personas_behind_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "pirate.md").write_text(GOOD)

    personas = load_personas(tmp_path)

    assert personas.names == (*SHIPPED, "pirate")
    assert personas.get("pirate") == Persona(
        name="pirate",
        description="Speaks like one",
        greeting="Ahoy!",
        temperature=0.9,
        instructions="You are a pirate.",
    )


def test_a_folder_replaces_a_shipped_persona_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text(GOOD.replace("name: pirate", "name: assistant"))

    personas = load_personas(tmp_path)

    assert personas.names == SHIPPED
    replaced = personas.get("assistant")
    assert replaced is not None
    assert replaced.instructions == "You are a pirate."


def test_only_markdown_files_right_in_the_folder_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a persona")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pirate.md").write_text(GOOD)

    assert load_personas(tmp_path).names == SHIPPED


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing: is no folder of personas"):
        load_personas(tmp_path / "missing")


def test_two_files_with_one_name_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(GOOD)

    assert trouble_of(tmp_path, GOOD) == "name: 'pirate' is that of a.md, too"


def test_there_may_be_only_so_many(tmp_path: Path) -> None:
    for number in range(MAX_PERSONAS):
        (tmp_path / f"{number}.md").write_text(GOOD.replace("pirate", f"pirate-{number}"))

    with pytest.raises(ConfigError, match=f"more than {MAX_PERSONAS} personas"):
        load_personas(tmp_path)


# --- the front matter


def test_greeting_and_temperature_may_be_left_out(tmp_path: Path) -> None:
    persona = persona_of(tmp_path, "---\nname: plain\ndescription: Nothing more\n---\nBe plain.")

    assert (persona.greeting, persona.temperature) == ("", None)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Ahoy! It's me", "Ahoy! It's me"),
        ('"Ahoy: \\"me\\"\\nand # you \\u2693"', 'Ahoy: "me"\nand # you ⚓'),
        ("'It''s me: ahoy'", "It's me: ahoy"),
        ("''", ""),
        ('""', ""),
        ("", ""),
        ("see http://a.example/b#c, a:b", "see http://a.example/b#c, a:b"),
        ("Grüße, 日本語 👩‍👩‍👧  ", "Grüße, 日本語 👩‍👩‍👧"),
    ],
)
def test_a_value_is_plain_or_in_quotes_as_in_yaml(tmp_path: Path, written: str, read: str) -> None:
    assert persona_of(tmp_path, GOOD.replace("Ahoy!", written)).greeting == read


@pytest.mark.parametrize(
    "written",
    [
        "|",
        "> folded",
        "- a",
        "? a",
        "[a, b]",
        "{a: b}",
        "*alias",
        "&anchor x",
        "!tag x",
        "# only",
        "a: b",
        "a #b",
        "a:",
        "@x",
        "`x`",
    ],
)
def test_what_yaml_would_not_read_as_plain_text_is_refused(tmp_path: Path, written: str) -> None:
    assert trouble_of(tmp_path, GOOD.replace("Ahoy!", written)).startswith("greeting: must be in double quotes")


@pytest.mark.parametrize("written", ['"open', '"a" b', "'open", "'", "'a'b'", '"\\q"', '"\\ud800"'])
def test_quotes_that_do_not_match_are_refused(tmp_path: Path, written: str) -> None:
    said = trouble_of(tmp_path, GOOD.replace("Ahoy!", written))

    assert said == "greeting: the quotes around it, or those inside, do not match"


def test_comments_blank_lines_windows_lines_and_a_byte_order_mark_are_taken(tmp_path: Path) -> None:
    text = "\ufeff" + GOOD.replace("name:", "# who it is\n\nname:").replace("\n", "\r\n")

    persona = persona_of(tmp_path, text)

    assert (persona.name, persona.instructions) == ("pirate", "You are a pirate.")


def test_the_instructions_may_hold_fences_and_markdown(tmp_path: Path) -> None:
    body = "# Title\n\n---\n\nname: not a key\n\n    code"

    assert persona_of(tmp_path, GOOD.replace("You are a pirate.", body)).instructions == body


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: pirate\n", "", "name: is missing"),
        ("name: pirate", "name:", "name: is empty"),
        (
            "name: pirate",
            "name: the pirate",
            "name: must be 1 to 128 letters, digits, or any of . _ : -, not 'the pirate'",
        ),
        ("description: Speaks like one\n", "", "description: is missing"),
        ("description: Speaks like one", 'description: "a\\u0000b"', "description: holds a NUL character"),
        (
            "greeting: Ahoy!",
            "greetings: Ahoy!",
            "greetings: unknown key; known are name, description, greeting, temperature",
        ),
        ("greeting: Ahoy!", "name: second", "name: stands there twice"),
        ("greeting: Ahoy!", "greeting:Ahoy!", "line 4 is not `key: value`; a value stands on one line"),
        ("greeting: Ahoy!", "greeting: Ahoy\n  and more", "line 5 is not `key: value`; a value stands on one line"),
        ("0.9", "2.1", "temperature: must be a number from 0 to 2, not '2.1'"),
        ("0.9", "-1", "temperature: must be a number from 0 to 2, not '-1'"),
        ("0.9", "nan", "temperature: must be a number from 0 to 2, not 'nan'"),
        ("0.9", "warm", "temperature: must be a number from 0 to 2, not 'warm'"),
        ("0.9", "", "temperature: must be a number from 0 to 2, not ''"),
        ("You are a pirate.", " ", "the instructions, below the second ---, are missing"),
        ("You are a pirate.", "a\0b", "the instructions hold a NUL character"),
        ("---\nYou are a pirate.\n", "", "the second line ---, which ends the front matter, is missing"),
        ("---\nname", "name", "must begin with a line ---, then name and description, then --- again"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert trouble_of(tmp_path, GOOD.replace(old, new, 1)) == said


@pytest.mark.parametrize(
    ("old", "most", "said"),
    [
        ("Speaks like one", MAX_DESCRIPTION_CHARS, f"description: has more than {MAX_DESCRIPTION_CHARS} characters"),
        ("Ahoy!", MAX_GREETING_CHARS, f"greeting: has more than {MAX_GREETING_CHARS} characters"),
        ("You are a pirate.", MAX_INSTRUCTIONS_CHARS, f"the instructions have more than {MAX_INSTRUCTIONS_CHARS}"),
    ],
)
def test_every_text_has_a_bound_which_it_may_reach(tmp_path: Path, old: str, most: int, said: str) -> None:
    persona_of(tmp_path, GOOD.replace(old, "x" * most))

    assert trouble_of(tmp_path, GOOD.replace(old, "x" * (most + 1))).startswith(said)


@pytest.mark.parametrize(("written", "read"), [("0", 0.0), ("2", 2.0), ("2.0", 2.0), ("0.25", 0.25)])
def test_a_temperature_is_from_0_to_2(tmp_path: Path, written: str, read: float) -> None:
    assert persona_of(tmp_path, GOOD.replace("0.9", written)).temperature == read


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    assert trouble_of(tmp_path, GOOD + "x" * MAX_FILE_BYTES) == f"has more than {MAX_FILE_BYTES} bytes"
    assert trouble_of(tmp_path, GOOD.encode() + b"\xff") == f"is not UTF-8: invalid start byte at byte {len(GOOD)}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.md").symlink_to(tmp_path / "missing")

    with pytest.raises(ConfigError, match=r"one\.md: cannot be read: No such file or directory"):
        load_personas(tmp_path)


@given(st.text())
def test_whatever_a_file_holds_it_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("personas")
    (folder / "one.md").write_bytes(b"---\n" + text.encode(errors="replace"))

    with suppress(ConfigError):
        load_personas(folder)
