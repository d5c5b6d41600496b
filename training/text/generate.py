"""All generators as one, with shares that suit how hard each subject is to learn."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from training.text import (
    generate_arithmetic,
    generate_facts,
    generate_followups,
    generate_memory,
    generate_stories,
    generate_talk,
    generate_topics,
    generate_visits,
    generate_wishes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.text.library import Dialogue

SHARES = (
    (generate_arithmetic.dialogues, 0.25),
    (generate_facts.dialogues, 0.25),
    (generate_memory.dialogues, 0.24),
    (generate_followups.dialogues, 0.12),
    (generate_stories.dialogues, 0.10),
    (generate_topics.dialogues, 0.08),
    (generate_visits.dialogues, 0.06),
    (generate_talk.dialogues, 0.12),
    (generate_wishes.dialogues, 0.16),
)


def dialogues(rng: Random, n: int) -> Iterator[Dialogue]:
    """`n` dialogues of all kinds, mixed; the same random state gives the same dialogues."""
    streams = [make(Random(rng.random()), n) for make, _ in SHARES]
    weights = [share for _, share in SHARES]
    for _ in range(n):
        yield next(rng.choices(streams, weights)[0])


def main() -> None:
    """Print a few dialogues to look at."""
    for turns in dialogues(Random(0), 20):
        print(" | ".join(text for _, text in turns))


if __name__ == "__main__":
    main()
