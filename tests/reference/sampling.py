"""Sampling in float64, each rule as its definition says, for comparison and for nothing else.

Sources: the `rwkv` package's `sample_logits` (the order), BlinkDL's notes (top-a, top-p-x), Meister et al.
(typical), Basu et al. and ai00 (mirostat 2), Sanchez et al. (guidance), ChatRWKV's chat.py (both rules).
A ranking is by probability descending, then id ascending, everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def ranked(p):
    return sorted(range(len(p)), key=lambda i: (-p[i], i))


def guided(logits, beside, strength):
    return strength * np.asarray(logits, np.float64) + (1 - strength) * np.asarray(beside, np.float64)


def newline_rule(position: int) -> float:
    """chat.py as it is written: what was added after reply token `position - 1` acts on the next one."""
    if position == 0:
        return -999999999
    i = position - 1
    if i <= 0:
        return -999999999
    if i <= 40:
        return (i - 40) / 10
    if i <= 150:
        return 0
    return min(3, (i - 150) * 0.25)


def top_p_keeps(p, top_p, top_p_x=1.0):
    total, cutoff = 0.0, 0.0
    for i in ranked(p):
        total, cutoff = total + p[i], p[i]
        if total >= top_p:
            break
    cutoff = min(cutoff, top_p_x)
    return {i for i in range(len(p)) if p[i] >= cutoff}


def typical_keeps(p, mass):
    entropy = -sum(q * np.log(q) for q in p if q > 0)
    distance = [abs(-np.log(q) - entropy) if q > 0 else np.inf for q in p]
    total, kept = 0.0, set()
    for i in sorted(range(len(p)), key=lambda i: (distance[i], i)):
        kept.add(i)
        total += p[i]
        if total > mass:
            break
    return kept


def mirostat_keeps(p, mu):
    kept = set()
    for i in ranked(p):
        if p[i] == 0:
            break
        kept.add(i)
        if -np.log2(p[i]) > mu:
            break
    return kept


def mirostat_after(p, kept, token_id, mu, target, rate):
    total = sum(p[i] for i in kept)
    surprise = np.log2(total) - np.log2(p[token_id])
    return min(mu - rate * (surprise - target), 4 * target)


def chances(logits, params, mu: float | None = None) -> dict[int, float]:
    """Id to the probability of being drawn, in the order of the ranking of the softmax."""
    x = np.asarray(logits, np.float64)
    if params.temperature == 0:
        return {ranked(x)[0]: 1.0}
    p = softmax(x / params.temperature if params.temp_first else x)
    every = {i for i in range(len(p)) if p[i] > 0}
    power = 1.0 if params.temp_first else 1 / params.temperature
    if params.mirostat:
        kept, power = mirostat_keeps(p, mu), 1.0
    else:
        masks: list[Any] = [every]
        if params.top_p < 1:
            masks.append(top_p_keeps(p, params.top_p, params.top_p_x))
        if params.top_k:
            masks.append(set(ranked(p)[: params.top_k]))
        masks.append({i for i in every if p[i] >= params.top_a * p.max() ** params.top_a_power})
        masks.append({i for i in every if p[i] >= params.min_p * p.max()})
        if params.typical < 1:
            masks.append(typical_keeps(p, params.typical))
        kept = set.intersection(*masks) | {ranked(p)[0]}
    weights = {i: (p[i] / p.max()) ** power for i in ranked(p) if i in kept}
    total = sum(weights.values())
    return {i: weight / total for i, weight in weights.items()}


def drawn(chance_of: dict[int, float], number: float) -> int:
    """The token at `number` in [0, 1) of the cumulated chances."""
    total = 0.0
    for i, chance in chance_of.items():
        total += chance
        if number < total:
            return i
    return i
