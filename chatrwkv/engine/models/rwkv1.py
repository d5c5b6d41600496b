"""RWKV-1 (2021): as a network with a growing state. `forward` for training and truth, `scan` for inference.

Letters, as in the checkpoints:

    B rows  T tokens  C n_embd  A width of attention  H heads  F width of mlp  V vocabulary  L layers
    N = ctx_len tokens of context, t the place of a token in it, 0 <= t < N
    x  residual stream    h  LN1(x) or LN2(x)    z  half of the channels of the token before, half of h
    r  receptance, a gate    k = exp(key)    v  value    all Linear layers but the head have a bias
    m_u = time_alpha[u]·(k⊙v)_u    kept of every token u
    wkv_t = time_beta[t]·Σ_{u<=t} time_w[N-1-(t-u)]·m_u     per head ;   sum_k adds up all k, undecayed
    x += (output(r⊙wkv / sum_k) + tiny attention)·time_gamma[t]
    x += σ(receptance z)·weight(mish(key z) ⊙ value z)
    logits = head(y·time_out[t]) + HeadQK

Tiny attention (code of 2021-08-19 to 2022-02-15) is softmax attention of a few channels over all tokens;
HeadQK (from 2022-02) and time_out are optional too. The activation and the clamp of the keys before
2021-08-25 leave no trace (`options`).

Every table ends at N, so the context is full there; `window` drops the older half and reads the rest again.
Official code reads the last N again for every token, which is 256 times the work for N = 512.

Source: fact sheet section 3; `tests/reference/rwkv1.py` in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch.nn import functional as F

from chatrwkv.engine.models.base import Parts, Recurrent
from chatrwkv.engine.models.rwkv23 import logits_of
from chatrwkv.engine.ops import last_valid, project, real_tokens, token_shift
from chatrwkv.engine.options import default_options
from chatrwkv.engine.past import Growth, blank_past
from chatrwkv.engine.state import N_PAST, PAST_IDS
from chatrwkv.engine.weights import Norm, TensorReader
from chatrwkv.errors import GenerationError, ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from torch import Tensor

    from chatrwkv.engine.options import OptionValue
    from chatrwkv.engine.spec import ModelSpec

MAX_KEY, MIN_KEY = 30.0, -60.0
# what the keys are clamped to, by the option k_clamp
_CLAMPS: dict[str, tuple[float | None, float | None]] = {
    "both": (MIN_KEY, MAX_KEY),
    "upper": (None, MAX_KEY),
    "none": (None, None),
}


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix and its bias."""

    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)

    @classmethod
    def read(cls, reader: TensorReader, name: str, n_out: int, n_in: int) -> Self:
        """From `name.weight` and `name.bias`."""
        return cls(reader.take(f"{name}.weight", n_out, n_in), reader.take(f"{name}.bias", n_out))

    def __call__(self, x: Tensor) -> Tensor:
        """From x (…, in): (…, out)."""
        return project(x, self.weight) + self.bias


