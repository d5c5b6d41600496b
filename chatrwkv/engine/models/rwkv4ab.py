"""RWKV-4a and 4b: RWKV-4 with a little attention. `forward` for training and truth, `scan` for inference.

Letters as in `rwkv4`, and:

    4a  after one block:  z = tiny_ln(x), e the embedding row *before* ln0
        M += (tiny_k z)(tiny_v e)ᵀ ;  x += (tiny_q z)ᵀ M / √d      M (d, C): linear attention, so a true state
    4b  in every block, from the same h and p as the time mixing:
        y += oo·Σ_i softmax_i(qq_t·kk_i / √d)·vv_i                  over all tokens i <= t, one head of d
        r does not gate it, and kk and vv of every token must be kept: 2·d numbers a token and layer

Source: fact sheet sections 6.1 and 6.2; `tests/reference/rwkv4ab.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from chatrwkv.engine.models import rwkv4
from chatrwkv.engine.models.base import Parts, Recurrent, embed, read_out
from chatrwkv.engine.models.rwkv4 import Layer4, Weights4, refuse_extras, time_mix
from chatrwkv.engine.ops import last_valid, project, real_tokens, token_shift
from chatrwkv.engine.past import Growth, blank_past
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import N_PAST
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from torch import Tensor

    from chatrwkv.engine.spec import ModelSpec

CHUNK = 256  # tokens whose (T, T) products of tiny attention are made at once
NAMES = ("att_shift", "aa", "bb", "pp", "ffn_shift")


@dataclass(frozen=True, slots=True)
class Tiny:
    """The linear attention of 4a."""

    block: int
    ln: Norm
    query: Tensor  # (d, C) each
    key: Tensor
    value: Tensor  # (C, C)

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], n_embd: int) -> Self:
        """From the one block that has it."""
        names = (name for name in tensors if name.endswith(("tiny_q.weight", "tiny_k.weight")))
        block = int(next(names).split(".")[1])
        reader = TensorReader(tensors).under(f"blocks.{block}.")
        d = reader.rows("tiny_q.weight", n_embd)
        return cls(
            block=block,
            ln=reader.norm("tiny_ln", n_embd),
            query=reader.take("tiny_q.weight", d, n_embd),
            key=reader.take("tiny_k.weight", d, n_embd),
            value=reader.take("tiny_v.weight", n_embd, n_embd),
        )

    def __call__(self, x: Tensor, e: Tensor, m: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
        """x, e (B, T, C), m (B, d, C) -> what x gains, new m."""
        z = self.ln(x)
        q, k, v = project(z, self.query), project(z, self.key), project(e, self.value)
        if real is not None:
            k = k * real[..., None]
        gains = []
        for at in range(0, x.shape[1], CHUNK):
            q_t, k_t, v_t = (y[:, at : at + CHUNK] for y in (q, k, v))
            gains.append((q_t @ k_t.mT).tril() @ v_t + q_t @ m)
            m = m + k_t.mT @ v_t
        return torch.cat(gains, 1) * self.query.shape[0] ** -0.5, m


@dataclass(frozen=True, slots=True)
class Heed:
    """The softmax attention of 4b in one block."""

    mix_q: Tensor  # (C,) each
    mix_k: Tensor
    mix_v: Tensor
    query: Tensor  # (d, C) each
    key: Tensor
    value: Tensor
    output: Tensor  # (C, d)

    @classmethod
    def read(cls, reader: TensorReader, n_embd: int) -> Self:
        """From `blocks.i.att.`."""
        d = reader.rows("qq.weight", n_embd)
        mixes = {f"mix_{j}": reader.take(f"time_mix_{j}{j}", n_embd) for j in "qkv"}
        return cls(
            **mixes,
            query=reader.take("qq.weight", d, n_embd),
            key=reader.take("kk.weight", d, n_embd),
            value=reader.take("vv.weight", d, n_embd),
            output=reader.take("oo.weight", n_embd, d),
        )

    def __call__(
        self, h: Tensor, p: Tensor, past: tuple[Tensor, Tensor], growth: Growth
    ) -> tuple[Tensor, Tensor, Tensor]:
        """h, p (B, T, C), the past kk and vv -> y (B, T, C), kk and vv (B, W, d)."""
        q = project(torch.lerp(p, h, self.mix_q), self.query)
        kk = growth.extend(past[0], project(torch.lerp(p, h, self.mix_k), self.key))
        vv = growth.extend(past[1], project(torch.lerp(p, h, self.mix_v), self.value))
        read = growth.attend(q @ kk.mT * self.query.shape[0] ** -0.5, vv)
        return project(read, self.output), kk, vv


@dataclass(frozen=True, slots=True)
class Layer4AB(Layer4):
    """One block of RWKV-4, and its attention."""

    tiny: Tiny | None = None  # of one block of 4a
    heed: Heed | None = None  # of every block of 4b


@dataclass(frozen=True, slots=True)
class Weights4AB:
    """Those of an RWKV-4, and the attention: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    raw_emb: Tensor  # (V, C), before ln0 also when folded
    ln0: Norm | None  # None once folded into emb
    layers: tuple[Layer4AB, ...]
    ln_out: Norm
    head: Tensor  # (V, C)

    @classmethod
    def build(cls, tensors: Mapping[str, Tensor], spec: ModelSpec) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        base, reader, C = Weights4.build(tensors, spec), TensorReader(tensors), spec.n_embd
        tiny = Tiny.read(tensors, C) if spec.generation is Generation.V4A else None
        layers = []
        for i, layer in enumerate(base.layers):
            heed = Heed.read(reader.under(f"blocks.{i}.att."), C) if tiny is None else None
            here = tiny if tiny is not None and tiny.block == i else None
            layers.append(Layer4AB(layer.ln1, layer.att, layer.ln2, layer.ffn, tiny=here, heed=heed))
        return cls(base.emb, base.emb, base.ln0, tuple(layers), base.ln_out, base.head)

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def blank(weights: Weights4AB, spec: ModelSpec, n_rows: int, device: torch.device) -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    state = rwkv4.blank(spec, n_rows, device)
    for layer in weights.layers:
        if layer.tiny is not None:
            d = layer.tiny.query.shape[0]
            return state | {"tiny": torch.zeros(1, n_rows, d, spec.n_embd, device=device)}
        if layer.heed is not None:
            width = (spec.n_layer, layer.heed.key.shape[0])
            return state | blank_past(n_rows, device, kk=width, vv=width)
    return state


