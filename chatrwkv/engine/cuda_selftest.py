"""The CUDA kernels against `ops` in float64 and the sampler of the CPU, before their first use in a process."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.cuda import decode_abi
from chatrwkv.engine import ops
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.cuda_decode import Decoder, decode7, why_not
from chatrwkv.engine.cuda_draw import DeviceDraws
from chatrwkv.engine.cuda_ops import TYPES, launch_channels, launch_heads
from chatrwkv.engine.models.rwkv7 import RWKV7, blank
from chatrwkv.engine.params import SamplingParams
from chatrwkv.engine.plan import COARSE
from chatrwkv.engine.sampling import Sampler
from chatrwkv.engine.spec import Generation, ModelSpec
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.weights import is_matrix
from chatrwkv.errors import KernelMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from chatrwkv.engine.cuda_ops import Launch

# Largest error over the largest value: float32 sums; half a unit in the last place of a 16-bit y.
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
_LENGTHS = (37, 0, 18)
_HEADS = 2
_SIZES = (64, 40)  # the usual head size, and one that is padded
_CHANNELS = 70
_VOCABULARY, _POSITION = 3000, 3
_SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.0},
    {"temperature": 0.7, "top_p": 1.0, "top_k": 50, "min_p": 0.05},
    {"temperature": 1.5, "top_p": 0.9, "temp_first": True},
    {"top_p": 0.8, "top_p_x": 0.001, "top_a": 0.02, "cfg": 1.5},
    {"mirostat": 3.0, "presence": 0.0, "frequency": 0.0},
    {"temperature": 0.8, "top_p": 1.0},
)
_LOG_TOLERANCE = 1e-4
# Sizes that no block or piece divides, with two ranges of the ffn; the step's vectors are rounded to 16 bits.
_MODEL = ModelSpec(Generation.V7, 2, 48, 24, 24, 528, "", 0, "fp32")
_RANKS = {"w": 24, "a": 16, "v": 6, "g": 40}
_STEP_TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
_ROWS = (3, 9)  # each form of the kernels


def self_test(launch: Launch, kernel: str, device: torch.device) -> float:
    """The largest error over its tolerance; below 1. Waits for the device.

    Raises:
        KernelMismatch: one is larger, or no number.
    """
    with torch.inference_mode():
        if kernel == "draw":
            worst = _draws(launch, device)
        elif kernel == decode_abi.UNIT:
            worst = max(
                _step(launch, dtype, kind, device) for dtype in _STEP_TOLERANCE for kind in ("", "int8")
            )
        elif kernel == "wkv4":
            worst = max(_channels(launch, dtype, device) for dtype in TYPES)
        else:
            worst = max(_heads(launch, kernel, n, dtype, device) for n in _SIZES for dtype in TYPES)
    if not worst < 1.0:
        raise KernelMismatch(
            f"The {kernel} kernel differs from torch by {worst:.3g} times its tolerance on {device}.",
            hint="The torch path is used.",
        )
    return worst


class _Random:
    """Repeatable numbers; the generator of the process belongs to others, on other threads."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(11)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator)

    def linear(self, n_out: int, n_in: int) -> Tensor:
        return self.normal(n_out, n_in) / math.sqrt(n_in)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator)

    def permutation(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self._generator).float()


def _real(like: Tensor) -> Tensor:
    return torch.arange(like.shape[1]) < torch.tensor(_LENGTHS)[:, None]


