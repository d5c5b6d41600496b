"""Turns said in another build: the word order is right, and nothing that must be copied changes."""

from __future__ import annotations

from random import Random

import pytest

from training.text import library, names, paraphrase


@pytest.mark.parametrize(
    ("question", "clause"),
    [
        ("What is a volcano?", "what a volcano is"),
        ("what's the capital of France", "what the capital of France is"),
        ("Why does ice float?", "why ice floats"),
        ("Why does the moon change its shape?", "why the moon changes its shape"),
        ("Why do leaves fall in autumn?", "why leaves fall in autumn"),
        ("Why is the sky blue?", "why the sky is blue"),
        ("How many legs does a spider have?", "how many legs a spider has"),
        ("How many planets are there?", "how many planets there are"),
        ("How do I stop a reply?", "how to stop a reply"),
        ("Which planet is the largest?", "which planet is the largest"),
        ("Who made you?", "who made you"),
        ("What is left of 9 when I take away 4?", None),
    ],
)
def test_indirect_questions_have_the_order_of_a_statement(question: str, clause: str | None) -> None:
    """ "I wonder why does ice float" would teach the model a wrong English."""
    assert paraphrase.indirect(question) == clause


@pytest.mark.parametrize(
    "text", ["Say hello to Tamsin", 'Translate "good night" into Spanish.', "Repeat after me: blue moon"]
)
def test_turns_that_are_copied_stay_as_they_are(text: str) -> None:
    """Words around a text to repeat would become a part of it."""
    assert {paraphrase.rephrased(text, Random(seed)) for seed in range(20)} == {text}


def test_a_question_gets_many_builds() -> None:
    """A rule that never fires is a rule that does nothing."""
    found = {paraphrase.rephrased("Why does ice float?", Random(seed)) for seed in range(200)}
    assert len(found) > 60
    assert "How come ice floats?" in found
    assert all(text[:1].isupper() for text in found)


def test_hurried_typing_keeps_names_and_numbers() -> None:
    """The reply gives them back, so they must be there to be copied."""
    for seed in range(200):
        text = paraphrase.typed_fast("What is 12 plus 7? My name is Tamsin.", Random(seed))
        assert "tamsin" in text
        assert "12" in text
        assert "7" in text


def test_every_wording_can_be_said_in_another_build() -> None:
    """No rule may fail on, or empty, what people type."""
    rng = Random(5)
    for _, intents in library.intents():
        for intent in intents:
            for ask in intent.ask:
                assert paraphrase.rephrased(ask, rng).isascii()
                assert paraphrase.typed_fast(ask, rng)


def test_made_up_names_are_words_with_a_capital() -> None:
    """They have to look like names, or the model learns that nonsense is a name."""
    rng = Random(2)
    for _ in range(300):
        name = names.drawn(rng)
        assert name[0].isupper()
        assert name.replace("-", "").replace("'", "").isalpha()
