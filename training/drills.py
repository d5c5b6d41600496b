"""What only code can write: letters without sense, answered honestly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_ONSETS = [
    "bl",
    "cr",
    "d",
    "f",
    "gr",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "sk",
    "t",
    "v",
    "w",
    "z",
    "fn",
    "wh",
    "qu",
    "x",
    "j",
]
_VOWELS = ["a", "e", "i", "o", "u", "oo", "ee"]
_KEYS = "asdfghjklqwertyuiopzxcvbnm"
_REPLIES = (
    "I did not understand that. Can you say it in other words?",
    "Sorry, I do not know these words.",
    "That does not look like words to me. What do you mean?",
    "I am not sure what that means. Please say it again.",
    "I do not understand. Could you try other words?",
)


def _word(rng: random.Random) -> str:
    if rng.random() < 0.4:
        return "".join(rng.choice(_KEYS) for _ in range(rng.randint(3, 8)))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(2, 4)))


def nonsense(rng: random.Random) -> list[tuple[str, str]]:
    """A line of nonsense and a reply that says so."""
    text = " ".join(_word(rng) for _ in range(rng.randint(1, 5))) + rng.choice(("", "", ".", "?", "!"))
    return [("user", text.capitalize() if rng.random() < 0.3 else text), ("assistant", rng.choice(_REPLIES))]