def _heads(launch: Launch, kernel: str, size: int, dtype: torch.dtype, device: torch.device) -> float:
    random = _Random()
    shape = (len(_LENGTHS), max(_LENGTHS), _HEADS, size)
    x = {name: random.normal(*shape).to(dtype) for name in "rkv"}
    s = random.normal(len(_LENGTHS), _HEADS, size, size)
    if kernel.startswith("wkv7"):
        kk = torch.nn.functional.normalize(random.normal(*shape), dim=-1)
        x |= {"a": (-kk).to(dtype), "b": (kk * random.uniform(*shape)).to(dtype)}
        x["log_decay"] = -0.606531 * random.uniform(*shape)
    else:
        x["u"] = random.normal(_HEADS, size)
        x["log_decay"] = -(2 * random.normal(*(shape if kernel == "wkv6" else shape[2:]))).exp()
    end = s.clone().to(device)
    y = launch_heads(
        launch,
        kernel,
        {n: t.to(device) for n, t in x.items()},
        end,
        torch.tensor(_LENGTHS, device=device),
    )
    real = _real(x["r"])[:, :, None, None].double()
    z = {name: tensor.double() for name, tensor in x.items()}
    decay, k, v = z["log_decay"].expand(shape) * real, z["k"] * real, z["v"] * real
    if kernel.startswith("wkv7"):
        a, b = z["a"] * real, z["b"] * real
        want, want_end = ops.wkv7_scan(z["r"], decay, k, v, a, b, s.double())
    else:
        want, want_end = ops.wkv6_scan(z["r"], decay, k, v, z["u"], s.double())
    return max(_error(y, want * real, _TOLERANCE[dtype]), _error(end, want_end, _TOLERANCE[torch.float32]))


def _channels(launch: Launch, dtype: torch.dtype, device: torch.device) -> float:
    shape = (len(_LENGTHS), max(_LENGTHS), _CHANNELS)
    random = _Random()
    x = {name: random.normal(*shape).to(dtype) for name in "kv"}
    x |= {"w": -random.normal(_CHANNELS).exp(), "u": random.normal(_CHANNELS)}
    start = torch.zeros(3, shape[0], _CHANNELS)
    start[2] = ops.NOTHING_4
    worst = 0.0
    for log_eps in (None, -2.0):
        sums = start.clone().to(device)
        on_device = {name: tensor.to(device) for name, tensor in x.items()}
        y = launch_channels(launch, on_device, sums, torch.tensor(_LENGTHS, device=device), log_eps)
        z = {name: tensor.double() for name, tensor in x.items()}
        aa, bb, pp = start.double().unbind()
        real = _real(x["k"])
        want, ends = ops.wkv4_scan(z["k"], z["v"], z["w"], z["u"], (aa, bb, pp), real, log_eps)
        worst = max(worst, _error(y, torch.where(real[..., None], want, 0.0), _TOLERANCE[dtype]))
        has_read = torch.tensor(_LENGTHS) > 0  # an empty row keeps its -1e30
        wanted = torch.stack(ends)[:, has_read]
        worst = max(worst, _error(sums.cpu()[:, has_read], wanted, 2 * _TOLERANCE[torch.float32]))
    return worst


def _draws(launch: Launch, device: torch.device) -> float:
    """The same tokens as the sampler of the CPU draws, and log-probabilities that differ in rounding only."""
    random = _Random()
    draws: DeviceDraws[int] = DeviceDraws(launch, device, _VOCABULARY)
    rows, wishes = {}, {}
    for i, settings in enumerate(_SETTINGS):
        sampler = Sampler(SamplingParams(seed=i, **settings), _VOCABULARY, banned=range(i, _VOCABULARY, 7))
        for token_id in (1, 5, 5, 2999):
            sampler.accept(token_id)
        # Neighbours are a hundredth apart, so that rounding exchanges none of them.
        logits, beside = (random.permutation(_VOCABULARY) / 100 for _ in range(2))
        is_guided, wish = sampler.params.cfg != 1, sampler.wish(_POSITION)
        assert wish is not None, "none of them is locally typical"
        wishes[i] = (wish, logits.to(device), beside.to(device) if is_guided else None)
        rows[i] = (sampler, sampler.pick(logits, _POSITION, beside if is_guided else None))
    draws.queue(wishes)
    answers, worst = draws.collect(), 0.0
    for i, (sampler, wanted) in rows.items():
        found = sampler.granted(answers[i]) if i in answers else None
        if found is None or [found.id, *(i for i, _ in found.top)] != [
            wanted.id,
            *(i for i, _ in wanted.top),
        ]:
            return torch.inf
        pairs = [(found.logprob, wanted.logprob), (found.mu or 0.0, wanted.mu or 0.0)]
        pairs += [(a, b) for (_, a), (_, b) in zip(found.top, wanted.top, strict=True)]
        worst = max([worst, *(abs(a - b) / _LOG_TOLERANCE for a, b in pairs)])
    return worst


