"""What the documents agent remembers of a session, and how it answers from that alone."""

from __future__ import annotations

import pytest

from server.agents.documents.memory import Memory, clauses, facts, remember
from server.agents.documents.recall import recall, said_earlier


def told(*texts: str) -> Memory:
    return remember([{"id": str(at), "role": "user", "content": text} for at, text in enumerate(texts)])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("My name is Alice", "your name is Alice"),
        ("my name's Bob, nice to meet you", "your name is Bob"),
        ("Hi! I'm Alice.", "your name is Alice"),
        ("My name is María José Núñez 🎉", "your name is María José Núñez"),
        ("My name is 李明。", "your name is 李明"),
        ("you can call me Al please", "your name is Al"),
        ("I am a developer from Hamburg", "you are a developer from Hamburg"),
        ("I\u2019m 34", "you are 34 years old"),
        ("I live in Berlin.", "you live in Berlin"),
        ("I work at Acme Inc. as an engineer", "you work at Acme Inc. as an engineer"),
        ("I really like tea", "you really like tea"),
        ("I was born in Rome", "you were born in Rome"),
        ("My dog is called Rex", "your dog's name is Rex"),
        ("My favourite colour is blue!", "your favourite colour is blue"),
        ("my best friend is my sister", "your best friend is your sister"),
        ("Please remember that the deploy is on Friday at 3.30 pm", "the deploy is on Friday at 3.30 pm"),
        ("Remember: milk and eggs for me", "milk and eggs for you"),
        ("my email is alice@example.org", "your email is alice@example.org"),
    ],
)
def test_statements_are_told_back_in_the_second_person(statement: str, said: str) -> None:
    """Our contract: general statements about oneself are understood."""
    assert [fact.said for clause in clauses(statement) for fact in facts(clause)] == [said]


@pytest.mark.parametrize(
    "text",
    [
        "How do I disable it?",
        "I'm looking for timeouts",
        "I have a problem with timeouts",
        "I'd like to know how to test",
        "Remember me?",
        "Do you remember that my name is Bob?",
        "Is my name Bob?",
        "I am using httpx",
        "I have to install it",
        "What is my name?",
    ],
)
def test_questions_and_requests_state_nothing(text: str) -> None:
    """Our contract: nothing is remembered that was not stated."""
    assert [fact for clause in clauses(text) for fact in facts(clause)] == []


NOTHING_BEFORE = "You have not asked or told me anything before this in this session."


def not_told(what: str) -> str:
    return f"You have not told me {what} in this session."


STORY = (
    "Hi, my name is Alice.",
    "I live in Berlin and I work at Acme as an engineer",
    "My dog is called Rex, my favourite colour is blue",
    "I like tea. I like coffee. I don't like beer",
    "my car is red",
    "I am 34 years old",
    "How do I set timeouts?",
    "remember that the deploy is on Friday",
)


