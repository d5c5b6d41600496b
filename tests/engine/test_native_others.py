"""From a file to a native model of the generations before RWKV-7: packed, kept, changed over, or coarse."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.engine import kernels
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.model import load_model
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native, Switching
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.native_library import LEVELS, join_all, library_at, opened, saved, unasked

if TYPE_CHECKING:
    from collections.abc import Callable

# the first test compiles the library: 35 s on an idle machine, and more than the usual limit on a busy one
pytestmark = pytest.mark.timeout(600)

SIZE = Size(2, 64, 32, 300)
MAKERS: dict[str, Callable[..., dict[str, torch.Tensor]]] = {
    "4": checkpoints.rwkv4,
    "5.0": partial(checkpoints.rwkv5, minor=0),
    "5.2": checkpoints.rwkv5,
    "6": checkpoints.rwkv6,
}


@pytest.fixture
def library(request):
    return library_at(request.config, LEVELS[0])


@pytest.fixture
def native(monkeypatch):
    return unasked(monkeypatch)


@pytest.fixture
def ready(native, library, tmp_path, monkeypatch):
    opened(native, library, tmp_path / "cache", monkeypatch)
    return native


@pytest.fixture(params=MAKERS)
def path(request, tmp_path):
    return saved(tmp_path / "model", MAKERS[request.param](SIZE))


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8", "int4"])
def test_the_second_load_takes_the_packed_weights(ready, path, dtype, monkeypatch):
    first = load_model(path, device="cpu", dtype=dtype).model
    assert isinstance(first, Native)
    join_all("packed-cache")
    monkeypatch.setattr(packing, "pack", None)  # packing again would fail
    second = load_model(path, device="cpu", dtype=dtype).model
    assert torch.equal(second.step([3], second.blank().thaw()), first.step([3], first.blank().thaw()))


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_what_is_shown_of_a_model_tells_whether_native_code_can_compute_it(native, path, dtype):
    assert load_model(path, device="cpu", dtype=dtype).info.has_native_path == (dtype != "fp16")


def test_without_a_library_torch_serves_and_changes_over_between_steps(native, library, path):
    """The first start: the compiler still runs while the user is already talking."""
    model = load_model(path, device="cpu", dtype="fp32").model
    assert isinstance(model, Switching)
    a, b = model.blank().thaw(), model.blank().thaw()
    before = [model.step([i], a) for i in range(5)][-1]
    for then in native.waiting:
        then(library)
    assert model.is_native
    after = [model.step([i], b) for i in range(5)][-1]
    assert float((before - after).abs().max()) < 1e-4


def test_int8_waits_in_bf16_for_a_library_that_comes_and_is_coarse_where_none_will(native, path):
    """Without a compiler torch has a coarse form of its own for these generations, half as large as bf16."""
    coarse = load_model(path, device="cpu", dtype="int8").model
    assert not isinstance(coarse, Switching)
    assert isinstance(coarse.weights.layers[0].att.key, Coarse)  # type: ignore[attr-defined]  # of its family
    native.status = kernels.Status(is_building=True, why_not="")
    waiting = load_model(path, device="cpu", dtype="int8").model
    assert isinstance(waiting, Switching)
    assert waiting.weights.layers[0].att.key.dtype is torch.bfloat16


def test_a_file_in_bf16_is_kept_exactly(ready, tmp_path):
    tensors = {name: tensor.bfloat16() for name, tensor in checkpoints.rwkv6(SIZE).items()}
    loaded = load_model(saved(tmp_path / "model", tensors), device="cpu")
    assert loaded.dtype == "bf16"
    assert isinstance(loaded.model, Native)
    layer = loaded.model.weights.layers[1]
    assert torch.equal(layer.ffn.key, tensors["blocks.1.ffn.key.weight"].float())
    assert torch.equal(layer.att.maa_w1, tensors["blocks.1.att.time_maa_w1"].float())
    assert torch.equal(layer.att.maa[4], tensors["blocks.1.att.time_maa_g"].float().flatten())
    join_all("packed-cache")


def test_k_clamp_is_packed_apart_from_the_same_file_without(ready, tmp_path):
    """One entry of the cache for both would give one of them the other's replies."""
    path, ids = saved(tmp_path / "model", checkpoints.rwkv6(SIZE)), list(range(20))
    replies = []
    for option in ("false", "true"):
        (path / "model.toml").write_text(f"k_clamp = {option}\n")
        model = load_model(path, device="cpu", dtype="bf16").model
        replies.append(model.scan([ids], model.blank().thaw(), all_logits=True)[0])
        join_all("packed-cache")
    assert not torch.equal(*replies)