def _step(launch: Launch, dtype: torch.dtype, kind: str, device: torch.device) -> float:
    random = _Random()
    state = {name: random.normal(*tensor.shape) for name, tensor in blank(_MODEL, max(_ROWS)).items()}
    model, reference = step_models(_MODEL, _checkpoint(random), dtype, kind, device)
    if why_not(model):
        return 0.0  # bf16 before sm_80
    decoder = Decoder(model, launch)
    worst = 0.0
    for n_rows in _ROWS:
        ids = torch.arange(n_rows)
        wanted = Scratch({name: tensor[:, :n_rows].clone() for name, tensor in state.items()})
        found = [tensor[:, :n_rows].contiguous().to(device) for tensor in state.values()]
        logits = decode7(ids.to(device), *found, decoder.number, n_rows == _ROWS[0])
        want = reference.step(ids.tolist(), wanted)
        pairs = [(logits, want), *zip(found, wanted.tensors.values(), strict=True)]
        worst = max(worst, *(_error(a, b.double(), _STEP_TOLERANCE[dtype]) for a, b in pairs))
    return worst


def _checkpoint(random: _Random) -> dict[str, Tensor]:
    """Of `_MODEL`; sums of products keep the size of their inputs."""
    width, n_wide, n_vocab = _MODEL.n_embd, _MODEL.n_ffn, _MODEL.n_vocab
    tensors = {"emb.weight": random.normal(n_vocab, width), "head.weight": random.linear(n_vocab, width)}

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + 0.2 * random.normal(width)
        tensors[f"{name}.bias"] = 0.1 * random.normal(width)

    norm("blocks.0.ln0")
    norm("ln_out")
    for i in range(_MODEL.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        for name in (f"blocks.{i}.ln1", f"blocks.{i}.ln2", f"{att}ln_x"):
            norm(name)
        tensors |= {f"{att}x_{j}": random.uniform(width) for j in "rwkvag"}
        tensors |= {att + name: random.normal(width) for name in ("w0", "a0", "v0", "k_k", "k_a")}
        tensors[att + "r_k"] = 0.3 * random.normal(_MODEL.n_head, _MODEL.head_size)
        for j, rank in _RANKS.items():
            tensors[f"{att}{j}1"] = random.linear(rank, width).T
            tensors[f"{att}{j}2"] = random.linear(width, rank).T
        for name in ("receptance", "key", "value", "output"):
            tensors[f"{att}{name}.weight"] = random.linear(width, width)
        tensors |= {f"{ffn}x_k": random.uniform(width), f"{ffn}key.weight": random.linear(n_wide, width)}
        tensors[f"{ffn}value.weight"] = random.linear(width, n_wide)
    return tensors


def step_models(
    spec: ModelSpec, exact: Mapping[str, Tensor], dtype: torch.dtype, kind: str, device: torch.device
) -> tuple[RWKV7, RWKV7]:
    """An RWKV-7 in 16 bit, its large matrices int8 if `kind` says so, and what its weights mean in float32, on the CPU."""
    stored: dict[str, Any] = {}
    meant: dict[str, Tensor] = {}
    for name, tensor in exact.items():
        if kind and re.search(COARSE, name):
            coarse = Coarse.of(tensor.to(device), kind, dtype)
            stored[name], meant[name] = coarse, replace(coarse, dtype=torch.float32).dense().cpu()
        else:
            stored[name] = tensor.to(device, dtype if is_matrix(name, tensor) else torch.float32)
            meant[name] = stored[name].float().cpu()
    model, reference = RWKV7(spec, stored), RWKV7(spec, meant)
    emb = model.weights.emb.float().cpu()
    reference.weights = replace(reference.weights, emb=emb)
    return model, reference


def _error(found: Tensor, wanted: Tensor, tolerance: float) -> float:
    difference = (found.cpu().double() - wanted).abs().nan_to_num(nan=torch.inf)
    return float(difference.max() / (tolerance * wanted.abs().max().clamp(min=1.0)))
