"""Each filter on distributions made by hand, and the bookkeeping around them."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chatrwkv.engine.chance import philox, uniform
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.sampling import Marks, Sampler, weightless_ids
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer
from chatrwkv.errors import BadValue, NumericalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OFF: dict[str, Any] = {"top_p": 1.0, "presence": 0.0, "frequency": 0.0}


def logits_of(*probabilities: float) -> NDArray[np.float32]:
    """Logits whose softmax is (about) the given probabilities; ids 0, 1, 2 …"""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, dtype=np.float32))


def drawn(logits: NDArray[np.float32], n: int = 400, **settings: Any) -> Counter[int]:
    """How often each id is drawn at n positions."""
    sampler = Sampler(SamplingParams(**({"seed": 7} | OFF | settings)), len(logits))
    return Counter(sampler.pick(logits, position).id for position in range(n))


def survivors(logits: NDArray[np.float32], **settings: Any) -> set[int]:
    return set(drawn(logits, **settings))


def test_without_filters_ids_come_as_often_as_they_are_likely():
    counts = drawn(logits_of(0.5, 0.3, 0.2), 4000)
    assert [round(counts[i] / 4000, 1) for i in range(3)] == [0.5, 0.3, 0.2]


def test_temperature_zero_is_greedy_and_the_lower_id_wins_a_tie():
    assert survivors(logits_of(0.2, 0.4, 0.4), temperature=0.0) == {1}


def test_top_p_keeps_the_token_that_crosses_the_mass():
    logits = logits_of(0.5, 0.3, 0.15, 0.05)
    assert survivors(logits, top_p=0.45) == {0}
    assert survivors(logits, top_p=0.79) == {0, 1}
    assert survivors(logits, top_p=0.94) == {0, 1, 2}


def test_top_p_keeps_the_equals_of_the_token_at_the_cutoff():
    """The package zeroes p < cutoff, so ties stay; cutting them by id would favour low ids."""
    assert survivors(logits_of(0.4, 0.2, 0.2, 0.2), top_p=0.5) == {0, 1, 2, 3}


def test_top_p_zero_keeps_the_likeliest_only():
    assert survivors(logits_of(0.2, 0.5, 0.3), top_p=0.0) == {1}


def test_top_p_one_is_no_cut():
    """The package turns greedy here, because a float32 sum of 65,536 terms ends below 1."""
    random = np.random.default_rng(1)
    logits = random.standard_normal(65536).astype(np.float32) * 0.1
    assert len(drawn(logits, 60)) > 55


def test_top_k_keeps_k_tokens_and_breaks_ties_by_id():
    logits = logits_of(0.1, 0.3, 0.3, 0.3)
    assert survivors(logits, top_k=2) == {1, 2}
    assert survivors(logits, top_k=9) == {0, 1, 2, 3}


@pytest.mark.parametrize(("p_max", "limit"), [(0.9, 0.0162), (0.3, 0.0018)])
def test_top_a_cuts_at_the_two_limits_of_its_first_description(p_max: float, limit: float):
    """0.02 * p_max^2 (BlinkDL, 2021): the surer the model, the harder the cut."""
    above, below = limit * 1.02, limit * 0.98
    rest = 1 - p_max - above - below
    n_rest = max(1, math.ceil(rest / (p_max * 0.9)))
    logits = logits_of(p_max, above, below, *[rest / n_rest] * n_rest)
    kept = survivors(logits, n=8000, top_a=0.02)
    assert 0 in kept
    assert 1 in kept
    assert 2 not in kept


def test_power_of_top_a_can_be_changed():
    logits = logits_of(0.8, 0.15, 0.05)
    assert survivors(logits, top_a=0.2, top_a_power=1.0) == {0}
    assert survivors(logits, top_a=0.2, top_a_power=2.0) == {0, 1}


def test_min_p_cuts_relative_to_the_likeliest():
    assert survivors(logits_of(0.6, 0.31, 0.05, 0.04), min_p=0.5) == {0, 1}


def test_typical_keeps_the_tokens_nearest_to_the_entropy():
    """Entropy 1.36: surprises 0.69, 1.61, 1.90, 3.0 lie 0.67, 0.25, 0.54, 1.6 away."""
    logits = logits_of(0.5, 0.2, 0.15, 0.05, 0.1)
    assert survivors(logits, typical=0.1) == {0, 1}  # the likeliest always stays
    assert survivors(logits, typical=0.34) == {0, 1, 2}


def test_masks_of_several_filters_are_combined_from_one_softmax():
    """Applied one after the other and renormalised between, top-p 0.7 would keep two of the three."""
    logits = logits_of(0.4, 0.3, 0.2, 0.1)
    assert survivors(logits, top_k=3, top_p=0.65) == {0, 1}
    assert survivors(logits, top_p=0.95, min_p=0.4) == {0, 1, 2}
    assert survivors(logits, top_k=1, typical=0.2) == {0}


def test_cut_comes_before_the_temperature():
    """T = 2, top-p 0.7: two of four survive; the other order would keep three."""
    logits = logits_of(0.5, 0.25, 0.15, 0.1)
    assert survivors(logits, temperature=2.0, top_p=0.7) == {0, 1}


def test_temperature_is_a_power_of_the_kept_probabilities():
    counts = drawn(logits_of(0.8, 0.2), 4000, temperature=0.5)
    assert counts[1] / 4000 == pytest.approx(0.04 / 0.68, abs=0.01)


def test_lowest_temperature_does_not_underflow():
    assert survivors(logits_of(1e-4, *[(1 - 1e-4) / 99] * 99), temperature=0.001) <= set(range(1, 100))


def test_lowest_temperature_first_is_as_good_as_greedy():
    assert survivors(logits_of(0.4, 0.5, 0.1), temperature=1e-300, temp_first=True) == {1}


def test_bound_pressed_down_by_forced_tokens_keeps_the_likeliest():
    """Twenty tokens of no probability: 2 to the power of the surprise is beyond any float."""
    params = SamplingParams(**OFF, seed=1, mirostat=3.0, mirostat_rate=1.0)
    logits = np.array([300.0, 0.0, 1.0], np.float32)
    sampler = Sampler(params, 3)
    for position in range(20):
        mu = sampler.weigh(logits, position, 1).mu
        assert mu is not None
        sampler.mu = mu
    assert sampler.mu < -1500
    assert sampler.pick(logits, 20).id == 0


def test_banned_ids_are_never_drawn_and_never_reported():
    sampler = Sampler(SamplingParams(**OFF, banned=frozenset({1})), 3, banned={0})
    picked = [sampler.pick(logits_of(0.5, 0.4, 0.1), i) for i in range(50)]
    assert {p.id for p in picked} == {2}
    assert picked[0].top == ((2, 0.0),)


def test_end_of_text_is_banned_before_min_tokens():
    logits = logits_of(0.9, 0.1)
    sampler = Sampler(SamplingParams(**OFF, min_tokens=2, temperature=0.0), 2)
    assert [sampler.pick(logits, position).id for position in range(4)] == [1, 1, 0, 0]


def test_logits_are_never_written_to():
    """A fork shares the tensor; in-place penalties corrupted siblings in other programs."""
    logits = logits_of(0.5, 0.3, 0.2)
    before = logits.copy()
    sampler = Sampler(SamplingParams(banned=frozenset({2})), 3)
    for position in range(5):
        sampler.accept(sampler.pick(logits, position).id)
    assert (logits == before).all()


def test_penalties_are_subtracted_and_counts_decay_per_token():
    """15.4: presence in full for every token seen, frequency times a count that decays."""
    sampler = Sampler(SamplingParams(presence=0.25, frequency=2.0, decay=0.5, top_p=1.0), 4)
    for token_id in (1, 1, 2):
        sampler.accept(token_id)
    # counts: 1 -> 1, 1.5, 0.75; 2 -> 1
    expected = np.array([0.0, -0.25 - 1.5, -0.25 - 2.0, 0.0])
    expected -= np.log(np.exp(expected).sum())
    top = dict(sampler.pick(np.zeros(4, np.float32), 0).top)
    assert [top[i] for i in range(4)] == pytest.approx(expected, abs=1e-6)


def test_weightless_tokens_are_counted_zero_but_their_presence_counts():
    sampler = Sampler(
        SamplingParams(presence=1.0, frequency=5.0, top_p=1.0), 2, (), Marks(weightless=frozenset({1}))
    )
    for _ in range(3):
        sampler.accept(1)
    top = dict(sampler.pick(np.zeros(2, np.float32), 0).top)
    assert top[0] - top[1] == pytest.approx(1.0, abs=1e-6)


def test_counts_of_many_different_tokens_are_kept():
    """The arrays behind the counts grow; a wrong growth loses or doubles penalties."""
    sampler = Sampler(SamplingParams(presence=3.0, frequency=0.0, top_p=1.0, temperature=0.0), 300)
    for token_id in range(299):
        sampler.accept(token_id)
    assert sampler.pick(np.zeros(300, np.float32), 0).id == 299


def test_weightless_tokens_are_the_parts_of_space_tab_and_digits():
    tokenizer = WorldTokenizer.bundled()
    found = {tokenizer.decode([i]) for i in weightless_ids(tokenizer)}
    assert {" ", "\t", "0", "9", "12", "89", " \t"} <= found
    assert not found & {"13", "\n", "  ", "21", ""}
    assert all(text in " \t0123456789" for text in found)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_an_error(bad: float):
    """fp16 overflow; drawing on would print garbage without a word."""
    with pytest.raises(NumericalError, match="not a number"):
        Sampler(SamplingParams(), 3).pick(np.array([0.0, bad, 1.0], np.float32), 0)


def test_banning_every_token_is_an_error():
    with pytest.raises(NumericalError, match="Every token is banned"):
        Sampler(SamplingParams(banned=frozenset({0, 1})), 2).pick(np.zeros(2, np.float32), 0)


def test_logits_of_another_size_are_an_error():
    with pytest.raises(NumericalError, match=r"\(3,\)"):
        Sampler(SamplingParams(), 2).pick(np.zeros(3, np.float32), 0)


def test_reported_candidates_are_the_eight_likeliest():
    logits = np.linspace(0, 3, 5000).astype(np.float32)
    picked = Sampler(SamplingParams(**OFF, seed=3), 5000).pick(logits, 0)
    assert [i for i, _ in picked.top] == list(range(4999, 4991, -1))
    log_softmax = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    assert [logprob for _, logprob in picked.top] == pytest.approx(log_softmax[:4991:-1], abs=1e-5)
    assert picked.logprob == pytest.approx(log_softmax[picked.id], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("top_k", 2.5, "a whole number"),
        ("top_k", True, "a whole number"),
        ("seed", "7", "a whole number"),
        ("cfg", 10.1, "between 0 and 10"),
        ("mirostat", -1, "between 0 and 20"),
        ("mirostat_rate", math.nan, "a number"),
        ("top_p_x", "0.1", "a number"),
        ("temp_first", 1, "on or off"),
        ("negative", None, "a text"),
        ("negative", "x" * 100_001, "at most 100,000 characters"),
    ],
)
def test_setting_of_a_wrong_kind_or_size_is_refused(name: str, value: Any, wanted: str):
    with pytest.raises(BadValue, match=wanted) as refused:
        SamplingParams(**{name: value})
    assert refused.value.message.startswith(name)
    assert len(refused.value.message) < 200


def test_marks_of_the_world_vocabulary_are_its_tokens():
    tokenizer = WorldTokenizer.bundled()
    marks = Marks.of(tokenizer)
    assert (marks.end, marks.newline) == (0, 11)
    assert {tokenizer.decode([i]) for i in marks.unrepeatable} == set("，：？！")


def test_philox_equals_that_of_numpy():
    """A home-made generator that is subtly wrong would still look random."""
    for key, counter in [((0, 0), 1), ((123, 2**63 + 5), 77), ((2**64 - 1, 9), 2**64 - 2)]:
        # NumPy counts up before it draws.
        words = np.array([counter - 1, 5, 6, 7, *key], np.uint64)
        reference = np.random.Philox(counter=words[:4], key=words[4:])
        assert philox((counter, 5, 6, 7), key) == tuple(reference.random_raw(4).tolist())


def test_uniform_is_a_function_of_seed_and_position():
    assert uniform(5, 9) == uniform(5, 9)
    assert len({uniform(seed, position) for seed in (-1, 0, 1, 2**64) for position in range(50)}) == 200
    assert 0.45 < np.mean([uniform(1, position) for position in range(2000)]) < 0.55


def test_missing_seed_is_drawn_and_can_be_used_again():
    first = Sampler(SamplingParams(**OFF), 100)
    again = Sampler(SamplingParams(**OFF, seed=first.seed), 100)
    logits = np.zeros(100, np.float32)
    assert [first.pick(logits, i).id for i in range(20)] == [again.pick(logits, i).id for i in range(20)]
    assert first.seed != Sampler(SamplingParams(), 100).seed
