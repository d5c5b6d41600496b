"""Draws by the kernel, on the host, against the sampler: the same tokens for any settings; what is left to the host."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from chatrwkv.cuda.abi import DrawRow
from chatrwkv.engine import sampling
from chatrwkv.engine.chance import uniform
from chatrwkv.engine.cuda_draw import DeviceDraws
from chatrwkv.engine.cuda_selftest import self_test
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.sampling import Marks, Sampler
from chatrwkv.engine.scheduler import Scheduler
from chatrwkv.errors import KernelMismatch
from tests.cuda.test_ops import launch_of
from tests.engine.replying import Outlet, ask
from tests.engine.test_runtime_sampling import guided
from tests.fakes import FakeModel, loaded

CPU = torch.device("cpu")
POSITION = 3
OFF: dict[str, Any] = {"top_p": 1.0, "presence": 0.0, "frequency": 0.0}
CHOICES: dict[str, list[Any]] = {
    "temperature": [0.0, 0.01, 0.3, 0.7, 1.0, 1.0, 1.7, 5.0],
    "temp_first": [False, False, True],
    "top_p": [0.0, 0.1, 0.3, 0.3, 0.5, 0.9, 0.999, 1.0],
    "top_p_x": [1.0, 1.0, 0.01, 0.0],
    "top_k": [0, 0, 1, 3, 100, 1000, 10**6],
    "top_a": [0.0, 0.0, 0.02, 0.2, 1.0],
    "top_a_power": [2.0, 1.0, 0.5],
    "min_p": [0.0, 0.0, 0.01, 0.5, 1.0],
    "mirostat": [0.0, 0.0, 0.0, 1.0, 3.0, 9.0],
    "cfg": [1.0, 1.0, 0.0, 1.7],
    "presence": [0.0, 0.5, -0.5],
    "frequency": [0.0, 0.3],
    "newline_rule": [False, True],
    "anti_repeat": [False, True],
    "min_tokens": [0, 100],
}
BORDERS = ("top_p", "top_p_x", "top_a", "min_p")


@pytest.fixture
def launch(shim):
    shim.shim_backwards(0)
    return launch_of(shim)


def logits_of(random: Random, n_vocab: int) -> torch.Tensor:
    """Peaked or flat, with ids that cannot come; steps so large that rounding exchanges no two."""
    steps = np.random.default_rng(random.randrange(2**32)).permutation(n_vocab)
    logits = steps * random.choice([0.002, 0.02, 0.1, 1.0])
    if n_vocab > 2 and random.random() < 0.2:
        logits[steps % 3 == 1] = -math.inf
    return torch.from_numpy(logits.astype(np.float32))


def sampler_of(random: Random, n_vocab: int) -> Sampler:
    settings = {name: random.choice(values) for name, values in CHOICES.items()}
    marks = Marks(
        end=0, weightless=frozenset({1}), newline=n_vocab - 1, unrepeatable=frozenset(range(0, n_vocab, 2))
    )
    banned = random.sample(range(n_vocab), random.choice([0, 0, n_vocab // 4]))
    sampler = Sampler(SamplingParams(seed=random.randrange(2**32), **settings), n_vocab, banned, marks)
    for _ in range(random.choice([0, 1, 300])):
        sampler.accept(random.randrange(n_vocab))
    if random.random() < 0.3:
        sampler.mu = random.uniform(-1, 12)
    return sampler


def draw(launch, rows):
    """What the device says of (sampler, logits, beside or None, forced or None) rows: `Picked` or None."""
    draws: DeviceDraws[int] = DeviceDraws(launch, CPU, len(rows[0][1]))
    draws.queue({i: (s.wish(POSITION, forced), x, beside) for i, (s, x, beside, forced) in enumerate(rows)})
    answers = draws.collect()
    return [s.granted(answers[i]) if i in answers else None for i, (s, *_) in enumerate(rows)]


def by_host(sampler, logits, beside, forced):
    if forced is None:
        return sampler.pick(logits, POSITION, beside)
    return sampler.weigh(logits, POSITION, forced, beside)


def is_near(row) -> bool:
    """Whether another draw, or another border, that is a millionth away gives another token."""
    sampler, *rest = row
    wanted = by_host(*row).id
    chance = uniform(sampler.seed, POSITION)
    with pytest.MonkeyPatch.context() as patch:
        for nudge in (-1e-5, 1e-5):
            patch.setattr(sampling, "uniform", lambda *_, at=chance + nudge: at)
            if by_host(sampler, *rest).id != wanted:
                return True
            patch.setattr(sampling, "uniform", lambda *_: chance)
            params, mu = sampler.params, sampler.mu
            moved = {name: min(1.0, getattr(params, name) * (1 + nudge)) for name in BORDERS}
            sampler.params, sampler.mu = replace(params, **moved), mu * (1 + nudge)
            is_other = by_host(sampler, *rest).id != wanted
            sampler.params, sampler.mu = params, mu
            if is_other:
                return True
    return False


def assert_same(found, wanted) -> None:
    assert [i for i, _ in found.top] == [i for i, _ in wanted.top]
    assert [x for _, x in found.top] == pytest.approx([x for _, x in wanted.top], abs=2e-4)
    assert found.logprob == pytest.approx(wanted.logprob, abs=2e-4)
    assert (found.mu is None) == (wanted.mu is None)
    assert (found.mu or 0.0) == pytest.approx(wanted.mu or 0.0, abs=2e-3)


def rows_of(seed: int, n_vocab: int):
    """Sixteen numbered rows of (sampler, logits, beside or None, forced or None)."""
    random, rows = Random(seed), []
    for i in range(16):
        sampler, logits = sampler_of(random, n_vocab), logits_of(random, n_vocab)
        forced = random.randrange(n_vocab) if random.random() < 0.1 else None
        beside = None if sampler.params.cfg == 1 else logits_of(random, n_vocab)
        beside = None if beside is None or (logits + beside).isinf().any() else beside
        rows.append((i, (sampler, logits, beside, forced)))
    return rows


@pytest.mark.parametrize("n_vocab", [1, 2, 5, 50, 300, 1500, 4000])
def test_the_device_draws_what_the_cpu_draws(shim, launch, n_vocab):
    """Rows of one lot have settings of their own; a filter that means something else would show here."""
    n_near = n_left = 0
    for lot in range(20):
        shim.shim_backwards(lot % 2)
        rows = [row for _, row in rows_of(100 * n_vocab + lot, n_vocab)]
        for row, found in zip(rows, draw(launch, rows), strict=True):
            if found is None:
                n_left += 1
                continue
            wanted = by_host(*row)
            if found.id != wanted.id:
                assert is_near(row)
                n_near += 1
            else:
                assert_same(found, wanted)
    assert n_near <= 3
    if n_vocab >= 50:  # of fewer all may be banned, which only the host can say
        assert n_left <= (100 if n_vocab > 1024 else 0), "what a thousand of the tokens cannot tell"


def peaked(n_vocab=5000):
    """As a model's: a few candidates with nearly all of the mass."""
    return -torch.randperm(n_vocab, generator=torch.Generator().manual_seed(2)).float() * 0.02


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.0}, OFF | {"top_p": 0.9}, OFF | {"top_k": 50}, OFF, OFF | {"mirostat": 3.0}],
    ids=str,
)
def test_usual_draws_are_never_left_to_the_host(launch, settings):
    rows = [(Sampler(SamplingParams(seed=i, **settings), 5000), peaked(), None, None) for i in range(16)]
    assert None not in draw(launch, rows)


