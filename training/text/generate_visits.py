"""Whole first visits: hello, a name, what are you, a story, a sum, thanks and bye, in one conversation."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from training.text import (
    generate_arithmetic,
    generate_facts,
    generate_memory,
    generate_stories,
    generate_topics,
    library,
    names,
)
from training.text.memories import NAMES
from training.text.wording import stream, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from training.text.library import Dialogue, Intent

MAX_CHARS = 1500  # some 480 tokens of the built-in vocabulary: a visit fits into a training row of 512

OPENINGS = words(
    "greet_hello greet_hello greet_hello greet_morning greet_evening nice_to_meet greet_whats_up"
)
# The middle of a visit by what it is about; each word is an intent.
MIDDLES = (
    words("how_are_you how_are_you how_are_you user_good user_tired user_bored"),
    words(
        "self_name self_name self_who self_who self_what self_human self_maker self_age self_where self_size self_smart"
    ),
    words("self_can_do self_can_do self_help_me self_offline self_private self_memory app_rwkv app_chatrwkv"),
    words("story_any story_any joke joke riddle poem fun_fact surprise_me tongue_twister"),
    words(
        "why_sky_blue why_sky_blue why_rain why_sea_salty why_leaves_fall why_sleep what_moon what_sun def_snail def_cat"
    ),
    words(
        "app_stop app_regenerate app_fork app_undo app_save_state app_quit app_bigger_model app_new_chat app_help_keys"
    ),
    words(
        "weather_now time_now news gibberish translate_help arithmetic_help write_code praise laugh wow thanks"
    ),
)
CLOSINGS = (words("thanks praise wow"), words("bye bye bye greet_night"))
GENERATORS = (
    generate_arithmetic.dialogues,
    generate_facts.dialogues,
    generate_facts.dialogues,
    generate_stories.dialogues,
    generate_topics.dialogues,
)


@cache
def _intents() -> dict[str, Intent]:
    return {intent.name: intent for _, found in library.intents() for intent in found}


def _turns(rng: Random, name: str) -> Dialogue:
    """One exchange of the intent, now and then with its follow-up."""
    intent = _intents()[name]
    turns = [("user", rng.choice(intent.ask)), ("assistant", rng.choice(intent.answer))]
    if intent.follow_ask and rng.random() < 0.3:
        turns += [("user", rng.choice(intent.follow_ask)), ("assistant", rng.choice(intent.follow_answer))]
    return turns


def visit(rng: Random) -> Dialogue:
    """Opening, a middle in any order, closing; at times with a name that is asked for near the end."""
    turns = _turns(rng, rng.choice(OPENINGS))
    name = ""
    if rng.random() < 0.4:
        name = names.drawn(rng) if rng.random() < generate_memory.RARE_SHARE else rng.choice(NAMES)
        told = generate_memory.told_name(rng, name)
        turns += told
    parts = [_turns(rng, rng.choice(group)) for group in rng.sample(MIDDLES, rng.randint(2, 5))]
    parts += [next(make(rng, 1)) for make in rng.sample(GENERATORS, rng.choice((0, 1, 1, 2, 3)))]
    rng.shuffle(parts)
    closing = [turn for group in CLOSINGS if rng.random() < 0.5 for turn in _turns(rng, rng.choice(group))]
    if name:
        closing = [*generate_memory.asked_name(rng, name), *closing]
    room = MAX_CHARS - sum(len(text) + 14 for _, text in turns + closing)
    for more in parts:
        room -= sum(len(text) + 14 for _, text in more)  # 14: "User: " or "Assistant: " and the blank line
        if room < 0:
            break
        turns += more
    return turns + closing


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` visits."""
    return stream(rng, n, ((1, visit),))
