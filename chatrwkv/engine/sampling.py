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
_COLUMNS = 1024  # see _Ranking
_FIRST = 256  # tokens ranked at first: top-p 0.3 to 0.9 keeps fewer nearly always
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
        ranking = _Ranking(p)
        if self.params.temperature == 0:
            token_id = int(ranking.ids[0])
        else:
            token_id = _draw(ranking, _kept(ranking, self.params), self.params, uniform(self.seed, position))
        return _picked(ranking, token_id)

    def weigh(self, logits: Tensor | Floats, position: int, token_id: int) -> Picked:
        """What `pick` would report if it had drawn `token_id`.

        Raises:
            NumericalError: as `pick`.
        """
        return _picked(_Ranking(self._probabilities(logits, position)), token_id)

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


class _Ranking:
    """Tokens by (probability descending, id ascending), sorted only as far as somebody asks.

    The first 256 of 65,536 are found without sorting: seen as a table of 1,024 columns, the 256th largest
    column maximum is a probability that at least 256 tokens reach; those that do are a complete beginning
    of the order. 40 us; a partition takes 540, a whole sort 1,400.
    """

    def __init__(self, probabilities: Floats) -> None:
        self._all = probabilities
        n_rows = len(probabilities) // _COLUMNS
        if n_rows < 2:
            self._take(0.0)
            return
        maxima = probabilities[: n_rows * _COLUMNS].reshape(n_rows, _COLUMNS).max(0)
        self._take(float(np.partition(maxima, -_FIRST)[-_FIRST]))

    def extend(self) -> None:
        """Rank more tokens; the threshold falls by 16 each time."""
        self._take(0.0 if len(self.ids) > len(self._all) // 8 else self._threshold / 16)

    def _take(self, threshold: float) -> None:
        self._threshold = threshold
        self.is_complete = threshold == 0
        found = np.flatnonzero(self._all > 0 if self.is_complete else self._all >= threshold)
        p = self._all[found]
        order = _descending(p)  # `found` ascends, so equal ones stay in order of id
        self.ids: Ids = found[order]
        """Those that have any probability, as far as they are ranked."""
        self.p: Floats = p[order].astype(np.float64)
        self.cum: Floats = np.cumsum(self.p)

    def first_below(self, limit: float) -> int | None:
        """How many have p >= limit; None if that is not known yet."""
        n = int(np.searchsorted(-self.p, -limit, side="right"))
        return n if n < len(self.p) or self.is_complete else None

    @property
    def all(self) -> Floats:
        """(V,) float32 in order of id."""
        return self._all


def _picked(ranking: _Ranking, token_id: int) -> Picked:
    ids, best = ranking.ids[:N_TOP].tolist(), ranking.p[:N_TOP].tolist()
    top = tuple((i, math.log(chance)) for i, chance in zip(ids, best, strict=True))
    return Picked(token_id, math.log(max(float(ranking.all[token_id]), _LEAST)), top)


def _descending(p: Floats) -> Ids:
    """The stable order of float32 numbers >= 0 from high to low."""
    if len(p) < 2000:
        return np.argsort(-p, kind="stable")
    # NumPy sorts 16-bit integers by counting; two passes over the bits take a fifth of its float sort.
    bits = ~p.view(np.uint32)
    low = np.argsort(bits.astype(np.uint16), kind="stable")
    return low[np.argsort((bits >> np.uint32(16)).astype(np.uint16)[low], kind="stable")]


def _kept(ranking: _Ranking, params: SamplingParams) -> Ids | int:
    """Which tokens survive all filters: so many from the top, or indices into the ranking."""
    n = _cut(ranking, params)
    while n is None:
        if ranking.is_complete:
            n = len(ranking.ids)
        elif params.top_k or params.top_p < 1 or params.top_a or params.min_p:
            ranking.extend()
            n = _cut(ranking, params)
        else:
            n = len(ranking.all)
    n = max(n, 1)
    if params.typical >= 1:
        return n
    typical = _typical(ranking.all, params.typical)
    while not ranking.is_complete and ranking.p[-1] > ranking.all[typical].min():
        ranking.extend()
    survives = np.isin(ranking.ids[:n], typical)
    survives[0] = True
    return np.flatnonzero(survives)


def _cut(ranking: _Ranking, params: SamplingParams) -> int | None:
    """How many tokens the filters that cut from below let stand; None if the ranking is too short to tell."""
    best = float(ranking.p[0])
    limits: list[int | None] = []
    if params.top_k and (params.top_k <= len(ranking.ids) or ranking.is_complete):
        limits.append(params.top_k)
    if params.top_p < 1:  # 1 is no cut: the float sum may end below it and would then keep the best alone
        at = int(np.searchsorted(ranking.cum, params.top_p))  # the first whose sum reaches top_p
        if at < len(ranking.p):
            limits.append(ranking.first_below(float(ranking.p[at])))  # its equals stay too
    if params.top_a:
        limits.append(ranking.first_below(params.top_a * best**params.top_a_power))
    if params.min_p:
        limits.append(ranking.first_below(params.min_p * best))
    return min((n for n in limits if n is not None), default=None)


def _typical(p: Floats, mass: float) -> Ids:
    """Locally typical: nearest to the entropy in surprise first, up to and with the one that exceeds `mass`.

    Source: architectures sheet 15.3 (ai00), without its top-k and with this module's one softmax.
    """
    surprise = -np.log(np.maximum(p, 1e-37))  # 1e-37 is still normal in float32; p ln p is 0 there
    distance = np.abs(surprise - float(np.sum(p * surprise, dtype=np.float64)))
    radius, n = 0.25, 0
    while True:
        near = np.flatnonzero(distance <= radius)
        # A radius at which half the tokens are near will soon need all of them.
        if p[near].sum(dtype=np.float64) > mass or n == len(p):
            break
        radius, n = (math.inf, len(p)) if len(near) > len(p) // 2 else (2 * radius, len(near))
    near = near[np.argsort(distance[near], kind="stable")]
    cum = np.cumsum(p[near], dtype=np.float64)
    return near[: int(np.searchsorted(cum, mass, side="right")) + 1]


def _draw(ranking: _Ranking, kept: Ids | int, params: SamplingParams, chance: float) -> int:
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


# Philox 4x64, 10 rounds: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
_ROUNDS = 10
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_MASK = (1 << 64) - 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Four random words of 64 bits: a pure function, so any draw can be made again without those before."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        a, b = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (b >> 64) ^ c1 ^ k0, b & _MASK, (a >> 64) ^ c3 ^ k1, a & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 random bits. A negative or long seed is taken modulo 2^128."""
    key = seed & _MASK, (seed >> 64) & _MASK
    return (philox((position, 0, 0, 0), key)[0] >> 11) * 2.0**-53
