"""RWKV-2 and RWKV-3 (2022): `forward` for training and truth, `scan` and `step` for inference.

Letters, as in the checkpoints:

    B rows  T tokens  C n_embd  F width of ffn  V vocabulary  L layers  Q width of the copy head (256)
    x  residual stream    h  LN1(x) or LN2(x)    p  h of the token before
    r  receptance, a gate in (0, 1)    k  key, an exponent, at most 60    v  value
    w = -exp(time_decay), log of the decay    u = time_first, log of the bonus of the token itself
    wkv = (aa + e^(u+k)·v) / (bb + e^(u+k) + k_eps) ;  aa = e^w·aa + e^k·v ;  bb = e^w·bb + e^k

v3 is pre-LN (x += att(LN1 x)) and has ln0. v2 is post-LN: the LayerNorm's output *replaces* x. v2 proper has
one mix coefficient for all; AI-Writer's `_new_` models have v3's three on v2's stream. Either may have
`ffnPre`, a channel mixing instead of the attention of block 0, and HeadQK: the head adds
(head_k y_i)·(head_q y_t)/256 to the logit of the token at i, for the last ctx_len tokens i up to t itself.

The sums are kept as v4 keeps them, aa·exp(pp) and bb·exp(pp): exp(60) is no number in half precision. k_eps
is not in the file (`options`); it is seen only while bb is tiny.

Source: fact sheet sections 4 and 5; `tests/reference/rwkv23.py` in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch

from chatrwkv.engine.models.base import Parts, Recurrent, embed
from chatrwkv.engine.models.rwkv4 import Att4, Ffn4, Sums
from chatrwkv.engine.ops import NOTHING_4, last_valid, project, real_tokens, token_shift
from chatrwkv.engine.options import default_options
from chatrwkv.engine.past import Growth, blank_past
from chatrwkv.engine.recurrences import wkv4_scan
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import N_PAST, PAST_IDS
from chatrwkv.engine.weights import Norm, TensorReader, fold_ln0

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from torch import Tensor

    from chatrwkv.engine.options import OptionValue
    from chatrwkv.engine.spec import ModelSpec

MAX_KEY = 60.0
NAMES = ("att_shift", "aa", "bb", "pp", "ffn_shift")


@dataclass(frozen=True, slots=True)
class Layer23:
    """One block: attention, or the channel mixing `ffnPre` in its place."""

    ln1: Norm
    att: Att4 | Ffn4
    ln2: Norm
    ffn: Ffn4


@dataclass(frozen=True, slots=True)
class CopyHead:
    """HeadQK: attention from the last layer straight to the logits of tokens that occurred."""

    query: Tensor  # (Q, C) each
    key: Tensor


@dataclass(frozen=True, slots=True)
class Weights23:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    ln0: Norm | None  # None in v2, and once folded into emb
    layers: tuple[Layer23, ...]
    ln_out: Norm
    head: Tensor  # (V, C)
    copy_head: CopyHead | None
    is_post_ln: bool
    log_eps: float
    ctx_len: int  # how far the copy head reaches

    @classmethod
    def build(
        cls, tensors: Mapping[str, Tensor], spec: ModelSpec, options: Mapping[str, OptionValue] | None = None
    ) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        reader = TensorReader(tensors)
        chosen = options or default_options(spec)
        C, V = spec.n_embd, spec.n_vocab
        is_v2 = spec.generation is Generation.V2
        width = copy_width(tensors)
        return cls(
            emb=reader.take("emb.weight", V, C),
            ln0=None if is_v2 else reader.norm("blocks.0.ln0", C),
            layers=tuple(_layer(reader.under(f"blocks.{i}."), spec) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_out", C),
            head=reader.take("head.weight", V, C),
            copy_head=CopyHead(reader.take("head_q.weight", width, C), reader.take("head_k.weight", width, C))
            if width
            else None,
            is_post_ln=is_v2,
            log_eps=math.log(float(chosen["k_eps"])),
            ctx_len=int(chosen["ctx_len"]),
        )

    def folded(self) -> Self:
        """The same with ln0 applied to the embedding, once, for inference. Not for training."""
        return self if self.ln0 is None else replace(self, emb=fold_ln0(self.emb, self.ln0), ln0=None)


def copy_width(tensors: Mapping[str, Tensor]) -> int:
    """Q, 0 without HeadQK; its two matrices are there together."""
    found = next((tensors[name] for name in ("head_q.weight", "head_k.weight") if name in tensors), None)
    return 0 if found is None else len(found)


def _layer(reader: TensorReader, spec: ModelSpec) -> Layer23:
    C = spec.n_embd
    ffn = _ffn(reader.under("ffn."), spec)
    has_pre = reader.has("ffnPre.key.weight") or reader.has("ffnPre.value.weight")
    att = _ffn(reader.under("ffnPre."), spec) if has_pre else _att_of(reader, C)
    return Layer23(ln1=reader.norm("ln1", C), att=att, ln2=reader.norm("ln2", C), ffn=ffn)


def _att_of(reader: TensorReader, C: int) -> Att4:
    att = reader.under("att.")
    mixes = {f"mix_{j}": att.take(_mix_name(att, j), C) for j in "kvr"}
    squares = {j: att.take(f"{j}.weight", C, C) for j in ("receptance", "key", "value", "output")}
    decay, first = att.take("time_decay", C), att.take("time_first", C)
    return Att4(**mixes, **squares, time_decay=decay, time_first=first)


def _ffn(reader: TensorReader, spec: ModelSpec) -> Ffn4:
    C, width = spec.n_embd, spec.n_ffn
    return Ffn4(
        mix_k=reader.take(_mix_name(reader, "k"), C),
        mix_r=reader.take(_mix_name(reader, "r"), C),
        key=reader.take("key.weight", width, C),
        receptance=reader.take("receptance.weight", C, C),
        value=reader.take("value.weight", C, width),
    )


def _mix_name(reader: TensorReader, letter: str) -> str:
    return "time_mix" if reader.has("time_mix") else f"time_mix_{letter}"


def blank(
    spec: ModelSpec, n_rows: int, device: torch.device | str = "cpu", width: int = 0
) -> dict[str, Tensor]:
    """The state before the first token, B behind L; with HeadQK of `width` the past of the copy head too.

    Under `ffnPre`, att_shift of block 0 is its shift, and the sums of block 0 stay empty.
    """
    shape = (spec.n_layer, n_rows, spec.n_embd)
    state = {name: torch.full(shape, NOTHING_4 if name == "pp" else 0.0, device=device) for name in NAMES}
    return state | (blank_past(n_rows, device, key=(1, width), ids=(1,)) if width else {})


def forward(
    weights: Weights23,
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
class Call23:
    """What the blocks of one call share."""

    token_ids: Tensor  # (B, T)
    is_post_ln: bool
    log_eps: float
    growth: Growth | None  # with HeadQK


def enter(
    weights: Weights23, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None
) -> tuple[Tensor, Call23]:
    """The embedding, through ln0 in v3."""
    x, _ = embed(weights, token_ids, state, lengths)
    growth = Growth(state, token_ids.shape[1], lengths, weights.ctx_len) if N_PAST in state else None
    return x, Call23(token_ids, weights.is_post_ln, weights.log_eps, growth)


def blocks(
    layers: Sequence[Layer23], x: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, call: Call23
) -> tuple[Tensor, dict[str, Tensor], Call23]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, the same call."""
    real = real_tokens(x[..., 0], lengths)
    new: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        sums = (state["aa"][i], state["bb"][i], state["pp"][i])
        if isinstance(layer.att, Ffn4):
            y = layer.att(h, token_shift(h, p))
        else:
            y, sums = _att(layer.att, h, token_shift(h, p), sums, real, call.log_eps)
        x = (h if call.is_post_ln else x) + y
        g, q = layer.ln2(x), state["ffn_shift"][i]
        x = (g if call.is_post_ln else x) + layer.ffn(g, token_shift(g, q))
        parts = (last_valid(h, p, lengths), *sums, last_valid(g, q, lengths))
        for name, part in zip(NAMES, parts, strict=True):
            new[name].append(part)
    return x, {name: torch.stack(parts) for name, parts in new.items()}, call