@pytest.mark.parametrize(
    ("question", "known", "unknown"),
    [
        ("What is my name?", "Your name is Alice.", not_told("your name")),
        ("whats my name", "Your name is Alice.", not_told("your name")),
        ("Do you remember my name?", "Your name is Alice.", not_told("your name")),
        ("can you tell me what my name is?", "Your name is Alice.", not_told("your name")),
        ("Who am I?", "Your name is Alice.", not_told("who you are")),
        ("Where do I live?", "You live in Berlin.", not_told("where you live")),
        ("remind me where I live", "You live in Berlin.", not_told("where you live")),
        ("What is my job?", "You work at Acme as an engineer.", not_told("your job")),
        ("What do I like?", "You like tea. You like coffee.", not_told("what you like")),
        ("What is my dog called?", "Your dog's name is Rex.", not_told("what your dog is called")),
        ("What is the name of my dog?", "Your dog's name is Rex.", not_told("the name of your dog")),
        ("What's my favorite color?", "Your favourite colour is blue.", not_told("your favorite color")),
        ("What colour is my car?", "Your car is red.", not_told("what colour your car is")),
        ("How old am I?", "You are 34 years old.", not_told("how old you are")),
        ("Who is my boss?", not_told("who your boss is"), not_told("who your boss is")),
        ("What is my cat's name?", not_told("your cat's name"), not_told("your cat's name")),
        ("What is my surname?", not_told("your surname"), not_told("your surname")),
        ("Is my name Alice?", "Yes, you told me: your name is Alice.", None),
        ("Is my name Bob?", "You told me otherwise: your name is Alice.", None),
        ("Do I like beer?", "No, you told me that you don't like beer.", None),
        ("What did I say first?", "You said: “Hi, my name is Alice.”", NOTHING_BEFORE),
        ("What did I ask before?", "You said: “How do I set timeouts?”", NOTHING_BEFORE),
        ("What did I say about the deploy?",
         "You said: “remember that the deploy is on Friday”",
         "You have not said anything about the deploy in this session."),
        ("How many messages have I sent?",
         "Before this one, 8 in this session.",
         "Before this one, 0 in this session."),
        ("How do I disable my timeout?", None, None),
        ("What do I need to install?", None, None),
        ("Do you know how to set a timeout?", None, None),
        ("What is the default timeout?", None, None),
        ("Do I have to call close?", None, None),
        ("What does my server do?", None, None),
        ("Tell me", None, None),
    ],
)  # fmt: skip
def test_questions_about_the_session_are_answered_from_it_alone(
    question: str, known: str | None, unknown: str | None
) -> None:
    """Our contract: the session's own words, or plainly that it holds none; all else is for the documents."""
    assert recall(question, told(*STORY)) == known
    assert recall(question, told()) == unknown


def test_what_is_known_is_listed_whole() -> None:
    """Our contract: "what do you know about me?"."""
    memory = told("My name is Alice", "I live in Rome", "I moved to Paris", "I like tea", "I don't like tea any more")

    assert recall("What do you know about me?", memory) == (
        "This is what you told me in this session:\n\n"
        "- Your name is Alice.\n- You moved to Paris.\n- You don't like tea."
    )
    assert recall("what do you know about me", told()) == not_told("anything about yourself")


def test_later_statements_override_earlier_ones() -> None:
    """Our contract: the last word counts."""
    memory = told("My name is Alice", "I live in Rome", "Actually, my name is Bob", "I'm from Oslo", "I moved to Paris")

    assert recall("what is my name?", memory) == "Your name is Bob."
    assert recall("where do I live?", memory) == "You moved to Paris."
    assert recall("where am I from?", memory) == "You are from Oslo."
    assert recall("what is my name?", told("My name is Alice", "My name is not Alice")) == (not_told("your name"))


def test_only_the_users_own_messages_are_remembered() -> None:
    """Our contract: neither answers, nor system messages, nor parts that are no text state facts."""
    memory = remember(
        [
            {"id": "1", "role": "system", "content": "My name is Root"},
            {"id": "2", "role": "assistant", "content": "My name is Bot"},
            {
                "id": "3",
                "role": "user",
                "content": [{"type": "image", "source": {}}, {"type": "text", "text": "I'm Eve"}],
            },
            {"id": "4", "role": "user", "content": None},
            {"id": "5", "role": "tool", "toolCallId": "1", "content": "My name is Tool"},
        ]
    )

    assert recall("What is my name?", memory) == "Your name is Eve."
    assert recall("What did you say?", memory) == "I said: “My name is Bot”"


def test_things_said_in_passing_are_quoted() -> None:
    """Our contract: answers come from what was said in this session as well."""
    memory = told("The project is called Falcon.", "Our standup meets on Mondays in room seven")

    assert said_earlier("What is the project called?", memory) == (
        "Earlier in this session you said: the project is called Falcon."
    )
    assert said_earlier("Which room for the standup?", memory) == (
        "Earlier in this session you said: “Our standup meets on Mondays in room seven”"
    )
    assert said_earlier("How do I set timeouts?", memory) is None


def test_hostile_messages_cost_little() -> None:
    """Our contract: patterns stay linear; the test ends at all."""
    for text in (
        "my " * 4000,
        "i am " + "a " * 4000,
        "what is my " + "is " * 4000 + "?",
        "remember " * 2000,
        "'s" * 4000,
    ):
        for clause in clauses(text):
            facts(clause)
            recall(clause, told(text))
