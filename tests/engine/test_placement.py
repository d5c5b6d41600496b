"""Layers in several places and precisions: the same model, whatever the plan says."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from chatrwkv.engine import model as loading
from chatrwkv.engine.checkpoint import open_checkpoint
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.models import split as split_module
from chatrwkv.engine.models.split import Split
from chatrwkv.engine.placement import rescale_every
from chatrwkv.engine.plan import parse_strategy
from chatrwkv.engine.reading import read_tensors
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import BadValue, ModelTooLarge
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import CASES, ids_of, model_from, model_of, worst

SIZE = Size(4, 64, 32, 50)
every_generation = pytest.mark.parametrize("name", CASES)


def load(path, **options) -> Any:
    """`load_model`; the families' own fields are looked at below."""
    return loading.load_model(path, **options)


def pretended(model, strategy):
    """`model` split as if its devices were several."""
    return Split(model, parse_strategy(strategy, SIZE.n_layer))


def parts_of(part):
    """Every tensor and every coarse matrix of a layer."""
    if isinstance(part, torch.Tensor | Coarse):
        return [part]
    if is_dataclass(part):
        part = tuple(getattr(part, field.name) for field in fields(part))
    return [found for one in part for found in parts_of(one)] if isinstance(part, tuple) else []


@pytest.fixture
def moves(monkeypatch):
    """Every device counts as the CPU; which one was asked for is noted."""
    asked = []

    def device(name):
        asked.append(name)
        return torch.device("cpu")

    monkeypatch.setattr(split_module, "_device", device)
    return asked


@every_generation
@pytest.mark.parametrize(
    "strategy", ["cuda fp32 *1 -> cuda:1 fp32 *2 -> cpu fp32", "cuda fp32 *2+", "cuda fp32 *0+"]
)
def test_split_model_is_the_whole_one(name, strategy, moves):
    """v_first of RWKV-7, the order of the layers in the state and ragged rows must survive the borders."""
    whole = model_of(name, SIZE)
    parts = pretended(model_of(name, SIZE), strategy)
    rows = [ids_of(40), ids_of(9, seed=2)]
    scratches = [model.blank().thaw() for model in (whole, parts)]
    for scratch in scratches:
        scratch.append(whole.blank().thaw())
    results = [m.scan(rows, s, all_logits=True) for m, s in zip((whole, parts), scratches, strict=True)]
    for a, b in zip(*results, strict=True):
        assert worst(a, b) <= 1e-5
    assert all(worst(scratches[0].tensors[n], scratches[1].tensors[n]) <= 1e-5 for n in scratches[0].tensors)
    for token_id in ids_of(5, seed=3):
        after = [m.step([token_id, token_id], s) for m, s in zip((whole, parts), scratches, strict=True)]
        assert worst(*after) <= 2e-5
    assert "cuda" in moves


def test_a_context_that_is_full_is_read_again_in_parts(moves):
    """RWKV-1 starts again in the middle of a scan, wherever its layers are."""
    tensors, ids = checkpoints.rwkv1(SIZE, ctx_len=16, tiny_heads=2), ids_of(50)
    whole = model_from(tensors)
    parts = pretended(model_from(tensors), "cuda fp32 *1 -> cpu fp32 *1+")
    results = [
        one.scan([ids, ids[:9]], Scratch.stack([one.blank()] * 2), all_logits=True) for one in (whole, parts)
    ]
    assert all(worst(a, b) <= 1e-5 for a, b in zip(*results, strict=True))


def test_streamed_layers_are_copied_at_each_use_and_others_never(monkeypatch, moves):
    """A layer that is copied although it is there would cost its size for every token."""
    parts = pretended(model_of("6", SIZE), "cuda fp32 *2+")
    copied = []
    true = split_module.moved

    def noted(part, device):
        copied.append(type(part).__name__)
        return true(part, device)

    monkeypatch.setattr(split_module, "moved", noted)
    parts.step([1], parts.blank().thaw())
    assert copied.count("Layer6") == 2
    assert copied.count("Layer6") + 2 <= len(copied)


