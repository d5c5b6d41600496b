"""Which tokens survive: every filter masks from the same softmax, and the masks are combined.

The tokens are ranked only as far as a filter asks; of 65,536 hardly ever more than 64.

V vocabulary   p probabilities of the one softmax   w weights of a ranking: p over that of the likeliest
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from chatrwkv.engine.params import SamplingParams
    from chatrwkv.engine.ranking import Ranking

    Floats = NDArray[np.floating[Any]]
    Ids = NDArray[np.intp]


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
            n = ranking.n_vocab
    n = max(n, 1)
    if params.typical >= 1:
        return n
    ranking.settle()
    typical = _typical(ranking.whole / np.float32(ranking.total), params.typical)
    while not ranking.is_complete and ranking.w[-1] > ranking.whole[typical].min():
        ranking.extend()
    survives = np.isin(ranking.ids[:n], typical)
    survives[0] = True
    return np.flatnonzero(survives)


def unsurprising(ranking: Ranking, mu: float) -> int:
    """How many tokens mirostat lets stand: up to and with the first whose surprise exceeds `mu` bits.

    Source: architectures sheet 15.3 (ai00), without its top-k.
    """
    floor = unsurprising_floor(mu)
    while (n := ranking.n_from(lambda total: floor * total)) is None:
        ranking.extend()
    return min(n + 1, len(ranking.ids))


def unsurprising_floor(mu: float) -> float:
    """The probability whose surprise is `mu` bits."""
    # forced tokens that nobody expected press the bound down without end
    return math.pow(2.0, min(-mu, 64.0))


def _cut(ranking: Ranking, params: SamplingParams) -> int | None:
    """How many tokens the filters that cut from below let stand; None if the ranking is too short to tell."""
    limits: list[int | None] = []
    if params.top_k and (params.top_k <= len(ranking.ids) or ranking.is_complete):
        limits.append(params.top_k)
    if params.top_p < 1:  # 1 is no cut: the float sum may end below it and would then keep the best alone
        at = ranking.n_below(lambda total: params.top_p * total, "left")  # the first whose sum reaches top_p
        if at is not None and at < len(ranking.w):
            last = float(ranking.w[at])  # its equals stay, too
            limits.append(ranking.n_from(lambda total: min(last, params.top_p_x * total)))
    if params.top_a:
        limits.append(ranking.n_from(lambda total: params.top_a * total ** (1 - params.top_a_power)))
    if params.min_p:
        limits.append(ranking.n_from(lambda _: params.min_p))
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