def forward(
    weights: Weights4AB,
    token_ids: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    *,
    all_logits: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Read B rows of T tokens: pure, nothing in place, differentiable in weights and state.

    Args:
        weights: folded or not.
        token_ids: (B, T) int64; behind a row's length anything valid.
        state: as `blank` makes it; not written to.
        lengths: (B,) real tokens of each row, from 0 to T; None means T.
        all_logits: False gives those after each row's last real token only.

    Returns:
        logits (B, T, V) or (B, V) and the new state, in the dtype of the vectors.
    """
    return PARTS.forward(weights, token_ids, state, lengths, all_logits=all_logits)


@dataclass(frozen=True, slots=True)
class Call4AB:
    """What the blocks of one call share."""

    e: Tensor | None  # (B, T, C), embedding before ln0, of 4a
    m: Tensor | None  # (B, d, C): M of 4a, before its block and after
    growth: Growth | None  # of 4b


def enter(
    weights: Weights4AB, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None
) -> tuple[Tensor, Call4AB]:
    """The embedding, through ln0 and as it is."""
    x, _ = embed(weights, token_ids, state, lengths)
    if "tiny" not in state:
        return x, Call4AB(None, None, Growth(state, token_ids.shape[1], lengths))
    return x, Call4AB(F.embedding(token_ids, weights.raw_emb).to(x.dtype), state["tiny"][0], None)


def blocks(
    layers: Sequence[Layer4AB], x: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, call: Call4AB
) -> tuple[Tensor, dict[str, Tensor], Call4AB]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, the call with M."""
    real, growth = real_tokens(x[..., 0], lengths), call.growth
    new: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    past: dict[str, list[Tensor]] = {"past_kk": [], "past_vv": []}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        shifted = token_shift(h, p)
        y, sums = time_mix(layer.att, h, shifted, (state["aa"][i], state["bb"][i], state["pp"][i]), real)
        x = torch.add(x, y, alpha=layer.scale)
        if layer.heed is not None and growth is not None:
            read, kk, vv = layer.heed(h, shifted, (state["past_kk"][i], state["past_vv"][i]), growth)
            past["past_kk"].append(kk)
            past["past_vv"].append(vv)
            x = x + read
        g, q = layer.ln2(x), state["ffn_shift"][i]
        x = torch.add(x, layer.ffn(g, token_shift(g, q)), alpha=layer.scale)
        if layer.tiny is not None and call.e is not None and call.m is not None:
            gain, m = layer.tiny(x, call.e, call.m, real)
            x, call = x + gain, replace(call, m=m)
        parts = (last_valid(h, p, lengths), *sums, last_valid(g, q, lengths))
        for name, part in zip(NAMES, parts, strict=True):
            new[name].append(part)
    after = {name: torch.stack(parts) for name, parts in new.items()}
    return x, after if growth is None else after | growth.kept(past), call


def leave(
    weights: Weights4AB,
    x: Tensor,
    call: Call4AB,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    *,
    all_logits: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, T, V) or (B, V), and M or the length of the past."""
    logits, _ = read_out(weights, x, call, state, lengths, all_logits=all_logits)
    rest = {} if call.m is None else {"tiny": call.m[None]}
    return logits, rest if call.growth is None else call.growth.rest({})


PARTS = Parts(blocks, enter, leave, frozenset({N_PAST, "tiny"}))


class RWKV4AB(Recurrent):
    """An RWKV-4a or 4b ready to run, ln0 folded into the embedding; one token is a scan of T = 1."""

    PARTS: ClassVar[Parts] = PARTS
    RESCALES: ClassVar[bool] = True

    def __init__(self, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
        self.weights = Weights4AB.build(tensors, spec).folded()
        super().__init__(spec, self.weights.emb.device)

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        refuse_extras(tensors)
        Weights4AB.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.weights, self.spec, n_rows, self.device)
