"""The published RWKV-7 initialisation, against the closed forms at single channels."""

import math

import pytest
import torch

from training.init import Shape, decays, initial_weights

SHAPE = Shape(n_layer=3, n_embd=128, n_vocab=256)


@pytest.fixture(scope="module")
def weights():
    return initial_weights(SHAPE, seed=5)


def test_time_mixes_follow_the_powers_of_the_layer(weights):
    """Channel 32 of 128 has d = 1/4; layer 1 of 3 has q1 = 2/3."""
    q1 = 2 / 3
    for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
        value = weights[f"blocks.1.att.x_{name}"][0, 0, 32].item()
        assert value == pytest.approx(1 - 0.25 ** (power * q1), abs=1e-6)
    assert weights["blocks.1.ffn.x_k"][0, 0, 32].item() == pytest.approx(1 - 0.25 ** (q1**4), abs=1e-6)


def test_decay_and_rates_hold_the_published_values(weights):
    """First and last channel of the last layer, where q0 = 1 and z = -1 and 1."""
    w0 = weights["blocks.2.att.w0"].flatten()
    assert w0[0].item() == pytest.approx(-6 + 0.5 - 2.5)
    assert w0[127].item() == pytest.approx(-6 + 6 + 0.5 + 2.5)
    a0, v0, k_k = (weights[f"blocks.2.att.{name}"].flatten() for name in ("a0", "v0", "k_k"))
    assert a0[127].item() == pytest.approx(-0.19 + 0.3 + 0.2, abs=1e-6)
    assert (v0[0].item(), v0[127].item()) == pytest.approx((0.93, 0.53), abs=1e-6)
    assert (k_k[0].item(), k_k[127].item()) == pytest.approx((0.76, 0.66), abs=1e-6)
    assert weights["blocks.2.att.k_a"].unique().item() == pytest.approx(1.02)
    assert weights["blocks.2.att.r_k"].unique().item() == pytest.approx(-0.04)
    assert weights["blocks.1.att.ln_x.weight"][0].item() == pytest.approx((2 / 3) ** 0.7)


def test_matrices_that_write_to_the_stream_start_at_zero(weights):
    """A block must begin as nothing, or deep models start in noise."""
    for name in ("att.output.weight", "ffn.value.weight", "att.w1", "att.a1", "att.v1", "att.g1"):
        assert not weights[f"blocks.1.{name}"].any()


@pytest.mark.parametrize(
    ("name", "gain"),
    [("att.receptance.weight", 1.0), ("att.key.weight", 0.1), ("ffn.key.weight", 1.0), ("att.g2", 0.1)],
)
def test_orthogonal_matrices_have_their_gain(weights, name, gain):
    """All singular values of an orthogonal matrix equal its gain."""
    values = torch.linalg.svdvals(weights[f"blocks.0.{name}"])
    assert torch.allclose(values, torch.full_like(values, gain), atol=1e-5)


def test_head_and_embedding_ranges(weights):
    """The head's gain grows with V/C; the embedding is tiny because ln0 scales it."""
    values = torch.linalg.svdvals(weights["head.weight"])
    assert torch.allclose(values, torch.full_like(values, 0.5 * math.sqrt(2)), atol=1e-5)
    assert 0.9e-4 < weights["emb.weight"].abs().max().item() <= 1e-4


def test_weight_decay_reaches_large_matrices_only(weights):
    """Decay on w0 or on a norm would pull the model from its published start."""
    chosen = {name for name, tensor in weights.items() if decays(name, tensor)}
    assert {"emb.weight", "head.weight", "blocks.0.ffn.key.weight", "blocks.1.att.output.weight"} <= chosen
    assert not any(".ln" in name or "ln_" in name or name.endswith(("w1", "w0", "r_k")) for name in chosen)


def test_ranks_are_multiples_of_32_as_suggested():
    """2.5, 1.7 and 5 times the root of C, at least 32."""
    assert [Shape(n_embd=768).rank(f) for f in (2.5, 1.7, 5.0)] == [64, 32, 128]
    assert Shape(n_embd=64).rank(1.7) == 32


def test_one_layer_is_refused():
    """The formulas divide by layers - 1."""
    with pytest.raises(ValueError, match="at least 2"):
        initial_weights(Shape(n_layer=1), seed=1)
