"""The native path against the torch path, on small random models, before the first use of a build.

The weights are packed, unpacked again, and given to the torch path in float32: what is left is the error
of the arithmetic alone, so that the tolerances are tight for every format.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine.kernels import Engine
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.native.abi import Format
from chatrwkv.engine.spec import Generation, ModelSpec
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import KernelMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from chatrwkv.engine.kernels import Library

# sizes that no block, tile or group divides
_SPEC = ModelSpec(Generation.V7, 2, 96, 32, 83, 200, "", 0, "fp32")
# largest difference of a logit or a state value over the largest of its kind (at least 1), few tokens and many.
# Few: float32 sums, or 16-bit activations. Many: bf16 activations where the CPU multiplies bf16.
_FEW = {Format.FP32: 3e-5, Format.BF16: 3e-5, Format.INT8: 2e-3, Format.INT4: 2e-3}
_MANY = {Format.FP32: 3e-5, Format.BF16: 2.5e-2, Format.INT8: 2.5e-2, Format.INT4: 2.5e-2}


def self_test(library: Library) -> float:
    """The largest difference over its tolerance; below 1.

    Raises:
        KernelMismatch: one is larger, or no number.
    """
    worst = 0.0
    for generation in _TIME_MIXERS:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(7)
            found = _worst_of(library, generation)
        if not found < 1.0:
            raise KernelMismatch(
                f"The native code ({library.isa_name}) of RWKV-{generation} differs from torch by {found:.3g} times"
                " its tolerance.",
                hint="The torch path is used.",
            )
        worst = max(worst, found)
    return worst


def _worst_of(library: Library, generation: Generation) -> float:
    spec = replace(
        _SPEC, generation=generation, head_size=1 if generation is Generation.V4 else _SPEC.head_size
    )
    tensors = _random_tensors() | _TIME_MIXERS[generation]()
    weights = packing.LAYOUTS[generation].build(tensors, spec, {})
    return max(_compare(library, spec, weights, kind) for kind in _FEW)


def _compare(library: Library, spec: ModelSpec, weights: Any, kind: Format) -> float:
    engine = Engine(library, 2)
    native = Native(spec, packing.pack(weights, spec, kind, engine), engine)
    scratch, state = Scratch(native.blank_rows(3)), native.blank_rows(3)
    worst = 0.0
    for step in range(3):
        ids = [(17 * step + 29 * row) % spec.n_vocab for row in range(3)]
        logits, state = native.forward(torch.tensor(ids)[:, None], state, None, all_logits=False)
        worst = max(worst, _difference(logits, native.step(ids, scratch), state, scratch) / _FEW[kind])
    rows = [[(5 * i + row) % spec.n_vocab for i in range(n)] for row, n in enumerate((21, 1, 6))]
    ids_, lengths = torch.zeros(3, 21, dtype=torch.int64), torch.tensor([21, 1, 6])
    for row, these in enumerate(rows):
        ids_[row, : len(these)] = torch.tensor(these)
    logits, state = native.forward(ids_, state, lengths, all_logits=False)
    found = native.scan(rows, scratch)
    assert isinstance(found, torch.Tensor)
    return max(worst, _difference(logits, found, state, scratch) / _MANY[kind])


def _difference(logits: Tensor, found: Tensor, state: dict[str, Tensor], scratch: Scratch) -> float:
    pairs = [(logits, found), *((state[name], scratch.tensors[name]) for name in state)]
    return max(
        float(((a - b).abs().max() / a.abs().max().clamp(min=1)).nan_to_num(nan=torch.inf)) for a, b in pairs
    )


def _linear(rows: int, cols: int) -> Tensor:
    return torch.randn(rows, cols) / math.sqrt(cols)


def _norm(name: str) -> dict[str, Tensor]:
    C = _SPEC.n_embd
    return {f"{name}.weight": 1 + 0.2 * torch.randn(C), f"{name}.bias": 0.1 * torch.randn(C)}


def _random_tensors() -> dict[str, Tensor]:
    """What is alike in every generation."""
    C, F, V = _SPEC.n_embd, _SPEC.n_ffn, _SPEC.n_vocab
    tensors = {"emb.weight": torch.randn(V, C), "head.weight": _linear(V, C)}
    tensors |= _norm("blocks.0.ln0") | _norm("ln_out")
    for i in range(_SPEC.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        tensors |= _norm(f"blocks.{i}.ln1") | _norm(f"blocks.{i}.ln2") | _norm(att + "ln_x")
        for name in ("receptance", "key", "value", "output"):
            tensors[f"{att}{name}.weight"] = _linear(C, C)
        tensors[ffn + "key.weight"], tensors[ffn + "value.weight"] = _linear(F, C), _linear(C, F)
    return tensors


def _time_mixers_7() -> dict[str, Tensor]:
    C, N = _SPEC.n_embd, _SPEC.head_size
    tensors: dict[str, Tensor] = {}
    for i in range(_SPEC.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        tensors |= {f"{att}x_{j}": torch.rand(C) for j in "rkvwag"} | {ffn + "x_k": torch.rand(C)}
        tensors |= {att + name: torch.randn(C) for name in ("w0", "a0", "v0", "k_k", "k_a")}
        tensors[att + "r_k"] = 0.3 * torch.randn(C // N, N)
        for j, rank in {"w": 24, "a": 16, "v": 8, "g": 40}.items():
            tensors[f"{att}{j}1"], tensors[f"{att}{j}2"] = _linear(C, rank), _linear(rank, C)
    return tensors


def _ffn_mixes(i: int, names: str) -> dict[str, Tensor]:
    """What the channel mixer of 4 to 6 has beside that of 7."""
    C, ffn = _SPEC.n_embd, f"blocks.{i}.ffn."
    return {ffn + "receptance.weight": _linear(C, C)} | {f"{ffn}{names}_{j}": torch.rand(C) for j in "kr"}


def _time_mixers_6() -> dict[str, Tensor]:
    C, N = _SPEC.n_embd, _SPEC.head_size
    tensors: dict[str, Tensor] = {}
    for i in range(_SPEC.n_layer):
        att = f"blocks.{i}.att."
        tensors |= {f"{att}time_maa_{j}": torch.rand(C) for j in "xwkvrg"} | _ffn_mixes(i, "time_maa")
        tensors[att + "time_maa_w1"], tensors[att + "time_maa_w2"] = (
            _linear(C, 5 * 24),
            0.2 * torch.randn(5, 24, C),
        )
        tensors[att + "time_decay"] = torch.empty(C).uniform_(-6, 2)
        tensors[att + "time_decay_w1"], tensors[att + "time_decay_w2"] = _linear(C, 40), _linear(40, C)
        tensors[att + "time_faaaa"] = torch.randn(C // N, N)
        tensors[att + "gate.weight"] = _linear(C, C)
    return tensors


def _time_mixers_5(letters: str, per_head: int) -> dict[str, Tensor]:
    C, N = _SPEC.n_embd, _SPEC.head_size
    tensors: dict[str, Tensor] = {}
    for i in range(_SPEC.n_layer):
        att = f"blocks.{i}.att."
        tensors |= {f"{att}time_mix_{j}": torch.rand(C) for j in letters} | _ffn_mixes(i, "time_mix")
        tensors[att + "time_decay"] = torch.empty(C // N, per_head).uniform_(-6, 2)
        tensors[att + "time_faaaa"] = torch.randn(C // N, per_head)
        tensors[att + "gate.weight"] = _linear(C, C)
    return tensors


def _time_mixers_4() -> dict[str, Tensor]:
    C = _SPEC.n_embd
    tensors: dict[str, Tensor] = {}
    for i in range(_SPEC.n_layer):
        att = f"blocks.{i}.att."
        tensors |= {f"{att}time_mix_{j}": torch.rand(C) for j in "kvr"} | _ffn_mixes(i, "time_mix")
        tensors[att + "time_decay"] = torch.empty(C).uniform_(-6, 2)
        tensors[att + "time_first"] = torch.randn(C)
    return tensors


_TIME_MIXERS: dict[Generation, Callable[[], dict[str, Tensor]]] = {
    Generation.V4: _time_mixers_4,
    Generation.V5_0: partial(_time_mixers_5, "kvr", 1),
    Generation.V5_2: partial(_time_mixers_5, "kvrg", _SPEC.head_size),
    Generation.V6: _time_mixers_6,
    Generation.V7: _time_mixers_7,
}