@pytest.mark.parametrize(
    ("settings", "logits"),
    [
        ({}, torch.full((3000,), math.nan)),
        ({}, torch.tensor([0.0, math.inf] * 1500)),
        ({"banned": frozenset(range(3000))}, torch.zeros(3000)),
        ({}, torch.zeros(3000)),  # more equal ones than have room
        (OFF | {"top_p": 0.99}, -torch.arange(3000).float() / 3000),
        (OFF | {"top_k": 2000}, -torch.arange(3000).float() / 3000),
        (OFF | {"mirostat": 20.0}, -torch.arange(3000).float() / 3000),
    ],
    ids=["nan", "inf", "banned", "equal", "top-p", "top-k", "mirostat"],
)
def test_what_the_device_cannot_tell_is_left_to_the_host(launch, settings, logits):
    """A guess would be worse than 200 microseconds; and only the host can say what is wrong."""
    assert draw(launch, [(Sampler(SamplingParams(seed=1, **settings), 3000), logits, None, None)]) == [None]


def test_typical_sampling_is_never_asked_of_the_device():
    """It needs the entropy of the whole vocabulary, and keeps no beginning of the order."""
    sampler = Sampler(SamplingParams(typical=0.5), 10)
    assert sampler.wish(0) is None
    assert sampler.wish(0, forced=3) is not None
    assert Sampler(SamplingParams(typical=0.5, temperature=0.0), 10).wish(0) is not None
    assert Sampler(SamplingParams(typical=0.5, mirostat=3.0), 10).wish(0) is not None


OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"mirostat": 2.0, "temperature": 1.4},
    {"cfg": 1.7, "top_p": 0.9},
    {"typical": 0.4, "top_p": 1.0},
    {"newline_rule": True, "anti_repeat": True, "top_k": 9, "min_p": 0.02},
]


@pytest.mark.parametrize("fault", ["nothing drawn", "penalties lost", "bans lost", "greedy", "chance lost"])
def test_the_self_test_refuses_a_wrong_draw(launch, fault):
    """Else a broken driver would choose every word."""

    def wrong(name, call, number_type, stream):
        if fault == "nothing drawn":
            return 0
        rows = (DrawRow * call.n_rows).from_address(call.rows)
        for row in rows:
            row.n_penalties *= fault != "penalties lost"
            row.n_bans *= fault != "bans lost"
            row.chance *= fault != "chance lost"
            row.is_greedy |= fault == "greedy"
        return launch(name, call, number_type, stream)

    assert self_test(launch, "draw", CPU) < 1.0
    with pytest.raises(KernelMismatch, match="draw kernel differs"):
        self_test(wrong, "draw", CPU)


@pytest.mark.parametrize("n_together", [1, len(OPTIONS)])
def test_whole_replies_are_the_same_wherever_they_are_drawn(launch, n_together):
    """Joined, ended and stopped: what was asked for and never collected must go to nobody else."""
    texts, launched = [], []

    def noted(*call):
        launched.append(call)
        return launch(*call)

    for is_on_device in (False, True):
        made = loaded(FakeModel(speaks=[byte + 1 for byte in b"abcdefgh \n"]))
        outlets = []
        for start in range(0, len(OPTIONS), n_together):
            scheduler = Scheduler(made)
            if is_on_device:
                scheduler.drawing.on_device = DeviceDraws(noted, CPU, made.model.spec.n_vocab)
            asked = [
                guided(ask(max_tokens=10 + 3 * i, frequency=0.3, **({"top_p": 0.8} | settings)))
                for i, settings in enumerate(OPTIONS[start : start + n_together])
            ]
            mine = [Outlet(cancel_at=7 if i == 2 else None) for i in range(len(asked))]
            scheduler.add(zip(asked[:2], mine[:2], strict=True))
            for turn in range(100):
                scheduler.turn()
                if turn == 4:
                    scheduler.add(zip(asked[2:], mine[2:], strict=True))
            assert not scheduler.is_busy
            outlets += mine
        texts.append([(one.finished.text, one.finished.mu) for one in outlets])
        assert all(one.finished.snapshot and one.finished.snapshot.logits.device == CPU for one in outlets)
    assert len(launched) > 20
    assert [text for text, _ in texts[0]] == [text for text, _ in texts[1]]
    assert [mu for _, mu in texts[1]] == [
        None if mu is None else pytest.approx(mu, abs=1e-3) for _, mu in texts[0]
    ]


def test_lots_of_any_size_follow_each_other(launch):
    """Buffers that grow while something is under way would lose it."""
    draws: DeviceDraws[Sampler] = DeviceDraws(launch, CPU, 5000)
    assert draws.collect() == {}
    for n_rows in (1, 16, 2, 30):
        samplers = [Sampler(SamplingParams(seed=i), 5000, range(i * 100)) for i in range(n_rows)]
        draws.queue({s: (wish, peaked(), None) for s in samplers if (wish := s.wish(POSITION))})
        found = {s: s.granted(answer).id for s, answer in draws.collect().items()}
        assert found == {s: s.pick(peaked(), POSITION).id for s in samplers}
        assert draws.collect() == {}, "answered once"
    draws.queue({})
    assert draws.collect() == {}