def test_layers_of_one_kind_run_together_and_streamed_ones_alone(moves):
    parts = pretended(model_of("4", SIZE), "cuda fp32 *2 -> cpu fp32 *1+")
    assert [(first, end, streamed) for first, end, _, streamed in parts._runs] == [
        (0, 2, False), (2, 3, False), (3, 4, True),
    ]  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    def save(name, n_layer=4):
        file = tmp_path / "model.safetensors"
        save_file(
            {n: t.contiguous() for n, t in CASES[name].make(Size(n_layer, 64, 32, 300), 1).items()}, file
        )
        words = [f"{i + 1} {bytes([i])!r} 1\n" for i in range(256)]
        (tmp_path / "vocab.txt").write_text("".join(words))
        return tmp_path

    return save


@every_generation
def test_mixed_precisions_are_close_to_fp32(name, saved):
    """Two layers in float32 and the rest in bf16: each half must be where the plan says, and work."""
    folder = saved(name)
    exact, mixed = (
        load(folder, device="cpu", dtype="fp32"),
        load(folder, device="cpu fp32 *2 -> cpu bf16"),
    )
    assert mixed.dtype == "mixed"
    assert mixed.device == "cpu fp32 *2 -> cpu bf16"
    has_bf16 = [torch.bfloat16 in {t.dtype for t in parts_of(one)} for one in mixed.model.weights.layers]
    assert has_bf16 == [False, False, True, True]
    assert mixed.model.weights.head.dtype == torch.bfloat16
    ids = ids_of(30)
    a, b = (one.model.scan([ids], one.model.blank().thaw()) for one in (exact, mixed))
    assert 0 < worst(a, b) <= 0.03 * float(a.max() - a.min())


def test_what_a_strategy_loaded_can_be_loaded_again(saved):
    """The engine goes back to the former model with its device and precision when a load fails."""
    first = load(saved("4"), device="cpu fp32 *2 -> cpu bf16")
    again = load(first.path, device=first.device, dtype=first.dtype)
    assert (again.device, again.dtype) == (first.device, first.dtype)
    assert load(first.path, device=first.device, dtype="fp32").dtype == "fp32"


def test_strategy_of_one_kind_is_no_split(saved):
    loaded = load(saved("4"), device="cpu bf16")
    assert (loaded.device, loaded.dtype) == ("cpu", "bf16")
    assert not isinstance(loaded.model, Split)


def test_streamed_on_the_cpu_is_loaded_and_equal(saved):
    folder = saved("6")
    whole, streamed = (
        load(folder, dtype="fp32", device="cpu"),
        load(folder, device="cpu fp32 *1+"),
    )
    assert isinstance(streamed.model, Split)
    a, b = (one.model.scan([ids_of(30)], one.model.blank().thaw()) for one in (whole, streamed))
    assert worst(a, b) <= 1e-5


def test_a_device_that_is_not_there_is_refused_by_name(saved):
    with pytest.raises(BadValue, match="cuda:7"):
        load(saved("4"), device="cpu fp32 *1 -> cuda:7 fp16")


def test_each_device_of_a_plan_must_have_room(saved, monkeypatch):
    from chatrwkv.engine import reading

    monkeypatch.setattr(reading, "free_bytes", lambda device: 1000)
    with pytest.raises(ModelTooLarge, match="in mixed on cpu"):
        load(saved("4"), device="cpu fp32 *2 -> cpu bf16")


@every_generation
@pytest.mark.parametrize("strategy", ["cpu fp32", "cpu bf16", "cpu fp32i8 *2 -> cpu bf16i8"])
def test_the_memory_of_a_plan_is_that_of_its_weights(name, strategy, saved):
    """It is held against what is free; tables and LoRA factors stay in the precision of the arithmetic."""
    folder = saved(name)
    plan = parse_strategy(strategy, 4)
    checkpoint = open_checkpoint(folder / "model.safetensors")
    found = sum(t.nbytes for t in read_tensors(checkpoint, plan, None, None).values())
    assert found == sum(plan.memory(checkpoint.shapes).values())


# -- int8 and int4 in torch -------------------------------------------------------------------------------


