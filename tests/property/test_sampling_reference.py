"""The sampler against float64 definitions, and against the `rwkv` package where it has them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chatrwkv.engine import sampling
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.sampling import Marks, Sampler, newline_bias
from tests.reference import sampling as reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float32]

BORDERS = ("top_p", "top_p_x", "top_a", "min_p", "typical")
OFF: dict[str, Any] = {"top_p": 1.0, "presence": 0.0, "frequency": 0.0, "seed": 1}


@st.composite
def few_logits(draw: st.DrawFn) -> Logits:
    """Without near ties: a float32 softmax would order them otherwise than a float64 one."""
    n = draw(st.sampled_from([2, 5, 40, 2500]))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    grid = random.permutation(3 * n)[:n] * draw(st.sampled_from([0.002, 0.05, 0.4]))
    return grid.astype(np.float32)


settings = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0.0, 0.2, 0.7, 1.0, 1.7, 5.0]),
        "temp_first": st.booleans(),
        "top_p": st.sampled_from([0.0, 0.1, 0.5, 0.85, 0.99, 1.0]),
        "top_p_x": st.sampled_from([0.0, 0.001, 0.01, 0.2, 1.0]),
        "top_k": st.sampled_from([0, 1, 3, 30, 1000]),
        "top_a": st.sampled_from([0.0, 0.02, 0.2]),
        "top_a_power": st.sampled_from([1.0, 2.0]),
        "min_p": st.sampled_from([0.0, 0.05, 0.5]),
        "typical": st.sampled_from([1.0, 0.9, 0.5, 0.1]),
        "mirostat": st.sampled_from([0.0, 1.0, 3.0, 8.0]),
        "mirostat_rate": st.sampled_from([0.0, 0.1, 1.0]),
    },
).map(lambda changes: SamplingParams(**(OFF | changes)))


def picked(sampler: Sampler, logits: Logits, number: float, beside: Logits | None = None) -> sampling.Picked:
    """What is drawn when chance says `number`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "uniform", lambda *_: number)
        return sampler.pick(logits, 0, beside)


def middles(chance_of: dict[int, float], least: float = 1e-5) -> list[tuple[int, float]]:
    """Each token and the middle of its part of [0, 1), but for parts too thin to be hit in float32."""
    ends = np.cumsum(list(chance_of.values()))
    parts = zip(chance_of.items(), ends, strict=True)
    return [(i, float(end - chance / 2)) for (i, chance), end in parts if chance > least]


@given(few_logits(), settings, st.integers(0, 10**6))
def test_draw_is_that_of_the_definitions(logits: Logits, params: SamplingParams, place: int):
    """Kept tokens, their chances and their order: every token sits where float64 puts it."""
    sampler = Sampler(params, len(logits))
    chance_of = reference.chances(logits, params, sampler.mu)
    for nudge in (1 - 1e-5, 1 + 1e-5):  # float32 may see a token on the other side of a border this near
        moved = {
            name: min(1.0, getattr(params, name) * nudge) for name in BORDERS if getattr(params, name) < 1
        }
        near = reference.chances(logits, replace(params, **moved), sampler.mu * nudge)
        assume(near.keys() == chance_of.keys())
    wanted = middles(chance_of)
    assume(wanted)
    token_id, number = wanted[place % len(wanted)]
    assert picked(sampler, logits, number).id == token_id


@given(few_logits(), st.sampled_from([0.5, 3.0, 9.0]), st.sampled_from([0.1, 0.5]), st.integers(0, 99))
def test_mirostat_goes_on_as_defined(logits: Logits, target: float, rate: float, seed: int):
    """Ten draws, each with the bound that the one before left."""
    params = SamplingParams(**(OFF | {"mirostat": target, "mirostat_rate": rate, "seed": seed}))
    sampler, mu, p = Sampler(params, len(logits)), 2 * target, reference.softmax(logits.astype(np.float64))
    for position in range(10):
        before, got = sampler.mu, sampler.pick(logits, position)
        kept = reference.mirostat_keeps(p, mu)
        assert got.id in kept
        mu = reference.mirostat_after(p, kept, got.id, mu, target, rate)
        assert got.mu == pytest.approx(mu, abs=1e-4)
        assert sampler.mu == before, "a pick moves nothing"
        sampler.mu = mu


