"""What state tuning takes and gives back: lessons, the recipe, the result. Knows no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LEAST_FOR_HELD_OUT = 5
"""With fewer lessons none is held out; all of them measure."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One example, in pieces that are encoded one by one, as a chat encodes them."""

    pieces: tuple[tuple[str, bool], ...]
    """Text, and whether the model shall learn to write it."""
    start_ids: tuple[int, ...] = ()
    """Ids that are read before it."""


@dataclass(frozen=True, slots=True)
class TuneRecipe:
    """How a state is trained; the numbers are the author's."""

    repeats: int = 4
    """How often each lesson is seen."""
    lr: float = 1.0
    lr_final: float = 0.01
    warm_up: int = 10
    held_out: float = 0.2
    """Share of the lessons that only measure."""
    patience: int = 6
    """Stop after so many measurements without a better one, two to a repeat; 0 never."""
    n_context: int = 1024
    """Tokens of a lesson; what is longer is cut."""
    seed: int = 1

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step: a short warm-up, then half a cosine down to `lr_final`."""
        if step < self.warm_up:
            return self.lr * (0.01 + 0.99 * step / self.warm_up)
        done = (step - self.warm_up) / max(1, steps - self.warm_up)
        return self.lr_final + (self.lr - self.lr_final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it."""

    path: Path
    n_lessons: int
    n_held_out: int
    """0: the lessons themselves measured."""
    n_steps: int
    """That were made, those before an interruption too."""
    best_step: int
    before: float
    """Loss in nats a token with the state that a chat begins with: on what is held out, else on the lessons."""
    after: float
    """The same with the state that was written."""
    is_complete: bool
    """False if it was stopped; the same call again goes on."""
    seconds: float

    @property
    def gain(self) -> float:
        """By which share the loss fell."""
        return 1 - self.after / self.before if self.before > 0 else 0.0


def progress_file(path: Path) -> Path:
    """Where a run that is not over keeps its place."""
    return path.with_name(f"{path.name}.progress")
