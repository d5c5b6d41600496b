"""The published initialisations of v1 to v6, against the closed forms, and that each is recognised."""

import math

import pytest
import torch

from chatrwkv.engine import Generation, detect
from training.init import Shape
from training.init_first import decay_curves, initial_v1, mlp_width
from training.init_matrices import ffn_width, initial_v5, initial_v6
from training.init_vectors import initial_v2, initial_v3, initial_v4

SHAPE = Shape(n_layer=4, n_embd=128, n_vocab=256, head_size=32, n_context=64)
MAKERS = {
    Generation.V1: initial_v1,
    Generation.V2: initial_v2,
    Generation.V3: initial_v3,
    Generation.V4: initial_v4,
    Generation.V5_2: initial_v5,
    Generation.V6: initial_v6,
}


@pytest.mark.parametrize("generation", list(MAKERS))
def test_fresh_weights_are_recognised_as_their_generation(generation):
    """A wrong name or shape would make the loader see another generation."""
    weights = MAKERS[generation](SHAPE, seed=1)
    assert detect({name: tuple(t.shape) for name, t in weights.items()}).generation is generation


def test_v1_curves_run_from_sharp_to_flat():
    """Four heads, 64 tokens: s = 64^(-1/3) = 1/4, 1/16, 1/64, and 0 for the last."""
    curves = decay_curves(SHAPE)
    assert curves.shape == (4, 64)
    assert torch.equal(curves[:, -1], torch.ones(4))
    assert curves[:, -5].tolist() == pytest.approx([math.exp(-4 * s) for s in (1 / 4, 1 / 16, 1 / 64, 0)])
    weights = initial_v1(SHAPE, seed=1)
    for name in ("time_alpha", "time_beta", "time_gamma"):
        assert torch.equal(
            weights[f"blocks.0.attn.{name}"], torch.ones_like(weights[f"blocks.0.attn.{name}"])
        )
    assert torch.equal(weights["time_out"], torch.ones(1, 64, 1))


def test_v1_zeros_biases_and_gains():
    """Attention and the mlp's gate and output start at zero; every Linear but the head has a bias of zero."""
    weights = initial_v1(SHAPE, seed=1)
    for name in ("attn.key", "attn.receptance", "attn.output", "mlp.receptance", "mlp.weight"):
        assert not weights[f"blocks.1.{name}.weight"].any()
    assert not any(t.any() for name, t in weights.items() if name.endswith(".bias"))
    assert "head.bias" not in weights
    assert mlp_width(SHAPE) == 320
    wide, square = (torch.linalg.svdvals(weights[f"blocks.1.{n}.weight"]) for n in ("mlp.key", "attn.value"))
    assert torch.allclose(wide, torch.full_like(wide, math.sqrt(320 / 128)), atol=1e-4)
    assert torch.allclose(square, torch.ones_like(square), atol=1e-4)
    embedding, head = (torch.linalg.svdvals(weights[f"{n}.weight"]) for n in ("tok_emb", "head"))
    assert torch.allclose(embedding, torch.full_like(embedding, 0.4 * 16), atol=1e-3)
    assert torch.allclose(head, torch.full_like(head, 0.4 * math.sqrt(2)), atol=1e-4)


def test_v4_mixes_decay_and_bonus():
    """Channel 32 of 128 has d = 1/4; layer 2 of 4 has q0 = 2/3 and q1 = 1/2."""
    weights = initial_v4(SHAPE, seed=1)
    att = "blocks.2.att."
    assert weights[f"{att}time_mix_k"][0, 0, 32].item() == pytest.approx(0.5)
    assert weights[f"{att}time_mix_v"][0, 0, 32].item() == pytest.approx(0.5 + 0.2)
    assert weights[f"{att}time_mix_r"][0, 0, 32].item() == pytest.approx(0.25**0.25)
    decay = weights[f"{att}time_decay"]
    assert (decay[0].item(), decay[127].item()) == pytest.approx((-5, 3))
    assert decay[32].item() == pytest.approx(-5 + 8 * (32 / 127) ** (0.7 + 1.3 * 2 / 3), abs=1e-5)
    bonus = weights[f"{att}time_first"][:3] - math.log(0.3)
    assert bonus.tolist() == pytest.approx([0.0, 0.5, -0.5], abs=1e-6)


