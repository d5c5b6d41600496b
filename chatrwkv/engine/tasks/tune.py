"""State tuning: the state before the first token is trained on a few examples, the weights stay as they are.

What is trained: from RWKV-5.0 on the matrix of each head, (L, H, N, N); in 4 the sums aa and bb of each
channel, (L, C), with the exponent pp at 0. It runs in float32 through the family's pure `forward`, whatever
the precision of the loaded model. One lesson is one step, as in the author's recipe: Adam, rate 1 to 0.01,
10 warm-up steps, every lesson seen a few times.

L layers   B rows, here 1   T tokens   H heads   N head size   C n_embd   V vocabulary
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from chatrwkv.engine.layouts import KNOWN
from chatrwkv.engine.model import in_float32
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.tasks.lessons import LEAST_FOR_HELD_OUT, Tuned, TuneRecipe
from chatrwkv.engine.tasks.persona import read_progress, write_persona, write_progress
from chatrwkv.errors import BadValue, NumericalError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.state import State
    from chatrwkv.engine.tasks.lessons import Lesson

BETAS, EPS = (0.9, 0.99), 1e-8


@dataclass(slots=True)
class _Encoded:
    ids: Tensor  # (1, T)
    learnt: Tensor  # (T - 1,) 1.0 where the next token counts

    @property
    def weight(self) -> float:
        return float(self.learnt.sum())


@dataclass(slots=True)
class _Progress:
    """Everything that the rest of a run depends on; plain values and tensors."""

    step: int = 0
    best_step: int = 0
    best: float = math.inf
    worse: int = 0
    before: float = math.nan
    state: dict[str, Tensor] = field(default_factory=dict)
    best_state: dict[str, Tensor] = field(default_factory=dict)
    adam: dict[str, Any] = field(default_factory=dict)


def tune(
    loaded: LoadedModel,
    cancelled: Callable[[], bool],
    progress: Callable[[int, int, str], None],
    *,
    lessons: Sequence[Lesson],
    path: Path,
    recipe: TuneRecipe | None = None,
    held_out: Sequence[Lesson] = (),
) -> Generator[None, None, Tuned]:
    """Train the initial state on `lessons` and write the best one to `path`; a pause after each step.

    A run that was stopped leaves `path` with the best so far and `path.progress` with the rest; the same call
    goes on from there and ends with the same bits.

    Args:
        loaded: the model; on the engine thread.
        cancelled: asked before each step; what is best so far is kept then.
        progress: told step, steps and the losses.
        lessons: to learn from.
        path: where to.
        recipe: the author's unless given.
        held_out: measures instead of a share of the lessons.

    Raises:
        BadValue: there is nothing to learn, or the generation has no state of fixed size.
        NumericalError: the state left the range of numbers; a smaller rate helps.
    """
    start = time.perf_counter()
    run = _Run(loaded, lessons, held_out, recipe or TuneRecipe())
    if (place := read_progress(path, run.key)) is not None:
        run.resume(_Progress(**place))
    else:
        progress(0, run.n_steps, "measuring the blank state")
        yield from run.measure_blank()
    while not (run.is_over or cancelled()):
        loss = run.step()
        yield
        if run.at.step % run.every == 0 or run.at.step == run.n_steps:
            yield from run.measure()
            write_progress(path, run.key, run.saved())
        what = f"tuning: loss {loss:.3f}, best {run.at.best:.3f}, blank {run.at.before:.3f}"
        progress(run.at.step, run.n_steps, what)
    write_persona(path, run.best())
    write_progress(path, run.key, None if run.is_over else run.saved())
    return run.result(path, seconds=time.perf_counter() - start)


class _Run:
    """One training in progress."""

    def __init__(
        self, loaded: LoadedModel, lessons: Sequence[Lesson], held_out: Sequence[Lesson], recipe: TuneRecipe
    ) -> None:
        generation = loaded.model.spec.generation
        if generation not in KNOWN:
            raise BadValue(
                f"{loaded.name} is an RWKV-{generation}, for which tuned states have no form.",
                hint="Tune a model of RWKV-4 to 7.",
            )
        self._model = in_float32(loaded)
        self._recipe = recipe
        encoded = [e for lesson in lessons if (e := self._encoded(loaded, lesson)) is not None]
        if not encoded:
            raise BadValue("There is nothing to learn from.", hint="Give at least one example with a reply.")
        measured = [e for lesson in held_out if (e := self._encoded(loaded, lesson)) is not None]
        order = random.Random(recipe.seed)  # noqa: S311 -- the order of lessons is no secret
        if not measured and len(encoded) >= LEAST_FOR_HELD_OUT and recipe.held_out > 0:
            order.shuffle(encoded)
            n = min(len(encoded) - 1, max(1, round(recipe.held_out * len(encoded))))
            measured, encoded = encoded[:n], encoded[n:]
        self.lessons, self.measured = encoded, measured
        self._order: list[int] = []
        for _ in range(recipe.repeats):
            self._order += order.sample(range(len(encoded)), len(encoded))
        self.n_steps = len(self._order)
        self.every = max(4, len(encoded) // 2)
        self.key = _key(loaded, [*self.lessons, *self.measured], recipe)
        start = loaded.model.blank()  # of a merged model not zero
        self._start = Scratch.stack([start], self._model.device).tensors
        names = ("wkv",) if "wkv" in self._start else ("aa", "bb")
        self.trained = {name: self._start[name].clone().requires_grad_() for name in names}
        self._adam = torch.optim.Adam(self.trained.values(), lr=recipe.lr, betas=BETAS, eps=EPS)
        self.at = _Progress(best_state=self._copy())

    def _encoded(self, loaded: LoadedModel, lesson: Lesson) -> _Encoded | None:
        ids, learnt = list(lesson.start_ids), [0.0] * len(lesson.start_ids)
        for text, counts in lesson.pieces:
            piece = loaded.tokenizer.encode(text)
            ids += piece
            learnt += [float(counts)] * len(piece)
        ids, learnt = ids[: self._recipe.n_context], learnt[: self._recipe.n_context]
        if not sum(learnt[1:]):
            return None
        device = self._model.device
        return _Encoded(torch.tensor([ids], device=device), torch.tensor(learnt[1:], device=device))

    def resume(self, at: _Progress) -> None:
        """Go on from a saved place."""
        with torch.no_grad():
            for name, tensor in self.trained.items():
                tensor.copy_(at.state[name])
        self._adam.load_state_dict(at.adam)
        self.at = at

    def saved(self) -> dict[str, Any]:
        """What `resume` needs."""
        self.at.state, self.at.adam = self._copy(), self._adam.state_dict()
        return {name: getattr(self.at, name) for name in _Progress.__slots__}

    @property
    def is_over(self) -> bool:
        """Whether all steps are made, or it got no better for long enough."""
        return self.at.step == self.n_steps or 0 < self._recipe.patience <= self.at.worse

    def _loss(self, lesson: _Encoded) -> Tensor:
        """Sum of the loss of what is learnt, in nats."""
        state = {**self._start, **self._as_state()}
        logits, _ = self._model.forward(lesson.ids[:, :-1], state, None, all_logits=True)
        losses = F.cross_entropy(logits[0], lesson.ids[0, 1:], reduction="none")
        return (losses * lesson.learnt).sum()

    def _as_state(self) -> dict[str, Tensor]:
        if "bb" not in self.trained:
            return dict(self.trained)
        # a denominator cannot be negative, and its numerator is counted in units of e^0
        return {
            "aa": self.trained["aa"],
            "bb": self.trained["bb"].abs(),
            "pp": torch.zeros_like(self._start["pp"]),
        }

    def step(self) -> float:
        """One lesson; its loss in nats a token."""
        lesson = self.lessons[self._order[self.at.step]]
        rate = self._recipe.rate(self.at.step, self.n_steps)
        for group in self._adam.param_groups:
            group["lr"] = rate
        with torch.enable_grad():
            loss = self._loss(lesson) / lesson.weight
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.at.step += 1
        if not math.isfinite(value := loss.item()):
            raise NumericalError("The state left the range of numbers.", hint="Tune with a smaller rate.")
        return value

    def _mean(self, lessons: Iterable[_Encoded]) -> Generator[None, None, float]:
        total = weight = 0.0
        for lesson in lessons:
            with torch.no_grad():
                total += float(self._loss(lesson))
            weight += lesson.weight
            yield
        return total / weight

    def measure_blank(self) -> Generator[None, None, None]:
        """The loss before anything is learnt, which is the first to beat."""
        self.at.before = self.at.best = yield from self._mean(self.measured or self.lessons)

    def measure(self) -> Generator[None, None, None]:
        """Keep the state if it is the best so far."""
        loss = yield from self._mean(self.measured or self.lessons)
        if loss < self.at.best:
            self.at.best, self.at.best_step, self.at.worse = loss, self.at.step, 0
            self.at.best_state = self._copy()
        else:
            self.at.worse += 1

    def result(self, path: Path, *, seconds: float) -> Tuned:
        """The numbers of the run."""
        return Tuned(
            path=path,
            n_lessons=len(self.lessons),
            n_held_out=len(self.measured),
            n_steps=self.at.step,
            best_step=self.at.best_step,
            before=self.at.before,
            after=self.at.best,
            is_complete=self.is_over,
            seconds=seconds,
        )

    def best(self) -> State:
        """The state to be written."""
        return Scratch({**self._start, **self.at.best_state}).freeze(0)

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._as_state().items()}


def _key(loaded: LoadedModel, lessons: Iterable[_Encoded], recipe: TuneRecipe) -> str:
    """Tells runs apart: a saved place of another model, other lessons or another recipe is not gone on from."""
    total = sha256(f"{loaded.model.spec.fingerprint};{asdict(recipe)}".encode())
    for lesson in lessons:
        total.update(f"{lesson.ids.tolist()}{lesson.learnt.tolist()}".encode())
    return total.hexdigest()