# int8 may cut the largest of a group by 4 of 131 levels, which makes all others finer
@pytest.mark.parametrize(("kind", "bound"), [("int8", 4 / 131), ("int4", 0.5 / 15)])
@pytest.mark.parametrize("shape", [(5, 128), (3, 96), (7, 10), (2, 6)])
def test_coarse_matrix_is_within_its_levels(kind, bound, shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    coarse = Coarse.of(matrix, kind, torch.float32)
    span = (
        matrix.abs().amax(1, keepdim=True) if kind == "int8" else (matrix.amax(1) - matrix.amin(1))[:, None]
    )
    assert coarse.shape == matrix.shape
    assert bool(((coarse.dense() - matrix).abs() <= bound * span * 1.001).all())
    rms = (coarse.dense() - matrix).square().mean().sqrt()
    assert rms <= (0.01 if kind == "int8" else 0.12)
    coarse.div_(4.0)
    assert worst(coarse.dense() * 4, Coarse.of(matrix, kind, torch.float32).dense()) <= 1e-6


def test_int4_takes_five_bits_a_weight():
    coarse = Coarse.of(torch.randn(64, 256), "int4", torch.bfloat16)
    assert coarse.nbytes == 64 * 256 * 0.625


@pytest.mark.parametrize("name", [name for name in CASES if name != "7"])  # that one packs on the native path
@pytest.mark.parametrize(("dtype", "bound"), [("int8", 0.05), ("int4", 0.4)])
def test_quantised_models_are_near_the_exact_one(name, dtype, bound, saved):
    folder = saved(name)
    exact, coarse = (load(folder, device="cpu", dtype=kind) for kind in ("fp32", dtype))
    assert coarse.dtype == dtype
    assert sum(isinstance(part, Coarse) for part in parts_of(coarse.model.weights.layers[1])) >= 6
    assert isinstance(coarse.model.weights.head, Coarse)
    ids = ids_of(30)
    a, b = (one.model.scan([ids], one.model.blank().thaw()) for one in (exact, coarse))
    assert 0 < worst(a, b) <= bound * float(a.max() - a.min())
    step = coarse.model.blank().thaw()
    assert worst(torch.stack([coarse.model.step([i], step)[0] for i in ids])[-1], b[0]) <= 0.02 * float(
        a.max() - a.min()
    )


def test_quantised_layers_can_be_streamed(saved):
    folder = saved("7")
    whole, streamed = (
        load(folder, device="cpu bf16i8 *2 -> cpu bf16"),
        load(folder, device="cpu bf16i8 *2+ -> cpu bf16 *1"),
    )
    assert isinstance(streamed.model.weights.layers[3].att.key, Coarse)
    assert not isinstance(whole.model.weights.layers[3].att.key, Coarse)
    assert torch.isfinite(streamed.model.scan([ids_of(9)], streamed.model.blank().thaw())).all()


# -- fp16 -------------------------------------------------------------------------------------------------


def fp16_of(tensors, every):
    model = model_from(
        {
            n: t.half() if (t.ndim == 2 and n.endswith("weight")) or "_w" in n else t.float()
            for n, t in tensors.items()
        }
    )
    if every:
        model.rescale(every)
    return model


@pytest.mark.parametrize("name", ["4", "4a", "4b", "5.0", "5.1", "5.2", "6"])
def test_fp16_with_rescale_is_fp32_within_its_precision(name):
    """Seven layers with a step every two: the last ones are stored eight times smaller and given back."""
    tensors, ids = CASES[name].make(Size(7, 64, 32, 50), 2), ids_of(40)
    exact = model_from(tensors)
    scratch = exact.blank().thaw()
    want = exact.scan([ids], scratch)
    results = {}
    for every in (0, 2):
        model = fp16_of(tensors, every)
        after = model.blank().thaw()
        results[every] = model.scan([ids], after), after
        assert worst(results[every][0], want) <= 5e-3 * float(want.max() - want.min())
    assert [layer.scale for layer in model.weights.layers] == [1, 1, 2, 2, 4, 4, 8]
    stored, whole = model.weights.layers[6].ffn.value, fp16_of(tensors, 0).weights.layers[6].ffn.value
    assert worst(stored.float() * 8, whole) <= 2.0**-22  # below 2^-14 fp16 has steps of 2^-24
    plain, rescaled = results[0][1].tensors, results[2][1].tensors
    for state in plain:
        # a power of two changes no digit, but for values that leave the normal numbers of fp16
        assert worst(plain[state], rescaled[state]) <= 2e-3 * float(plain[state].abs().max().clamp(min=1)), (
            state
        )
    stepped = model.blank().thaw()
    last = [model.step([token_id], stepped) for token_id in ids][-1]
    assert worst(last, want) <= 5e-3 * float(want.max() - want.min())


def test_rescale_keeps_in_range_what_overflows_without():
    """The reason for it: ffn.value of a late layer whose output is beyond 65504."""
    tensors, ids = checkpoints.rwkv4(Size(7, 64, 32, 50), 2), ids_of(10)
    tensors["blocks.6.ffn.value.weight"] *= 3e5
    want = model_from(tensors).scan([ids], model_from(tensors).blank().thaw())
    plain, rescaled = fp16_of(tensors, 0), fp16_of(tensors, 1)
    assert not torch.isfinite(plain.scan([ids], plain.blank().thaw())).all()
    got = rescaled.scan([ids], rescaled.blank().thaw())
    assert worst(got, want) <= 1e-2 * float(want.max() - want.min())


def test_fp16_is_loaded_with_the_rescale_of_the_environment(saved, monkeypatch):
    folder = saved("5.2", 7)
    scales = [layer.scale for layer in load(folder, device="cpu", dtype="fp16").model.weights.layers]
    assert scales == [1] * 6 + [2]
    monkeypatch.setenv("RWKV_RESCALE_LAYER", "999")
    assert {layer.scale for layer in load(folder, device="cpu", dtype="fp16").model.weights.layers} == {1}
    monkeypatch.setenv("RWKV_RESCALE_LAYER", "3")
    mixed = load(folder, device="cpu fp32 *4 -> cpu fp16").model
    assert [layer.scale for layer in mixed.weights.layers] == [1, 1, 1, 1, 2, 2, 4]
    for wrong in ("0", "-1", "six"):
        monkeypatch.setenv("RWKV_RESCALE_LAYER", wrong)
        with pytest.raises(BadValue, match="RWKV_RESCALE_LAYER"):
            rescale_every()


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("1")])  # no square in v1
def test_keys_whose_square_is_beyond_fp16_are_read(name):
    """World v4 has such layers; the official advice is to run them in float32."""
    tensors, ids = CASES[name].make(Size(2, 64, 32, 50), 2), ids_of(10)
    for key in tensors:
        if key.endswith("ffn.key.weight"):
            tensors[key] *= 400
        elif key.endswith("ffn.value.weight"):
            tensors[key] /= 400  # the square of 400 would leave it no digits
    exact, half = model_from(tensors), fp16_of(tensors, 0)
    want = exact.scan([ids], exact.blank().thaw())
    got = half.scan([ids], half.blank().thaw())
    assert worst(got, want) <= 2e-2 * float(want.max() - want.min())


@every_generation
def test_everything_a_layer_needs_is_moved_to_its_device(name, monkeypatch):
    """On `meta`, torch computes nothing but refuses what mixes devices, as a GPU would."""
    meta = torch.device("meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it does not know meta
    monkeypatch.setattr(
        split_module, "_device", lambda place: meta if place == "cuda" else torch.device(place)
    )
    model = model_of(name, SIZE)
    parts = pretended(model, "cuda fp32 *2+")
    weights = parts.weights
    layers = (*(split_module.moved(layer, meta) for layer in weights.layers[:2]), *weights.layers[2:])
    parts.weights = replace(weights, layers=layers)
    ids, lengths = torch.tensor([ids_of(40), ids_of(40, seed=2)]), torch.tensor([40, 9])
    logits, after = parts.forward(ids, model.blank_rows(2), lengths, all_logits=False)
    assert (logits.device.type, tuple(logits.shape)) == ("meta", (2, 50))
    assert {tensor.device.type for tensor in after.values()} == {"meta"}