def test_v4_zeros_and_gains():
    """key, receptance and output start at zero; ffn key has the gain sqrt(out/in) = 2."""
    weights = initial_v4(SHAPE, seed=1)
    for name in ("att.key", "att.receptance", "att.output", "ffn.receptance", "ffn.value"):
        assert not weights[f"blocks.1.{name}.weight"].any()
    values = torch.linalg.svdvals(weights["blocks.1.ffn.key.weight"])
    assert torch.allclose(values, torch.full_like(values, 2.0), atol=1e-4)
    assert weights["emb.weight"].abs().max().item() <= 1e-4
    head = torch.linalg.svdvals(weights["head.weight"])
    assert torch.allclose(head, torch.full_like(head, 0.5 * math.sqrt(2)), atol=1e-4)


def test_v2_decay_runs_from_layer_to_layer():
    """f1 3.5 at layer 1; f2 0.4 at the last but one and 0.37 at the last layer; log(f1) at channel 0."""
    weights = initial_v2(SHAPE, seed=1)

    def ends(layer):
        decay = weights[f"blocks.{layer}.att.time_decay"].flatten()
        return [math.exp(decay[0]), math.exp(decay[127] - decay[0]) ** (1 / 7)]

    assert ends(0) == pytest.approx([3.9, 0.775], abs=1e-4)
    assert ends(1) == pytest.approx([3.5, 0.65], abs=1e-4)
    assert ends(2) == pytest.approx([2.1, 0.4], abs=1e-4)
    assert ends(3) == pytest.approx([1.2, 0.37], abs=1e-4)
    assert weights["blocks.0.att.time_mix"].flatten().unique().tolist() == [0.0, 1.0]
    values = torch.linalg.svdvals(weights["emb.weight"])
    assert torch.allclose(values, torch.full_like(values, 1e-4 * 16), atol=1e-6)


def test_v5_decay_bonus_and_group_norm():
    """Last layer, where q0 = 1."""
    weights = initial_v5(SHAPE, seed=1)
    att = "blocks.3.att."
    decay, bonus = weights[f"{att}time_decay"].flatten(), weights[f"{att}time_faaaa"].flatten()
    assert (decay[0].item(), decay[127].item()) == pytest.approx((-6, -1))
    assert bonus[0].item() == pytest.approx(1.0)
    assert bonus[1].item() == pytest.approx(1 - 1 / 127 + 0.1, abs=1e-6)
    assert weights["blocks.1.att.ln_x.weight"][0].item() == pytest.approx(0.5**0.7)
    assert torch.linalg.svdvals(weights[f"{att}key.weight"]).mean().item() == pytest.approx(0.1, abs=1e-5)
    assert torch.equal(weights[f"{att}time_mix_g"], weights[f"{att}time_mix_r"])
    assert ffn_width(SHAPE) == 448


def test_v6_mixes_mean_the_previous_token():
    """The meaning flips between v5 and v6."""
    five, six = initial_v5(SHAPE, seed=1), initial_v6(SHAPE, seed=1)
    for name, source in {"x": "k", "w": "k", "k": "k", "v": "v", "r": "r", "g": "g"}.items():
        found = six[f"blocks.2.att.time_maa_{name}"]
        assert torch.allclose(found, 1 - five[f"blocks.2.att.time_mix_{source}"])
    assert six["blocks.2.ffn.time_maa_k"][0, 0, 32].item() == pytest.approx(1 - 0.25 ** (0.5**3), abs=1e-6)
    assert not six["blocks.2.att.time_maa_w1"].any()
    assert 0.009 < six["blocks.2.att.time_maa_w2"].abs().max().item() <= 0.01


@pytest.mark.parametrize(("maker", "n_layer"), [(initial_v2, 2), (initial_v4, 1), (initial_v5, 1)])
def test_too_few_layers_are_refused(maker, n_layer):
    """The formulas would divide by zero."""
    with pytest.raises(ValueError, match="at least"):
        maker(Shape(n_layer=n_layer, n_embd=64, n_vocab=64), seed=1)


def test_one_head_of_v1_is_refused():
    """s would divide by zero."""
    with pytest.raises(ValueError, match="at least 2"):
        initial_v1(Shape(n_layer=2, n_embd=64, n_vocab=64), seed=1)
