"""The text written for the built-in model: well formed, without contradictions, apart from the graded prompts."""

from __future__ import annotations

import re
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING

import pytest

from chatrwkv import cli
from chatrwkv.tui import commands, keys
from training.text import generate, library

if TYPE_CHECKING:
    from pathlib import Path

MAX_WORDS = 60
MAX_FILE_BYTES = 600_000
FILES = sorted(library.TEXT_DIR.glob("*.jsonl"))
INTENTS = [(path, intent) for path, found in library.intents() for intent in found]
DIALOGUES = [(path, turns) for path, found in library.dialogues() for turns in found]
BROKEN = re.compile(r"[{}]|  |\b[Aa] (?!eu|one)[aeio]\w|\b[Aa]n (?!rwkv|rnn)[bcdfgjklmnpqrstvwxyz]\w")
PRINTABLE = re.compile(r"[ -~]+")


def base(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_row_is_an_intent_or_a_dialogue_in_plain_ascii(path: Path) -> None:
    """Curly quotes cost three tokens each, and an unknown key is a row that no reader takes."""
    assert path.stat().st_size <= MAX_FILE_BYTES
    assert path.read_text(encoding="utf-8").isascii()
    for row in library.rows(path):
        assert set(row) in (
            {"src", "turns"},
            {"intent", "ask", "answer"},
            {"intent", "ask", "answer", "next"},
        )


def test_turns_alternate_and_end_with_a_reply() -> None:
    """A dialogue that ends with the user teaches the model to fall silent."""
    for path, turns in DIALOGUES:
        roles = [role for role, _ in turns]
        assert roles == ["user", "assistant"] * (len(turns) // 2), (path.name, turns[0])


def test_replies_are_short_finished_sentences() -> None:
    """Long replies are where a small model loses the thread."""
    replies = [(p.name, text) for p, turns in DIALOGUES for role, text in turns if role == "assistant"]
    replies += [(p.name, text) for p, i in INTENTS for text in (*i.answer, *i.follow_answer)]
    wrong = [
        (name, text)
        for name, text in replies
        if len(text.split()) > MAX_WORDS
        or not PRINTABLE.fullmatch(text)
        or "  " in text
        or text != text.strip()
    ]
    assert wrong == []


def test_each_intent_has_fifteen_wordings_and_three_answers() -> None:
    """Fewer wordings and the model learns the sentence instead of the question."""
    short = [
        i.name for _, i in INTENTS if len({library.normalise(a) for a in i.ask}) < 15 or len(i.answer) < 3
    ]
    assert short == []


def test_no_opening_has_two_different_answers() -> None:
    """The same question in two intents teaches the model to guess between them."""
    answers: dict[str, set[str]] = defaultdict(set)
    for _, intent in INTENTS:
        for ask in intent.ask:
            answers[library.normalise(ask)].add(base(intent.name))
    for path, turns in DIALOGUES:
        if len(turns) == 2:
            answers[library.normalise(turns[0][1])].add(f"{path.name}: {turns[1][1]}")
    clashes = {ask: sorted(found) for ask, found in answers.items() if len(found) > 1}
    assert clashes == {}


def test_no_held_out_prompt_is_in_the_text() -> None:
    """A graded prompt that was trained on measures memory, not skill."""
    asked = {library.normalise(ask) for _, i in INTENTS for ask in (*i.ask, *i.follow_ask)}
    asked |= {library.normalise(text) for _, turns in DIALOGUES for role, text in turns if role == "user"}
    assert asked & library.held_out() == set()


@pytest.mark.parametrize("name", ["prompts_common.jsonl", "prompts_heldout.jsonl"])
def test_evaluation_prompts_are_thirty_and_gradable(name: str) -> None:
    """A pattern that does not compile would fail only after hours of training."""
    prompts = list(library.rows(library.EVAL_DIR / name))
    assert len(prompts) == 30
    assert len({row["id"] for row in prompts}) == 30
    for row in prompts:
        expect = row["expect"]
        assert isinstance(expect, dict)
        assert expect["any"]
        for pattern in (*expect["any"], *expect["none"]):
            re.compile(pattern, re.IGNORECASE)


def test_generators_repeat_themselves_with_the_same_seed() -> None:
    """A training run that resumes must see the text it would have seen."""
    assert list(generate.dialogues(Random(7), 300)) == list(generate.dialogues(Random(7), 300))


def test_generated_dialogues_are_well_formed_and_free_of_held_out_prompts() -> None:
    """A slot left unfilled or an "a apple" would be learnt by heart."""
    banned = library.held_out()
    for turns in generate.dialogues(Random(1), 4000):
        assert [role for role, _ in turns] == ["user", "assistant"] * (len(turns) // 2)
        for role, text in turns:
            assert PRINTABLE.fullmatch(text), text
            assert not BROKEN.search(text), text
            assert role == "user" or (len(text.split()) <= MAX_WORDS and text[-1] in '.!?"'), text
            assert role == "assistant" or library.normalise(text) not in banned


def test_replies_name_only_commands_and_keys_that_the_app_has() -> None:
    """A small model repeats with full confidence whatever it was told of a command that is gone."""
    replies = [text for _, turns in DIALOGUES for role, text in turns if role == "assistant"]
    replies += [text for _, i in INTENTS for text in (*i.answer, *i.follow_answer)]
    known_commands = {command.name for command in commands.COMMANDS}
    known_keys = {key for binding in keys.EVERY for key in binding.key.split(",")}
    outside_the_app = {"ctrl+v", "ctrl+shift+c", "ctrl+shift+v"}  # how other programs copy and paste
    for text in replies:
        for name in re.findall(r"(?<![\w/.])/([a-z]+)\b", text):
            assert name in known_commands, text
        for key in re.findall(r"\b(?:ctrl|alt|shift)\+[a-z+]+\b", text):
            assert key in known_keys | outside_the_app, text
        for name in re.findall(r"\b(?:Run|Type|Try|Use|run|type|use|command|with) chatrwkv ([a-z]+)", text):
            assert name in cli.COMMANDS, text
