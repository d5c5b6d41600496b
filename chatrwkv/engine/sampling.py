"""Drawing one token from logits. Knows no model; NumPy only, so every backend and batch draws alike.

The order is fixed: bans, penalties, one float32 softmax; every filter masks from that same softmax and the
masks are combined (the likeliest token always stays); then temperature as a power, renormalise, draw. The
cut before the temperature is RWKV's convention: after it, other tokens survive.

Chance is one uniform a draw, a pure function of (seed, position), inverted over the kept tokens in the order
(probability descending, id ascending). What has to be stored to draw again is (seed, position).

V vocabulary   p probabilities of the one softmax
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chatrwkv.engine.chance import uniform
from chatrwkv.engine.filters import Ranking, surviving
from chatrwkv.engine.tokens.tokenizer import END
from chatrwkv.errors import NumericalError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    from chatrwkv.engine.params import SamplingParams
    from chatrwkv.engine.tokens.tokenizer import Tokenizer

    Floats = NDArray[np.floating[Any]]
    Ids = NDArray[np.intp]

N_TOP = 8  # candidates reported with each token
_WEIGHTLESS = " \t0123456789"
_LEAST = 1e-38  # stands for 0 where a token is weighed that could not be drawn


@dataclass(frozen=True, slots=True)
class Picked:
    """A drawn token; log-probabilities are those of the softmax after bans and penalties, before any cut."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The 8 likeliest as (id, logprob)."""


class Sampler:
    """Draws the tokens of one reply and keeps its penalty counts.

    Args:
        params: the settings; without a seed a fresh one is drawn, see `seed`.
        n_vocab: V of the model.
        banned: ids that must never be drawn, beside those of `params`.
        weightless: ids whose counts stay 0, see `weightless_ids`.
        end_id: banned before `min_tokens`.
    """

    def __init__(
        self,
        params: SamplingParams,
        n_vocab: int,
        banned: Iterable[int] = (),
        weightless: frozenset[int] = frozenset(),
        end_id: int | None = END,
    ) -> None:
        self.params = params
        self._end_id = end_id
        # 32 bits: short enough to be read out and typed in again.
        self.seed = secrets.randbits(32) if params.seed is None else params.seed
        self.n_vocab = n_vocab
        barred = sorted(i for i in {*banned, *params.banned} if 0 <= i < n_vocab)
        self._banned = np.array(barred, dtype=np.intp)
        self._weightless = weightless
        self._penalises = params.presence != 0 or params.frequency != 0
        self._slots: dict[int, int] = {}
        self._ids = np.zeros(64, dtype=np.intp)
        self._counts = np.zeros(64)

    def pick(self, logits: Tensor | Floats, position: int) -> Picked:
        """The token at `position` of the reply, counted from 0. Nothing of `logits` or of self changes.

        Raises:
            NumericalError: the logits hold NaN or +inf, or every token is banned.
        """
        p = self._probabilities(logits, position)
        ranking = Ranking(p)
        if self.params.temperature == 0:
            token_id = int(ranking.ids[0])
        else:
            token_id = _draw(
                ranking, surviving(ranking, self.params), self.params, uniform(self.seed, position)
            )
        return _picked(ranking, token_id)

    def weigh(self, logits: Tensor | Floats, position: int, token_id: int) -> Picked:
        """What `pick` would report if it had drawn `token_id`.

        Raises:
            NumericalError: as `pick`.
        """
        return _picked(Ranking(self._probabilities(logits, position)), token_id)

    def accept(self, token_id: int) -> None:
        """Count a token of the reply for the penalties of the next: all counts decay, then its own grows.

        As in the `rwkv` package: an entry never leaves, so the presence penalty stays in full.
        """
        if not self._penalises:
            return
        n = len(self._slots)
        slot = self._slots.setdefault(token_id, n)
        if slot == len(self._ids):
            self._ids, self._counts = np.resize(self._ids, 2 * slot), np.resize(self._counts, 2 * slot)
        self._counts[:n] *= self.params.decay
        if slot == n:
            self._ids[slot], self._counts[slot] = token_id, 0.0
        self._counts[slot] += token_id not in self._weightless

    def _probabilities(self, logits: Tensor | Floats, position: int) -> Floats:
        """Bans, penalties and the one softmax."""
        x = np.array(logits if isinstance(logits, np.ndarray) else logits.numpy(), dtype=np.float32)
        if x.shape != (self.n_vocab,):
            raise NumericalError(f"The model gave logits of the shape {x.shape}, not {(self.n_vocab,)}.")
        if not x.max() < math.inf:  # NaN too: every comparison with it is false
            raise NumericalError(
                "The model's output is not a number.",
                hint="Try another precision (bf16 or fp32 instead of fp16) or another model file.",
            )
        x[self._banned] = -math.inf
        if position < self.params.min_tokens and self._end_id is not None:
            x[self._end_id] = -math.inf
        n = len(self._slots)
        if n:
            ids = self._ids[:n]
            x[ids] -= (self.params.presence + self._counts[:n] * self.params.frequency).astype(np.float32)
        best = x.max()
        if best == -math.inf:
            raise NumericalError("Every token is banned.", hint="Ban fewer tokens.")
        x -= best
        np.exp(x, out=x)
        x /= x.sum()
        return x


def weightless_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens whose count is never raised: parts of "space tab 0123456789", so '12' but not '13'.

    The rule of the `rwkv` package's `generate`. Their presence penalty stays. Without it columns of numbers
    and indented code degenerate.
    """
    spans = {_WEIGHTLESS[a:b] for b in range(len(_WEIGHTLESS) + 1) for a in range(b)}
    encoded = (tokenizer.encode(span) for span in spans)
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)


def _picked(ranking: Ranking, token_id: int) -> Picked:
    ids, best = ranking.ids[:N_TOP].tolist(), ranking.p[:N_TOP].tolist()
    top = tuple((i, math.log(chance)) for i, chance in zip(ids, best, strict=True))
    return Picked(token_id, math.log(max(float(ranking.all[token_id]), _LEAST)), top)


def _draw(ranking: Ranking, kept: Ids | int, params: SamplingParams, chance: float) -> int:
    """The kept token at the place `chance` (in [0, 1)) of their cumulated weights."""
    best, power = float(ranking.p[0]), 1 / params.temperature

    def weights(p: Floats) -> Floats:
        # Relative to the best, so that a small temperature cannot underflow them all.
        return p if power == 1 else (p / best) ** power

    if isinstance(kept, int) and kept > len(ranking.ids) and not ranking.is_complete:
        total = float(weights(ranking.all.astype(np.float64)).sum())
        while (cum := np.cumsum(weights(ranking.p)))[-1] <= chance * total and not ranking.is_complete:
            ranking.extend()
        ids = ranking.ids
    else:
        chosen = slice(kept) if isinstance(kept, int) else kept
        ids, cum = ranking.ids[chosen], np.cumsum(weights(ranking.p[chosen]))
        total = float(cum[-1])
    at = int(np.searchsorted(cum, chance * total, side="right"))
    return int(ids[min(at, len(ids) - 1)])