@dataclass(frozen=True, slots=True)
class TinyAtt1:
    """Softmax attention of d channels in `n_head` contiguous parts."""

    qkv: Linear  # (3·d, C)
    out: Linear  # (C, d)
    n_head: int

    def __call__(
        self, z: Tensor, past: tuple[Tensor, Tensor], growth: Growth
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """What z (B, T, C) reads, and the keys and values (B, W, d)."""
        q, k, v = self.qkv(z).chunk(3, -1)
        keys, values = growth.extend(past[0], k), growth.extend(past[1], v)
        parts = zip(*(y.chunk(self.n_head, -1) for y in (q, keys, values)), strict=True)
        read = [growth.attend(q_j @ k_j.mT * q_j.shape[-1] ** -0.5, v_j) for q_j, k_j, v_j in parts]
        return self.out(torch.cat(read, -1)), (keys, values)


@dataclass(frozen=True, slots=True)
class Layer1:
    """One block."""

    ln1: Norm
    time_w: Tensor  # (H, N)
    time_alpha: Tensor  # (H, N)
    time_beta: Tensor  # (H, N)
    time_gamma: Tensor  # (N,)
    receptance: Linear  # (A, C) each
    key: Linear
    value: Linear
    output: Linear  # (C, A)
    tiny: TinyAtt1 | None
    ln2: Norm
    mlp_receptance: Linear  # (C, C)
    mlp_key: Linear  # (F, C) each
    mlp_value: Linear
    mlp_weight: Linear  # (C, F)


@dataclass(frozen=True, slots=True)
class Weights1:
    """All weights: views of the tensors they were built from."""

    emb: Tensor  # (V, C)
    layers: tuple[Layer1, ...]
    ln_out: Norm
    head: Tensor  # (V, C)
    time_out: Tensor | None  # (N,)
    head_q: Linear | None  # (Q, C) each
    head_k: Linear | None
    clamp: tuple[float | None, float | None]
    is_gelu: bool

    @property
    def ctx_len(self) -> int:
        """N."""
        return self.layers[0].time_w.shape[1]

    @classmethod
    def build(
        cls, tensors: Mapping[str, Tensor], spec: ModelSpec, options: Mapping[str, OptionValue] | None = None
    ) -> Self:
        """Sort a flat `name -> tensor` mapping; every shape is checked, nothing is copied or folded."""
        reader = TensorReader(tensors)
        chosen = options or default_options(spec)
        C, V = spec.n_embd, spec.n_vocab
        Q = reader.rows("head_q.weight", C) if any(name.startswith("head_") for name in tensors) else 0
        return cls(
            emb=reader.take("tok_emb.weight", V, C),
            layers=tuple(_layer(reader.under(f"blocks.{i}."), spec) for i in range(spec.n_layer)),
            ln_out=reader.norm("ln_f", C),
            head=reader.take("head.weight", V, C),
            time_out=reader.take("time_out", spec.n_context) if reader.has("time_out") else None,
            head_q=Linear.read(reader, "head_q", Q, C) if Q else None,
            head_k=Linear.read(reader, "head_k", Q, C) if Q else None,
            clamp=_CLAMPS[str(chosen["k_clamp"])],
            is_gelu=chosen["activation"] == "gelu",
        )

    def folded(self) -> Self:
        """Itself: there is no ln0."""
        return self


def _layer(reader: TensorReader, spec: ModelSpec) -> Layer1:
    C, H, N, A, width = spec.n_embd, spec.n_head, spec.n_context, spec.n_att, spec.n_ffn
    att, mlp = reader.under("attn."), reader.under("mlp.")
    return Layer1(
        ln1=reader.norm("ln1", C),
        time_w=att.take("time_w", H, N),
        time_alpha=att.take("time_alpha", H, N),
        time_beta=att.take("time_beta", H, N),
        time_gamma=att.take("time_gamma", N),
        key=Linear.read(att, "key", A, C),  # first, since A is its height
        receptance=Linear.read(att, "receptance", A, C),
        value=Linear.read(att, "value", A, C),
        output=Linear.read(att, "output", C, A),
        tiny=_tiny(att.under("tiny_att."), C),
        ln2=reader.norm("ln2", C),
        mlp_receptance=Linear.read(mlp, "receptance", C, C),
        mlp_key=Linear.read(mlp, "key", width, C),
        mlp_value=Linear.read(mlp, "value", width, C),
        mlp_weight=Linear.read(mlp, "weight", C, width),
    )


def _tiny(reader: TensorReader, C: int) -> TinyAtt1 | None:
    if not any(reader.has(f"{name}.{part}") for name in ("qkv", "out") for part in ("weight", "bias")):
        return None
    d = reader.columns("out.weight", C)
    # the attribute of the pickled module; the training script never used more than one
    told = float(reader.take("n_head", 1).detach()) if reader.has("n_head") else 1.0
    n_head = next((n for n in range(1, d + 1) if n == told and d % n == 0), 0)
    if not n_head:
        raise ModelFormatError(
            f"A 'tiny_att.n_head' of {told} cannot share {d} channels.", hint="Download the file again."
        )
    return TinyAtt1(Linear.read(reader, "qkv", 3 * d, C), Linear.read(reader, "out", C, d), n_head)


def blank(weights: Weights1, spec: ModelSpec, n_rows: int, device: torch.device) -> dict[str, Tensor]:
    """The state before the first token, B behind L."""
    L, C, A = spec.n_layer, spec.n_embd, spec.n_att
    sizes: dict[str, tuple[int, ...]] = {"m": (L, A), "ids": (1,)}
    tiny = weights.layers[0].tiny
    if tiny is not None:
        d = tiny.out.weight.shape[1]
        sizes |= {"kk": (L, d), "vv": (L, d)}
    if weights.head_k is not None:
        sizes["head_k"] = (1, len(weights.head_k.bias))
    return {
        "att_shift": torch.zeros(L, n_rows, C, device=device),
        "sum_k": torch.zeros(L, n_rows, A, device=device),
        "ffn_shift": torch.zeros(L, n_rows, C, device=device),
    } | blank_past(n_rows, device, **sizes)


def forward(
    weights: Weights1,
    token_ids: Tensor,
    state: Mapping[str, Tensor],
    lengths: Tensor | None = None,
    *,
    all_logits: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Read B rows of T tokens: pure, nothing in place, differentiable in weights and state.

    Args:
        weights: as built.
        token_ids: (B, T) int64; behind a row's length anything valid.
        state: as `blank` makes it; not written to.
        lengths: (B,) real tokens of each row, from 0 to T; None means T.
        all_logits: False gives those after each row's last real token only.

    Returns:
        logits (B, T, V) or (B, V) and the new state, in the dtype of the vectors.

    Raises:
        GenerationError: a row would go beyond the context.
    """
    return PARTS.forward(weights, token_ids, state, lengths, all_logits=all_logits)


@dataclass(frozen=True, slots=True)
class Call1:
    """What the blocks of one call share."""

    token_ids: Tensor  # (B, T)
    growth: Growth
    clamp: tuple[float | None, float | None]
    is_gelu: bool


def enter(
    weights: Weights1, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None
) -> tuple[Tensor, Call1]:
    """The embedding of tokens that fit the context."""
    n_tokens = token_ids.shape[1]
    end = int((state[N_PAST][0] + (n_tokens if lengths is None else lengths)).max())
    if end > weights.ctx_len:
        raise GenerationError(
            f"The context of this RWKV-1 model is {weights.ctx_len} tokens, and {end} are to be read.",
            hint="Read fewer at once; `scan` drops the oldest by itself.",
        )
    x = F.embedding(token_ids, weights.emb).to(weights.ln_out.weight.dtype)
    return x, Call1(token_ids, Growth(state, n_tokens, lengths), weights.clamp, weights.is_gelu)


def blocks(
    layers: Sequence[Layer1], x: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, call: Call1
) -> tuple[Tensor, dict[str, Tensor], Call1]:
    """Some layers one after the other: x (B, T, C), their state -> x, their new state, the same call."""
    real = real_tokens(x[..., 0], lengths)
    new: dict[str, list[Tensor]] = {"att_shift": [], "sum_k": [], "ffn_shift": []}
    past: dict[str, list[Tensor]] = {name: [] for name in state if name in PAST_OF_LAYERS}
    for i, layer in enumerate(layers):
        h, p = layer.ln1(x), state["att_shift"][i]
        old = {name: state[name][i] for name in past}
        y, sum_k, grown = _att(layer, call, _half(h, p), state["sum_k"][i], old, real)
        x = x + y
        for name, entries in grown.items():
            past[name].append(entries)
        g, q = layer.ln2(x), state["ffn_shift"][i]
        x = x + _mlp(layer, _half(g, q), is_gelu=call.is_gelu)
        parts = (last_valid(h, p, lengths), sum_k, last_valid(g, q, lengths))
        for name, part in zip(new, parts, strict=True):
            new[name].append(part)
    return x, {name: torch.stack(parts) for name, parts in new.items()} | call.growth.kept(past), call


def leave(
    weights: Weights1,
    x: Tensor,
    call: Call1,
    state: Mapping[str, Tensor],
    lengths: Tensor | None,
    *,
    all_logits: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits (B, T, V) or (B, V), and the past of the ids and of HeadQK."""
    growth, y, copied = call.growth, weights.ln_out(x), None
    past = {PAST_IDS: growth.extend(state[PAST_IDS][0], call.token_ids)}
    if weights.head_q is not None and weights.head_k is not None:
        keys = past["past_head_k"] = growth.extend(state["past_head_k"][0], weights.head_k(y))
        scores = weights.head_q(y) @ keys.mT / keys.shape[-1]
        copied = (scores.masked_fill(~growth.readable(keys), 0.0), past[PAST_IDS])
    if weights.time_out is not None:
        y = y * _at(weights.time_out, growth)[..., None]
    return logits_of(y, weights.head, copied, lengths, all_logits=all_logits), growth.rest(past)


PAST_OF_LAYERS = ("past_m", "past_kk", "past_vv")
PARTS = Parts(blocks, enter, leave, frozenset({N_PAST, PAST_IDS, "past_head_k"}))


def _half(h: Tensor, p: Tensor) -> Tensor:
    """z: the first half of the channels from the token before, the second from the token itself."""
    half = h.shape[-1] // 2
    return torch.cat((token_shift(h, p)[..., :half], h[..., half:]), -1)


def _at(table: Tensor, growth: Growth) -> Tensor:
    """What a table (…, N) says of each token's place: (…, B, T); padding may lie beyond its end."""
    return table[..., growth.at.clamp(max=table.shape[-1] - 1)]


def _att(
    layer: Layer1,
    call: Call1,
    z: Tensor,
    sum_k: Tensor,
    past: Mapping[str, Tensor],
    real: Tensor | None,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Time mixing: z (B, T, C), sum_k (B, A), the past of this block -> y (B, T, C), new sum_k and past."""
    n_head, ctx_len = layer.time_w.shape
    heads = (*z.shape[:2], n_head, -1)
    r, v, k = layer.receptance(z).sigmoid(), layer.value(z), layer.key(z)
    (low, high), growth = call.clamp, call.growth
    k = (k if high is None else k.clamp(low, high)).exp()
    if real is not None:
        k = k * real[..., None]
    m = _at(layer.time_alpha, growth).permute(1, 2, 0)[..., None] * (k * v).view(heads)
    m = growth.extend(past["past_m"], m.flatten(2))  # (B, W, A)
    total = sum_k[:, None] + k.cumsum(1)
    back = growth.at[..., None] - torch.arange(m.shape[1], device=m.device)  # (B, T, W) tokens ago
    w = layer.time_w[:, (ctx_len - 1 - back).clamp(0, ctx_len - 1)] * growth.readable(m)  # (H, B, T, W)
    wkv = w.transpose(0, 1) @ m.view(*m.shape[:2], n_head, -1).transpose(1, 2)
    wkv = wkv.transpose(1, 2) * _at(layer.time_beta, growth).permute(1, 2, 0)[..., None]
    y = layer.output(r * wkv.flatten(2) / total)
    grown = {"past_m": m}
    if layer.tiny is not None:
        read, (grown["past_kk"], grown["past_vv"]) = layer.tiny(z, (past["past_kk"], past["past_vv"]), growth)
        y = y + read
    return y * _at(layer.time_gamma, growth)[..., None], total[:, -1], grown


def _mlp(layer: Layer1, z: Tensor, *, is_gelu: bool) -> Tensor:
    """Channel mixing: z (B, T, C) -> (B, T, C)."""
    k = layer.mlp_key(z)
    k = (F.gelu(k) if is_gelu else F.mish(k)) * layer.mlp_value(z)
    return layer.mlp_receptance(z).sigmoid() * layer.mlp_weight(k)


class RWKV1(Recurrent):
    """An RWKV-1 ready to run; a full row reads the last half of its context again before it goes on."""

    PARTS: ClassVar[Parts] = PARTS
    TAKES_OPTIONS: ClassVar[bool] = True

    def __init__(
        self,
        spec: ModelSpec,
        tensors: Mapping[str, Tensor],
        options: Mapping[str, OptionValue] | None = None,
    ) -> None:
        self.weights = Weights1.build(tensors, spec, options)
        super().__init__(spec, self.weights.emb.device)

    @staticmethod
    def check(tensors: Mapping[str, Tensor], spec: ModelSpec) -> None:
        """Refuse by name a missing tensor or a wrong shape, without reading a matrix."""
        Weights1.build(tensors, spec)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """See `blank`."""
        return blank(self.weights, self.spec, n_rows, self.device)