@given(few_logits(), st.sampled_from([0.0, 0.5, 1.5, 4.0]), st.integers(0, 10**6))
def test_guidance_draws_from_the_mixed_logits(logits: Logits, strength: float, place: int):
    beside = np.random.default_rng(place).permutation(logits)
    params = SamplingParams(**(OFF | {"cfg": strength, "top_p": 0.9}))
    mixed = reference.guided(logits, beside, strength)
    assume(len({round(float(x), 4) for x in mixed}) == len(mixed))
    wanted = middles(reference.chances(mixed, params))
    token_id, number = wanted[place % len(wanted)]
    assert picked(Sampler(params, len(logits)), logits, number, beside).id == token_id


def test_newline_rule_is_that_of_chat_py():
    assert [newline_bias(i) for i in range(400)] == pytest.approx(
        [max(-1e9, reference.newline_rule(i)) for i in range(400)]
    )


@given(few_logits(), st.integers(0, 300))
def test_newline_rule_moves_one_logit_only(logits: Logits, position: int):
    params = SamplingParams(**(OFF | {"newline_rule": True}))
    plain = Sampler(SamplingParams(**OFF), len(logits), (), Marks(newline=1))
    moved = logits.copy()
    moved[1] += newline_bias(position)
    sampler = Sampler(params, len(logits), (), Marks(newline=1))
    assert sampler.pick(logits, position) == plain.pick(moved, position)


@given(few_logits(), st.sampled_from([None, 0, 1]))
def test_anti_repeat_bars_the_same_sign_once(logits: Logits, last: int | None):
    params = SamplingParams(**(OFF | {"anti_repeat": True}))
    sampler = Sampler(params, len(logits), (), Marks(unrepeatable=frozenset({1})))
    sampler.last_id = last
    seen = {i for i, _ in sampler.pick(logits, 0).top}
    free = {i for i, _ in Sampler(SamplingParams(**OFF), len(logits)).pick(logits, 0).top}
    assert (1 not in seen) if last == 1 else (seen == free)
    sampler.accept(0)
    assert {i for i, _ in sampler.pick(logits, 0).top} == free


_WITNESS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from rwkv.utils import PIPELINE
jobs = json.load(sys.stdin)
told = []
np.random.choice = lambda a, p: told.append(p.tolist()) or 0
for job in jobs:
    PIPELINE.sample_logits(None, torch.tensor(job["logits"]), **job["settings"])
json.dump(told, sys.stdout)
"""


def test_default_order_is_that_of_the_package():
    """`sample_logits` of `rwkv` 0.8.32: the distribution it draws from, not only its likeliest."""
    random = np.random.default_rng(3)
    jobs = [
        {
            "logits": (random.permutation(300) * scale).tolist(),
            "settings": {"temperature": temperature, "top_p": top_p, "top_k": top_k},
        }
        for scale in (0.01, 0.05)
        for temperature in (0.0, 0.5, 1.0, 2.0)
        for top_p in (0.0, 0.3, 0.85)
        for top_k in (0, 1, 7)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _WITNESS], input=json.dumps(jobs), capture_output=True, text=True, check=True
    )
    for job, p in zip(jobs, json.loads(done.stdout), strict=True):
        params = SamplingParams(**(OFF | job["settings"]))
        logits = np.array(job["logits"], np.float32)
        order = sorted(np.flatnonzero(p).tolist(), key=lambda i: (-p[i], i))
        told = {i: p[i] for i in order}
        assert reference.chances(logits, params) == pytest.approx(told, abs=1e-6)
        sampler = Sampler(params, len(logits))
        for token_id, number in middles(told, 1e-4):
            assert picked(sampler, logits, number).id == token_id
