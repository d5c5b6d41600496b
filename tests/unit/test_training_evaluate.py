"""Graders and figures of the evaluation, and the card made of them."""

import pytest

from training import card, evaluate, folders
from training.chatting import Answer, builtin_template, segments

PROMPT = evaluate.Prompt(
    id="x1",
    kind="fact",
    turns=(("user", "What is 2+3?"),),
    wanted=(r"\b(5|five)\b",),
    unwanted=(r"\bsix\b",),
    max_words=6,
)


@pytest.mark.parametrize(
    ("text", "ended", "passed"),
    [
        ("It is Five.", True, True),
        ("It is 55.", True, False),
        ("It is five or six.", True, False),
        ("It is five.", False, False),
        ("It is five as far as I can see.", True, False),
    ],
)
def test_a_reply_passes_only_if_right_alone_short_and_ended(text, ended, passed):
    """A grader that cannot fail measures nothing."""
    assert PROMPT.passes(Answer(text, ended)) is passed


def test_sixty_prompts_are_there_half_of_them_held_out():
    """The two halves are scored apart."""
    common, heldout = (
        evaluate.load_prompts(folders.EVAL / f"prompts_{n}.jsonl") for n in ("common", "heldout")
    )
    assert (len(common), len(heldout)) == (30, 30)
    assert not {p.turns[-1][1].lower() for p in common} & {p.turns[-1][1].lower() for p in heldout}


def test_repetition_counts_runs_of_four_words_said_again():
    """A model in a loop scores high."""
    assert evaluate.repetition(["a b c d e f g"]) == 0
    assert evaluate.repetition(["go on and on go on and on"]) == pytest.approx(1 / 5)


def test_known_words_ignores_case_and_marks():
    """Only letters count."""
    assert evaluate.known_words(["Hello, wrold! It's 5."], frozenset({"hello", "it's"})) == pytest.approx(
        2 / 3
    )


def test_a_conversation_is_fed_as_the_application_feeds_it():
    """A graded prompt with other separators would measure another model."""
    turns = [("user", "hi"), ("assistant", "Hello."), ("user", "bye")]
    assert "".join(segments(builtin_template(), turns)) == (
        "User: hi\n\nAssistant: Hello.\n\nUser: bye\n\nAssistant:"
    )


def test_card_shows_scores_transcripts_and_sources():
    """The card is generated; a missing key must not go unnoticed."""
    row = {"id": "c01", "kind": "greeting", "ask": "Hello", "reply": "Hi.", "passed": True}
    results = {
        "asked": {"common": [row], "heldout": [row | {"id": "h01", "passed": False}]},
        "score": {
            name: {"passed": 0.5, "ended": 1.0, "prompts_passed_mean": 15.0} for name in ("common", "heldout")
        },
        "repetition": 0.01,
        "known_words": 0.99,
        "bits_per_byte": {"own": 0.4},
        "first_ten": [("user", "hello"), ("assistant", "Hello!")],
    }
    shape = {"name": "x", "n_params": 4_600_000, "layers": 6, "width": 192, "n_vocab": 4096, "megabytes": 9.2}
    text = card.render(shape, results, {"tokens": {"own": 1_500_000}, "run": ["One run."]})
    for words in (
        "4.6 million",
        "15.0 | 50%",
        "1.50 M",
        "greeting 50%",
        "  * + Hi.",
        "  * - Hi.",
        "One run.",
    ):
        assert words in text
    assert "Evaluation" not in card.render(shape, {}, {})