def leave(
    weights: Weights23,
    x: Tensor,
    call: Call23,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    *,
    all_logits: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, T, V) or (B, V), and the past of HeadQK."""
    y = weights.ln_out(x)
    if weights.copy_head is None or call.growth is None:
        return logits_of(y, weights.head, None, lengths, all_logits=all_logits), {}
    copied, past = _copied(weights.copy_head, call.growth, y, call.token_ids, state)
    return logits_of(y, weights.head, copied, lengths, all_logits=all_logits), past


PARTS = Parts(blocks, enter, leave, frozenset({N_PAST, PAST_IDS, "past_key"}))


def _att(
    att: Att4, h: Tensor, p: Tensor, sums: Sums, real: Tensor | None, log_eps: float
) -> tuple[Tensor, Sums]:
    """Time mixing: h, p (B, T, C), sums (B, C) each -> y (B, T, C), new sums."""
    r = project(torch.lerp(p, h, att.mix_r), att.receptance).sigmoid()
    k = project(torch.lerp(p, h, att.mix_k), att.key).clamp(max=MAX_KEY)
    v = project(torch.lerp(p, h, att.mix_v), att.value)
    wkv, sums = wkv4_scan(k, v, -att.time_decay.exp(), att.time_first, sums, real, log_eps)
    return project(r * wkv, att.output), sums


def _copied(
    head: CopyHead, growth: Growth, y: Tensor, token_ids: Tensor, state: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
    """HeadQK: y (B, T, C) -> what to add (B, T, W) to the logits of which ids (B, W), and the new past."""
    keys = growth.extend(state["past_key"][0], project(y, head.key))
    ids = growth.extend(state[PAST_IDS][0], token_ids)
    scores = project(y, head.query) @ keys.mT / head.query.shape[0]
    scores = scores.masked_fill(~growth.readable(keys), 0.0)
    return (scores, ids), growth.rest({"past_key": keys, PAST_IDS: ids})


def logits_of(
    y: Tensor, head: Tensor, copied: tuple[Tensor, Tensor] | None, lengths: Tensor | None, *, all_logits: bool
) -> Tensor:
    """Logits (B, T, V) or (B, V) of y (B, T, C), with the scores of HeadQK added to those of their ids."""
    if not all_logits:
        y = last_valid(y, y[:, 0], lengths)
    logits = project(y, head)
    if copied is None:
        return logits
    scores, ids = copied
    if not all_logits:
        scores = last_valid(scores, scores[:, 0], lengths)
    return logits.scatter_add(-1, (ids[:, None] if all_logits else ids).expand(scores.shape), scores)


class RWKV23(Recurrent):
    """An RWKV-2 or 3 ready to run, ln0 folded into the embedding; one token is a scan of T = 1."""

    PARTS: ClassVar[Parts] = PARTS
    TAKES_OPTIONS: ClassVar[bool] = True

    def __init__(
        self,
        spec: ModelSpec,
        tensors: Mapping[str, Tensor],
        options: Mapping[str, OptionValue] | None = None,
    ) -> None:
        self.weights = Weights23.build(tensors, spec, options).folded()
        super().__init__(spec, self.weights.emb.device)

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a value."""
        Weights23.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        head = self.weights.copy_head
        return blank(self.spec, n_rows, self.device, 0 if head is None else head.query.shape[0])
