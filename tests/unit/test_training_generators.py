"""Dialogues whose later turns lean on the earlier ones, and wishes put together from parts."""

from __future__ import annotations

from random import Random

from training.text import generate_arithmetic, generate_followups, generate_talk, generate_wishes, library

SEEDS = range(60)
NAMES = {intent.name for _, found in library.intents() for intent in found}


def test_say_that_again_gets_the_same_answer() -> None:
    """Anything else would be a new answer, not a repeated one."""
    for seed in SEEDS:
        turns = generate_followups.again(Random(seed))
        assert turns[1][1] == turns[3][1]


def test_what_did_i_ask_gets_the_question_back() -> None:
    """The reply has to be copied from two turns before."""
    for seed in SEEDS:
        turns = generate_followups.asked(Random(seed))
        assert turns[3][1] == f'You asked: "{turns[0][1]}"'


def test_a_shorter_answer_is_the_start_of_the_long_one() -> None:
    """A summary that the model cannot make would teach it to invent."""
    for seed in SEEDS:
        turns = generate_followups.shorter(Random(seed))
        assert turns[1][1].startswith(turns[3][1])
        assert turns[1][1] != turns[3][1]


def test_another_one_is_never_the_one_before() -> None:
    """ "Another joke" that is the same joke is what people laugh at for the wrong reason."""
    for seed in SEEDS:
        replies = [text for role, text in generate_followups.another(Random(seed)) if role == "assistant"]
        assert len(set(replies)) == len(replies) > 1


def test_a_thing_named_once_is_named_again_only_in_the_replies() -> None:
    """The later questions say "it" and "there": the name must come from the turn before."""
    for seed in SEEDS:
        turns = generate_followups.animal(Random(seed))
        name = turns[3][1].split()[2 if turns[3][1].startswith("A young ") else 1]
        assert name in turns[0][1].lower()
        assert all(name not in text.lower().split() for role, text in turns[2:] if role == "user")


def test_wishes_and_talk_name_intents_that_exist() -> None:
    """An intent that is renamed would otherwise fail only after minutes of mixing."""
    assert {*generate_wishes.APP, *generate_wishes.GIFTS, *generate_talk.PARTS} <= NAMES


def test_short_stories_count_right() -> None:
    """A table of wrong sums is learnt as well as a right one."""
    for seed in SEEDS:
        reply = generate_arithmetic.story_short(Random(seed))[1][1].split()
        a, sign, b, result = int(reply[0]), reply[1], int(reply[2]), int(reply[4].rstrip(","))
        assert result == (a + b if sign == "plus" else a - b) > 0
