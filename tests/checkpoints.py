"""Tiny synthetic checkpoints with the names, shapes and magnitudes of published ones.

Values are drawn about the published initialisation (fact sheet section 20), with every zero replaced by
something: a weight that starts at zero would hide the code that uses it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Size:
    """L layers, C channels, N head size, V vocabulary, F width of ffn (0: the generation's own)."""

    n_layer: int = 2
    n_embd: int = 64
    head_size: int = 64
    n_vocab: int = 50
    n_ffn: int = 0


class Draw:
    """Seeded values; the order of calls decides them."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        return mean + std * torch.randn(shape, generator=self.generator)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def linear(self, n_out: int, n_in: int, gain: float = 1.0) -> Tensor:
        return self.normal(n_out, n_in, std=gain / n_in**0.5)


def norm(draw: Draw, tensors: dict[str, Tensor], name: str, size: int) -> None:
    tensors[f"{name}.weight"] = draw.uniform(size, low=0.6, high=1.4)
    tensors[f"{name}.bias"] = draw.normal(size, std=0.1)


def frame(draw: Draw, size: Size) -> dict[str, Tensor]:
    """What every generation from v3 on has around its blocks."""
    tensors = {"emb.weight": draw.normal(size.n_vocab, size.n_embd, std=0.5)}
    norm(draw, tensors, "blocks.0.ln0", size.n_embd)
    for i in range(size.n_layer):
        norm(draw, tensors, f"blocks.{i}.ln1", size.n_embd)
        norm(draw, tensors, f"blocks.{i}.ln2", size.n_embd)
    norm(draw, tensors, "ln_out", size.n_embd)
    tensors["head.weight"] = draw.linear(size.n_vocab, size.n_embd)
    return tensors


def ffn4(draw: Draw, tensors: dict[str, Tensor], size: Size, i: int) -> None:
    """The channel mixing of v4 and v5."""
    C, F = size.n_embd, size.n_ffn or 4 * size.n_embd
    ffn = f"blocks.{i}.ffn."
    tensors[ffn + "time_mix_k"] = draw.uniform(1, 1, C)
    tensors[ffn + "time_mix_r"] = draw.uniform(1, 1, C)
    tensors[ffn + "key.weight"] = draw.linear(F, C)
    tensors[ffn + "receptance.weight"] = draw.linear(C, C)
    tensors[ffn + "value.weight"] = draw.linear(C, F, 0.5)


def rwkv23(
    size: Size = Size(),
    seed: int = 0,
    *,
    is_v2: bool = False,
    one_mix: bool = False,
    ffn_pre: bool = False,
    copy_width: int = 0,
) -> dict[str, Tensor]:
    """RWKV-3, or 2: its own with one mix, AI-Writer's `_new_` with three; `copy_width` of HeadQK."""
    draw, C = Draw(seed), size.n_embd
    tensors = rwkv4(size, seed)
    for i in range(size.n_layer):
        block = f"blocks.{i}."
        for name in ("time_decay", "time_first"):
            tensors[f"{block}att.{name}"] = tensors[f"{block}att.{name}"][:, None]
        if one_mix:
            for name in ("att", "ffn"):
                tensors[f"{block}{name}.time_mix"] = tensors.pop(f"{block}{name}.time_mix_k")
                for letter in "vr":
                    tensors.pop(f"{block}{name}.time_mix_{letter}", None)
    if is_v2:
        del tensors["blocks.0.ln0.weight"], tensors["blocks.0.ln0.bias"]
    if ffn_pre:
        made = {n: t for n, t in tensors.items() if n.startswith("blocks.1.ffn.")}
        tensors |= {
            n.replace("blocks.1.ffn.", "blocks.0.ffnPre."): t.flip(0).clone() for n, t in made.items()
        }
        tensors = {n: t for n, t in tensors.items() if not n.startswith("blocks.0.att.")}
    if copy_width:
        tensors["head_q.weight"] = draw.linear(copy_width, C, 1.5)
        tensors["head_k.weight"] = draw.linear(copy_width, C, 1.5)
    return tensors


def rwkv4(size: Size = Size(), seed: int = 0) -> dict[str, Tensor]:
    """RWKV-4: a decay from exp(-exp(-5)) to exp(-exp(3)) for each channel."""
    draw, C = Draw(seed), size.n_embd
    tensors = frame(draw, size)
    for i in range(size.n_layer):
        att = f"blocks.{i}.att."
        tensors[att + "time_decay"] = draw.uniform(C, low=-5, high=3)
        tensors[att + "time_first"] = draw.normal(C, mean=-1.2, std=0.5)
        for j in "kvr":
            tensors[f"{att}time_mix_{j}"] = draw.uniform(1, 1, C)
        for name, gain in (("receptance", 1.0), ("key", 2.0), ("value", 1.0), ("output", 0.5)):
            tensors[f"{att}{name}.weight"] = draw.linear(C, C, gain)
        ffn4(draw, tensors, size, i)
    return tensors


def rwkv4a(size: Size = Size(), seed: int = 0) -> dict[str, Tensor]:
    """RWKV-4 with linear attention after its last block."""
    tensors, draw, C = rwkv4(size, seed), Draw(seed + 1), size.n_embd
    tiny, d = f"blocks.{size.n_layer - 1}.tiny_", C // 4
    norm(draw, tensors, tiny + "ln", C)
    tensors[tiny + "q.weight"] = draw.linear(d, C, 0.5)
    tensors[tiny + "k.weight"] = draw.linear(d, C, 0.5)
    tensors[tiny + "v.weight"] = draw.linear(C, C, 0.5)
    return tensors


def rwkv4b(size: Size = Size(), seed: int = 0) -> dict[str, Tensor]:
    """RWKV-4 with softmax attention of C/16 channels in every block."""
    tensors, draw, C = rwkv4(size, seed), Draw(seed + 1), size.n_embd
    for i in range(size.n_layer):
        att, d = f"blocks.{i}.att.", max(2, C // 16)
        for j in ("qq", "kk", "vv"):
            tensors[f"{att}time_mix_{j}"] = draw.uniform(1, 1, C)
            tensors[f"{att}{j}.weight"] = draw.linear(d, C)
        tensors[att + "oo.weight"] = draw.linear(C, d, 0.5)
    return tensors


def _att_of_heads(draw: Draw, tensors: dict[str, Tensor], size: Size, att: str, names: str) -> None:
    C = size.n_embd
    for name in names.split():
        gain = 0.5 if name in {"key", "output"} else 1.0
        tensors[f"{att}{name}.weight"] = draw.linear(C, C, gain)
    norm(draw, tensors, att + "ln_x", C)


def rwkv5(
    size: Size = Size(), seed: int = 0, *, minor: int = 2, has_time_first: bool = False
) -> dict[str, Tensor]:
    """RWKV-5.`minor`: 0 without gate, 0 and 1 with one decay a head, which may have a time_first."""
    draw, C, N = Draw(seed), size.n_embd, size.head_size
    shape = (C // N, N) if minor == 2 else (C // N,)
    tensors = frame(draw, size)
    for i in range(size.n_layer):
        att = f"blocks.{i}.att."
        tensors[att + "time_decay"] = draw.uniform(*shape, low=-6, high=2)
        bonus = "time_first" if has_time_first else "time_faaaa"
        tensors[att + bonus] = draw.normal(*shape, mean=-1.0 if has_time_first else 0.3, std=0.5)
        for j in "kvr" if minor == 0 else "kvrg":
            tensors[f"{att}time_mix_{j}"] = draw.uniform(1, 1, C)
        gate = "" if minor == 0 else " gate"
        _att_of_heads(draw, tensors, size, att, "receptance key value output" + gate)
        ffn4(draw, tensors, size, i)
    return tensors


def rwkv6(size: Size = Size(), seed: int = 0, *, mix_rank: int = 8, decay_rank: int = 6) -> dict[str, Tensor]:
    """RWKV-6: decays that depend on the token, from near 1 down to exp(-exp(3)); published ranks are 32, 64."""
    draw, C, F, N = Draw(seed), size.n_embd, size.n_ffn or 4 * size.n_embd, size.head_size
    tensors = frame(draw, size)
    for i in range(size.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        for j in "xwkvrg":
            tensors[f"{att}time_maa_{j}"] = draw.uniform(1, 1, C)
        tensors[att + "time_maa_w1"] = draw.normal(C, 5 * mix_rank, std=C**-0.5)
        tensors[att + "time_maa_w2"] = draw.normal(5, mix_rank, C, std=0.2)
        tensors[att + "time_decay"] = draw.uniform(1, 1, C, low=-6, high=2)
        tensors[att + "time_decay_w1"] = draw.normal(C, decay_rank, std=C**-0.5)
        tensors[att + "time_decay_w2"] = draw.normal(decay_rank, C, std=0.5)
        tensors[att + "time_faaaa"] = draw.normal(C // N, N, mean=0.3, std=0.5)
        _att_of_heads(draw, tensors, size, att, "receptance key value gate output")
        tensors[ffn + "time_maa_k"] = draw.uniform(1, 1, C)
        tensors[ffn + "time_maa_r"] = draw.uniform(1, 1, C)
        tensors[ffn + "key.weight"] = draw.linear(F, C)
        tensors[ffn + "receptance.weight"] = draw.linear(C, C)
        tensors[ffn + "value.weight"] = draw.linear(C, F, 0.5)
    return tensors


def rwkv7(size: Size = Size(), seed: int = 0, *, v_in_block_0: bool = False) -> dict[str, Tensor]:
    """RWKV-7; G1 files carry v0 v1 v2 in block 0 too, World files do not."""
    draw, C, F = Draw(seed), size.n_embd, size.n_ffn or 4 * size.n_embd
    tensors = frame(draw, size)
    for i in range(size.n_layer):
        att, ffn = f"blocks.{i}.att.", f"blocks.{i}.ffn."
        for j in "rwkvag":
            tensors[f"{att}x_{j}"] = draw.uniform(1, 1, C)
        # w0 from -6 to 0.5 over the channels: decays from 0.9985 down to about 0.68
        spread = torch.linspace(-6, 0.5, C)[torch.randperm(C, generator=draw.generator)]
        tensors[att + "w0"] = spread.view(1, 1, C)
        tensors[att + "a0"] = draw.normal(1, 1, C, mean=-0.2, std=0.3)
        for letter, rank in (("w", 8), ("a", 8), ("v", 6), ("g", 12)):
            if letter == "v" and not (i or v_in_block_0):
                continue
            tensors[f"{att}{letter}1"] = draw.normal(C, rank, std=C**-0.5)
            tensors[f"{att}{letter}2"] = draw.normal(rank, C, std=rank**-0.5)
        if i or v_in_block_0:
            tensors[att + "v0"] = draw.normal(1, 1, C, mean=0.7, std=0.3)
        tensors[att + "k_k"] = draw.normal(1, 1, C, mean=0.7, std=0.1)
        tensors[att + "k_a"] = draw.normal(1, 1, C, mean=1.0, std=0.1)
        tensors[att + "r_k"] = draw.normal(C // size.head_size, size.head_size, mean=-0.04, std=0.1)
        for name, gain in (("receptance", 1.0), ("key", 0.4), ("value", 1.0), ("output", 0.5)):
            tensors[f"{att}{name}.weight"] = draw.linear(C, C, gain)
        norm(draw, tensors, att + "ln_x", C)
        tensors[ffn + "x_k"] = draw.uniform(1, 1, C)
        tensors[ffn + "key.weight"] = draw.linear(F, C)
        tensors[ffn + "value.weight"] = draw.linear(C, F, 0.5)
    return tensors


def rwkv7a(size: Size = Size(), seed: int = 0, *, rank: int = 4) -> dict[str, Tensor]:
    """RWKV-7 with DeepEmbed; published files have rank 32."""
    tensors, draw = rwkv7(size, seed), Draw(seed + 1)
    C, F, V = size.n_embd, size.n_ffn or 4 * size.n_embd, size.n_vocab
    for i in range(size.n_layer):
        ffn = f"blocks.{i}.ffn."
        tensors[ffn + "s1"] = draw.normal(C, rank, std=C**-0.5)
        tensors[ffn + "s2"] = draw.normal(rank, F, std=rank**-0.5)
        tensors[ffn + "s0"] = draw.normal(1, 1, F, mean=1.0, std=0.2)
        tensors[ffn + "s_emb.weight"] = draw.normal(V, rank * rank, std=0.3)
        tensors[ffn + "s_emb_x.weight"] = draw.linear(rank * rank, C, 0.3)
    return tensors


def rwkv7b(size: Size = Size(), seed: int = 0) -> dict[str, Tensor]:
    """RWKV-7 with DeepEmbed and its attention; published files have widths 256 and 32."""
    tensors, draw = rwkv7a(size, seed), Draw(seed + 2)
    C, V, D, R = size.n_embd, size.n_vocab, 24, 6
    for i in range(size.n_layer):
        qkv = f"blocks.{i}.qkv."
        tensors[qkv + "qq.weight"] = draw.linear(D, C)
        for j, width in (("k", D), ("v", C)):
            tensors[f"{qkv}{j}1"] = draw.normal(C, R, std=C**-0.5)
            tensors[f"{qkv}{j}2"] = draw.normal(R, width, std=R**-0.5)
            tensors[f"{qkv}{j}_emb.weight"] = draw.normal(V, width)
            tensors[f"{qkv}{j}_emb_x.weight"] = draw.linear(width, C, 0.5)
            tensors[f"{qkv}x_{j}"] = draw.uniform(1, 1, width)
        tensors[qkv + "x_q"] = draw.uniform(1, 1, D)
        _norms_of_dea(draw, tensors, qkv, D, C)
    return tensors


def rwkv8(size: Size = Size(), seed: int = 0, *, is_hybrid: bool = False) -> dict[str, Tensor]:
    """RWKV-8 rc00, or its hybrid, which has no use for ln0."""
    tensors, draw = rwkv7(size, seed), Draw(seed + 1)
    if is_hybrid:
        del tensors["blocks.0.ln0.weight"], tensors["blocks.0.ln0.bias"]
    C, V, D, R = size.n_embd, size.n_vocab, 24, 6
    for i in range(size.n_layer):
        tensors[f"blocks.{i}.ffn.enn.weight"] = draw.normal(V, C, mean=1.0, std=0.3)
        if is_hybrid:
            qkv = f"blocks.{i}.qkv."
            tensors[qkv + "qq.weight"] = draw.linear(D, C)
            for j, width in (("kk", D), ("vv", C)):
                tensors[f"{qkv}{j}.weight"] = draw.linear(R, C)
                tensors[f"{qkv}{j}up.weight"] = draw.linear(width, R)
            tensors[qkv + "ennk.weight"] = draw.normal(V, D)
            tensors[qkv + "emm.weight"] = draw.normal(V, C)
            _norms_of_dea(draw, tensors, qkv, D, C)
    return tensors


def _norms_of_dea(draw: Draw, tensors: dict[str, Tensor], qkv: str, width: int, n_embd: int) -> None:
    norm(draw, tensors, qkv + "lnq", width)
    norm(draw, tensors, qkv + "lnk", width)
    for name in ("lnq", "lnk"):  # with 256 channels q·K has a deviation of 16, with 24 only of 5
        tensors[f"{qkv}{name}.weight"] *= 3
    norm(draw, tensors, qkv + "lnv", n_embd)
    tensors[qkv + "lnv.weight"] *= 0.3


def rwkv1(
    size: Size = Size(), seed: int = 0, *, ctx_len: int = 128, tiny_heads: int = 0, has_copy: bool = True
) -> dict[str, Tensor]:
    """RWKV-1: tables that end at ctx_len, an attention wider than the stream, biases everywhere."""
    draw, C, H, V = Draw(seed), size.n_embd, size.n_embd // size.head_size, size.n_vocab
    A, F, N = 2 * C, size.n_ffn or 2 * C + 8, ctx_len
    tensors = {"tok_emb.weight": draw.normal(V, C, std=0.7), "head.weight": draw.linear(V, C)}
    norm(draw, tensors, "ln_f", C)

    def linear(name: str, n_out: int, n_in: int, gain: float = 1.0) -> None:
        tensors[f"{name}.weight"] = draw.linear(n_out, n_in, gain)
        tensors[f"{name}.bias"] = draw.normal(n_out, std=0.1)

    for i in range(size.n_layer):
        block, att, mlp = (f"blocks.{i}.{part}" for part in ("", "attn.", "mlp."))
        norm(draw, tensors, block + "ln1", C)
        norm(draw, tensors, block + "ln2", C)
        ago = torch.arange(N).flip(0)
        rates = torch.tensor([0.5 ** (h + 1) for h in range(H)])[:, None]
        tensors[att + "time_w"] = torch.exp(-ago * rates) + draw.uniform(H, N, high=0.1)
        tensors[att + "time_alpha"] = draw.uniform(H, 1, N, low=0.5, high=1.5)
        tensors[att + "time_beta"] = draw.uniform(H, N, 1, low=0.5, high=1.5)
        tensors[att + "time_gamma"] = draw.uniform(N, 1, low=0.5, high=1.5)
        for name in ("key", "value", "receptance"):
            linear(att + name, A, C)
        linear(att + "output", C, A)
        if tiny_heads:
            linear(att + "tiny_att.qkv", 3 * 12, C)
            linear(att + "tiny_att.out", C, 12, 0.5)
            tensors[att + "tiny_att.n_head"] = torch.tensor([float(tiny_heads)])
        for name in ("key", "value"):
            linear(mlp + name, F, C)
        linear(mlp + "weight", C, F, 0.7)
        linear(mlp + "receptance", C, C)
    if has_copy:
        linear("head_q", 24, C, 1.5)
        linear("head_k", 24, C, 1.5)
        tensors["time_out"] = draw.uniform(1, N, 1, low=0.5, high=1.5)
    return tensors
