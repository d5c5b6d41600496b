"""What all generators share: turns from texts, choice by weight, and how people type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from training.text.library import held_out, normalise

if TYPE_CHECKING:
    from training.text.library import Dialogue

Maker = Callable[[Random], "Dialogue"]


def words(text: str, mark: str | None = None) -> list[str]:
    """The words of `text`, or its parts between marks."""
    return text.split(mark)


ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
TENS = words("twenty thirty forty fifty sixty seventy eighty ninety")


def said(*texts: str) -> Dialogue:
    """A dialogue of these texts, the user first."""
    return [("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]


def pick(rng: Random, text: str) -> str:
    """One of the wordings in `text`, which are separated by " / "."""
    return rng.choice(text.split(" / "))


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def number_word(number: int) -> str:
    """The English word for a number from 0 to 100."""
    if number < len(ONES):
        return ONES[number]
    if number == 100:
        return "one hundred"
    ten, one = divmod(number, 10)
    return TENS[ten - 2] + (f"-{ONES[one]}" if one else "")


def listed(items: Sequence[str], last: str = "and") -> str:
    """The items as a list in a sentence: a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def typed(rng: Random, text: str) -> str:
    """The text as people type it: six of ten times as it is, else without capitals or the last mark."""
    dice = rng.random()
    if dice < 0.6:
        return text
    if dice < 0.7:
        return text.rstrip("?.!")
    lowered = text.lower()
    return lowered if dice < 0.75 else lowered.rstrip("?.!")


def with_articles(text: str) -> str:
    """The text with "an" where a slot put a vowel behind "a"."""
    return re.sub(r"\b([Aa]) (?!eu|one)(?=[aeio]\w)", r"\1n ", text)


def stream(rng: Random, n: int, makers: Sequence[tuple[int, Maker]]) -> Iterator[Dialogue]:
    """Dialogues `n` times from makers drawn by weight; user turns as typed, none that is a held-out prompt."""
    banned = held_out()
    weights = [weight for weight, _ in makers]
    made = 0
    while made < n:
        maker = rng.choices(makers, weights)[0][1]
        spoken = [(role, with_articles(text)) for role, text in maker(rng)]
        turns = [(role, typed(rng, text) if role == "user" else text) for role, text in spoken]
        if any(normalise(text) in banned for _, text in turns):
            continue
        made += 1
        yield turns
