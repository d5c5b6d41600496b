"""The sampler against its definition written down slowly, for any logits and settings.

The fast one ranks only a few hundred of the tokens; the slow one sorts all of them every time.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatrwkv.engine.chance import uniform
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.sampling import Sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]


@st.composite
def many_logits(draw: st.DrawFn) -> Logits:
    """From a few to several thousands, peaked or flat, with ties and with -inf."""
    n = draw(st.sampled_from([1, 2, 5, 300, 2048, 5000]))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    logits = random.standard_normal(n) * draw(st.sampled_from([0.0, 0.5, 3.0, 30.0]))
    if draw(st.booleans()):
        logits = np.round(logits)
    if n > 2 and draw(st.booleans()):
        logits[random.integers(0, n, n // 3)] = -np.inf
        logits[random.integers(0, n)] = 0.0
    return logits.astype(np.float32)


seeds: dict[str, st.SearchStrategy[Any]] = {"seed": st.integers(0, 2**32)}
choices: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.sampled_from([0.0, 0.01, 0.5, 1.0, 1.7, 5.0]),
    "top_p": st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999, 1.0]),
    "top_k": st.sampled_from([0, 1, 3, 100, 1000, 10**6]),
    "top_a": st.sampled_from([0.0, 0.02, 0.2, 1.0]),
    "min_p": st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    "typical": st.sampled_from([1.0, 0.95, 0.5, 0.0]),
}
some_settings = st.fixed_dictionaries(seeds, optional=choices).map(
    lambda settings: SamplingParams(presence=0.0, frequency=0.0, **settings)
)


def softmax(logits: Logits) -> Logits:
    p: Logits = np.exp(logits - logits.max())
    p /= p.sum()
    return p


def kept_slowly(logits: Logits, p: Logits, params: SamplingParams) -> list[int]:
    """The definition: every mask from the same p, all combined; highest logit first, lower id first."""
    order = np.argsort(-logits, kind="stable").tolist()
    masks = [p > 0]
    if params.top_p < 1:
        cum = np.cumsum(p[order].astype(np.float64))
        reached = np.flatnonzero(cum >= params.top_p)
        masks.append(p >= (p[order[reached[0]]] if len(reached) else 0))
    if params.top_k:
        masks.append(np.isin(np.arange(len(p)), order[: params.top_k]))
    exact = p.astype(np.float64)
    masks.append(exact >= params.top_a * exact.max() ** params.top_a_power)
    masks.append(exact >= params.min_p * exact.max())
    if params.typical < 1:
        surprise = -np.log(np.maximum(p, 1e-37))
        distance = np.abs(surprise - float((p * surprise).sum(dtype=np.float64)))
        nearest = sorted(range(len(p)), key=lambda i: (distance[i], i))
        cum = np.cumsum(p[nearest], dtype=np.float64)
        masks.append(np.isin(np.arange(len(p)), nearest[: int((cum <= params.typical).sum()) + 1]))
    both = np.logical_and.reduce(masks)
    both[order[0]] = True
    return [i for i in order if both[i]]


def pick_slowly(logits: Logits, params: SamplingParams, position: int) -> tuple[int, float]:
    """The id, and how near the draw came to a border between two tokens."""
    p = softmax(logits)
    kept = kept_slowly(logits, p, params) if params.temperature else [int(p.argmax())]
    weights = (p[kept].astype(np.float64) / float(p.max())) ** (1 / (params.temperature or 1))
    cum = np.cumsum(weights) / weights.sum()
    chance = uniform(params.seed or 0, position)
    at = min(int((cum <= chance).sum()), len(kept) - 1)
    return kept[at], float(np.abs(cum - chance).min())


@given(many_logits(), some_settings, st.integers(0, 10**6))
def test_fast_draw_equals_the_slow_definition(logits: Logits, params: SamplingParams, position: int):
    expected, margin = pick_slowly(logits, params, position)
    picked = Sampler(params, len(logits)).pick(logits, position).id
    assert picked == expected or margin < 1e-12  # sums in another order


@given(many_logits(), some_settings)
def test_draw_repeats_and_leaves_everything_untouched(logits: Logits, params: SamplingParams):
    before, sampler = logits.copy(), Sampler(params, len(logits))
    assert sampler.pick(logits, 3) == sampler.pick(logits, 3) == Sampler(params, len(logits)).pick(logits, 3)
    assert np.array_equal(logits, before)


@given(many_logits(), some_settings, st.integers(0, 1000))
def test_tensor_view_and_row_of_a_batch_draw_alike(logits: Logits, params: SamplingParams, position: int):
    """A row of a batch is a view into another tensor; backends differ in where the logits come from."""
    batch = torch.from_numpy(np.stack([logits[::-1].copy(), logits]))
    sampler = Sampler(params, len(logits))
    assert sampler.pick(batch[1], position) == sampler.pick(logits, position)


@given(many_logits(), some_settings)
def test_temperature_zero_draws_the_first_of_the_likeliest(logits: Logits, params: SamplingParams):
    greedy = dataclasses.replace(params, temperature=0.0)
    assert Sampler(greedy, len(logits)).pick(logits, 0).id == int(softmax(logits).argmax())


@given(many_logits(), some_settings, st.data())
def test_banned_ids_are_never_drawn(logits: Logits, params: SamplingParams, data: st.DataObject):
    possible = np.flatnonzero(softmax(logits) > 0)
    keep = data.draw(st.sampled_from(possible.tolist()))
    barred = [i for i in data.draw(st.lists(st.sampled_from(range(len(logits))))) if i != keep]
    picked = Sampler(params, len(logits), barred).pick(logits, 1)
    assert picked.id not in barred
    assert not {i for i, _ in picked.top} & set(barred)


@given(many_logits(), st.lists(st.integers(0, 4), max_size=20))
def test_reported_chances_are_those_of_one_softmax(logits: Logits, reply: list[int]):
    """They sum to at most 1 and never rise."""
    sampler = Sampler(SamplingParams(), len(logits))
    for token_id in reply:
        sampler.accept(min(token_id, len(logits) - 1))
    top = [np.exp(logprob) for _, logprob in sampler.pick(logits, 0).top]
    assert sum(top) <= 1 + 1e-5
    assert top == sorted(top, reverse=True)
    if len(logits) <= 8:
        assert sum(top) > 1 - 1e-5
