"""Which tokens survive: every filter masks from the same softmax, and the masks are combined.

The tokens are ranked only as far as a filter asks; of 65,536 hardly ever more than 256.

V vocabulary   p probabilities of the one softmax
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from chatrwkv.engine.params import SamplingParams

    Floats = NDArray[np.floating[Any]]
    Ids = NDArray[np.intp]

_COLUMNS = 1024  # see Ranking
_FIRST = 256  # tokens ranked at first: top-p 0.3 to 0.9 keeps fewer nearly always


class Ranking:
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


def _descending(p: Floats) -> Ids:
    """The stable order of float32 numbers >= 0 from high to low."""
    if len(p) < 2000:
        return np.argsort(-p, kind="stable")
    # NumPy sorts 16-bit integers by counting; two passes over the bits take a fifth of its float sort.
    bits = ~p.view(np.uint32)
    low = np.argsort(bits.astype(np.uint16), kind="stable")
    return low[np.argsort((bits >> np.uint32(16)).astype(np.uint16)[low], kind="stable")]


def surviving(ranking: Ranking, params: SamplingParams) -> Ids | int:
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


def unsurprising(ranking: Ranking, mu: float) -> int:
    """How many tokens mirostat lets stand: up to and with the first whose surprise exceeds `mu` bits.

    Source: architectures sheet 15.3 (ai00), without its top-k.
    """
    floor = 2.0 ** min(-mu, 64.0)  # forced tokens that nobody expected press the bound down without end
    while (n := ranking.first_below(floor)) is None:
        ranking.extend()
    return min(n + 1, len(ranking.ids))


def _cut(ranking: Ranking, params: SamplingParams) -> int | None:
    """How many tokens the filters that cut from below let stand; None if the ranking is too short to tell."""
    best = float(ranking.p[0])
    limits: list[int | None] = []
    if params.top_k and (params.top_k <= len(ranking.ids) or ranking.is_complete):
        limits.append(params.top_k)
    if params.top_p < 1:  # 1 is no cut: the float sum may end below it and would then keep the best alone
        at = int(np.searchsorted(ranking.cum, params.top_p))  # the first whose sum reaches top_p
        if at < len(ranking.p):
            limit = min(float(ranking.p[at]), params.top_p_x)
            limits.append(ranking.first_below(limit))  # equals of the last one stay, too
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
