"""What of each generation lies packed where: from its weights to slots in reading order, and back.

Names of slots are those of the native `rwkv_layer`, behind the number of the layer. What a token reads first
comes first: vectors, then matrices in the order of the phases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine import quant
from chatrwkv.engine.models import rwkv4, rwkv5, rwkv6, rwkv7
from chatrwkv.engine.models.rwkv4 import Att4, Ffn4, Layer4
from chatrwkv.engine.models.rwkv5 import Att5, Layer5
from chatrwkv.engine.models.rwkv6 import Att6, Ffn6, Layer6
from chatrwkv.engine.models.rwkv7 import Att7, Ffn7, Layer7, Lora
from chatrwkv.engine.native.abi import Format
from chatrwkv.engine.quant import Source
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.weights import Norm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from chatrwkv.engine.kernels import Engine
    from chatrwkv.engine.models.base import Recurrent
    from chatrwkv.engine.options import OptionValue
    from chatrwkv.engine.quant import Packed
    from chatrwkv.engine.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Layout:
    """How one family is packed."""

    family: type[Recurrent]
    """The model of the torch path."""
    blank: Callable[[ModelSpec, int], dict[str, Tensor]]
    """Its state before the first token."""
    weights: Any
    """The class of its weights: emb, ln0, layers, ln_out, head."""
    vectors: Callable[[Any], dict[str, Tensor | None]]
    """Of a layer, by the name of the slot; None for what it has not. They are packed as float32."""
    matrices: Callable[[Any], Iterator[tuple[str, Tensor, bool]]]
    """Of a layer: name, [out, in], whether it is one of the large ones, which int8 and int4 apply to."""
    layer: Callable[[Layer], Any]
    """The inverse: a layer in float32."""

    def build(
        self, tensors: Mapping[str, Tensor], spec: ModelSpec, options: Mapping[str, OptionValue]
    ) -> Any:
        """The weights of the tensors of a file."""
        more = (options,) if self.family.TAKES_OPTIONS else ()
        return self.weights.build(tensors, spec, *more)


@dataclass(frozen=True, slots=True)
class Layer:
    """The slots of one packed layer, as float32."""

    packed: Packed
    at: str
    engine: Engine
    spec: ModelSpec

    def __call__(self, name: str) -> Tensor:
        """What a slot means."""
        return quant.unpacked(self.packed, self.at + name, self.engine)

    def has(self, name: str) -> bool:
        """Whether there is such a slot."""
        return self.at + name in self.packed.slots

    def norm(self, name: str) -> Norm:
        """`name_weight` and `name_bias`."""
        return Norm(self(f"{name}_weight"), self(f"{name}_bias"))


def pack(
    weights: Any,
    spec: ModelSpec,
    kind: Format,
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Pack all weights of a model. The tensors may be views of a mapped file."""
    return quant.pack(list(_sources(weights, LAYOUTS[spec.generation], kind)), kind, engine, progress)


def _sources(weights: Any, layout: Layout, kind: Format) -> Iterator[Source]:
    # not folded with ln0: the rows of a bf16 file stay exact, and a norm costs a microsecond
    is_bf16 = kind is not Format.FP32 or weights.emb.dtype is torch.bfloat16
    low = Format.FP32 if kind is Format.FP32 else Format.BF16
    yield Source("emb", weights.emb, Format.BF16 if is_bf16 else Format.FP32)
    if weights.ln0 is not None:
        yield from _norm("ln0", weights.ln0)
    for i, layer in enumerate(weights.layers):
        yield from (
            Source(f"{i}.{name}", x, None) for name, x in layout.vectors(layer).items() if x is not None
        )
        yield from (
            Source(f"{i}.{name}", x, kind if is_large else low)
            for name, x, is_large in layout.matrices(layer)
        )
    yield from _norm("ln_out", weights.ln_out)
    yield Source("head", weights.head, kind)


def _norm(name: str, norm: Norm) -> Iterator[Source]:
    yield Source(f"{name}_weight", norm.weight, None)
    yield Source(f"{name}_bias", norm.bias, None)


def unpacked(packed: Packed, spec: ModelSpec, engine: Engine) -> Any:
    """The weights that the packed ones stand for, as the torch path takes them: for tests and for tuning."""
    layout = LAYOUTS[spec.generation]
    whole = Layer(packed, "", engine, spec)
    more = {"head_size": spec.head_size} if "head_size" in layout.weights.__dataclass_fields__ else {}
    return layout.weights(
        emb=whole("emb"),
        ln0=whole.norm("ln0") if whole.has("ln0_weight") else None,
        layers=tuple(layout.layer(Layer(packed, f"{i}.", engine, spec)) for i in range(spec.n_layer)),
        ln_out=whole.norm("ln_out"),
        head=whole("head"),
        **more,
    )


def _norms(layer: Any) -> dict[str, Tensor | None]:
    return {
        "ln1_weight": layer.ln1.weight,
        "ln1_bias": layer.ln1.bias,
        "ln2_weight": layer.ln2.weight,
        "ln2_bias": layer.ln2.bias,
    }


def _stacked(*vectors: Tensor) -> Tensor:
    return torch.stack([vector.float() for vector in vectors])


# ---- RWKV-7 --------------------------------------------------------------------------------------------------


def _vectors7(layer: Layer7) -> dict[str, Tensor | None]:
    att = layer.att
    return {
        **_norms(layer),
        "mixes": _stacked(att.x_r, att.x_k, att.x_v, att.x_w, att.x_a, att.x_g),
        "w0": att.w.bias,
        "a0": att.a.bias,
        "v0": att.v.bias if att.v is not None else None,
        "k_k": att.k_k,
        "k_a": att.k_a,
        "r_k": att.r_k,
        "ln_x_weight": att.ln_x.weight,
        "ln_x_bias": att.ln_x.bias,
        "ffn_mixes": layer.ffn.x_k,
    }


def _matrices7(layer: Layer7) -> Iterator[tuple[str, Tensor, bool]]:
    att, ffn = layer.att, layer.ffn
    loras = {j: lora for j, lora in (("w", att.w), ("a", att.a), ("v", att.v), ("g", att.g)) if lora}
    yield from ((name, getattr(att, name), True) for name in ("receptance", "key", "value"))
    yield from ((f"{j}1", lora.down.T, False) for j, lora in loras.items())
    yield from ((f"{j}2", lora.up.T, False) for j, lora in loras.items())
    yield "output", att.output, True
    yield "ffn_key", ffn.key, True
    yield "ffn_value", ffn.value, True


def _layer7(of: Layer) -> Layer7:
    def lora(j: str) -> Lora:
        return Lora(of(f"{j}1").T, of(f"{j}2").T, of(f"{j}0") if of.has(f"{j}0") else None)

    x_r, x_k, x_v, x_w, x_a, x_g = of("mixes")
    att = Att7(
        x_r=x_r,
        x_k=x_k,
        x_v=x_v,
        x_w=x_w,
        x_a=x_a,
        x_g=x_g,
        **{name: of(name) for name in ("k_k", "k_a", "receptance", "key", "value", "output")},
        r_k=of("r_k").view(of.spec.n_head, -1),
        w=lora("w"),
        a=lora("a"),
        v=lora("v") if of.has("v1") else None,
        g=lora("g"),
        ln_x=of.norm("ln_x"),
    )
    ffn = Ffn7(of("ffn_mixes"), of("ffn_key"), of("ffn_value"))
    return Layer7(of.norm("ln1"), att, of.norm("ln2"), ffn)


# ---- RWKV-6 --------------------------------------------------------------------------------------------------

_ORDER_6 = "wkvrg"  # of the mixes in a file; the native code has the order of the matrices that read them
_NATIVE_6 = "rkvgw"


def _vectors6(layer: Layer6) -> dict[str, Tensor | None]:
    att, ffn = layer.att, layer.ffn
    return {
        **_norms(layer),
        "mixes": _stacked(*(att.maa[_ORDER_6.index(j)] for j in _NATIVE_6), att.maa_x),
        "ffn_mixes": _stacked(ffn.maa_k, ffn.maa_r),
        "ln_x_weight": att.ln_x.weight,
        "ln_x_bias": att.ln_x.bias,
        "decay": att.time_decay,
        "bonus": att.time_faaaa,
        "k_clamp": torch.ones(1) if att.clamps_k else None,
    }


def _matrices6(layer: Layer6) -> Iterator[tuple[str, Tensor, bool]]:
    att = layer.att
    down = dict(zip(_ORDER_6, att.maa_w1.chunk(5, 1), strict=True))
    up = dict(zip(_ORDER_6, att.maa_w2, strict=True))
    yield from ((f"x{j}1", down[j].T, False) for j in _NATIVE_6)
    yield from ((f"x{j}2", up[j].T, False) for j in _NATIVE_6)
    yield from ((name, getattr(att, name), True) for name in ("receptance", "key", "value", "gate"))
    yield "w1", att.decay_w1.T, False
    yield "w2", att.decay_w2.T, False
    yield from _last_matrices(layer)


def _last_matrices(layer: Layer4 | Layer5 | Layer6) -> Iterator[tuple[str, Tensor, bool]]:
    yield "output", layer.att.output, True
    yield "ffn_key", layer.ffn.key, True
    yield "ffn_receptance", layer.ffn.receptance, True
    yield "ffn_value", layer.ffn.value, True


def _layer6(of: Layer) -> Layer6:
    *mixes, maa_x = of("mixes")
    att = Att6(
        **{name: of(name) for name in ("receptance", "key", "value", "gate", "output")},
        maa_x=maa_x,
        maa=torch.stack([mixes[_NATIVE_6.index(j)] for j in _ORDER_6]),
        maa_w1=torch.cat([of(f"x{j}1").T for j in _ORDER_6], 1),
        maa_w2=torch.stack([of(f"x{j}2").T for j in _ORDER_6]),
        time_decay=of("decay"),
        decay_w1=of("w1").T,
        decay_w2=of("w2").T,
        time_faaaa=of("bonus").view(of.spec.n_head, -1),
        ln_x=of.norm("ln_x"),
        clamps_k=of.has("k_clamp"),
    )
    return Layer6(of.norm("ln1"), att, of.norm("ln2"), Ffn6(*_ffn(of)))


def _ffn(of: Layer) -> tuple[Tensor, ...]:
    return *of("ffn_mixes"), of("ffn_key"), of("ffn_receptance"), of("ffn_value")


# ---- RWKV-5: 5.0, 5.1 and 5.2 --------------------------------------------------------------------------------


def _vectors5(layer: Layer5) -> dict[str, Tensor | None]:
    att, ffn = layer.att, layer.ffn
    heads = att.time_decay.shape[0]
    whole = (heads, att.key.shape[0] // heads)  # 5.0 and 5.1 have one decay and one bonus a head
    mixes = (att.mix_r, att.mix_k, att.mix_v, att.mix_g)
    return {
        **_norms(layer),
        "mixes": _stacked(*(mix for mix in mixes if mix is not None)),
        "ffn_mixes": _stacked(ffn.mix_k, ffn.mix_r),
        "ln_x_weight": att.ln_x.weight,
        "ln_x_bias": att.ln_x.bias,
        "decay": att.time_decay.float().expand(whole),
        "bonus": att.u().float().expand(whole),
    }


def _matrices5(layer: Layer5) -> Iterator[tuple[str, Tensor, bool]]:
    att = layer.att
    yield from ((name, getattr(att, name), True) for name in ("receptance", "key", "value"))
    if att.gate is not None:
        yield "gate", att.gate, True
    yield from _last_matrices(layer)


def _layer5(of: Layer) -> Layer5:
    mix_r, mix_k, mix_v, *mix_g = of("mixes")
    n_head = of.spec.n_head
    att = Att5(
        **{name: of(name) for name in ("receptance", "key", "value", "output")},
        mix_k=mix_k,
        mix_v=mix_v,
        mix_r=mix_r,
        mix_g=mix_g[0] if mix_g else None,
        gate=of("gate") if of.has("gate") else None,
        time_decay=of("decay").view(n_head, -1),
        bonus=of("bonus").view(n_head, -1),
        is_bonus_log=False,
        ln_x=of.norm("ln_x"),
    )
    return Layer5(of.norm("ln1"), att, of.norm("ln2"), Ffn4(*_ffn(of)))


# ---- RWKV-4 --------------------------------------------------------------------------------------------------


def _vectors4(layer: Layer4) -> dict[str, Tensor | None]:
    att, ffn = layer.att, layer.ffn
    return {
        **_norms(layer),
        "mixes": _stacked(att.mix_r, att.mix_k, att.mix_v),
        "ffn_mixes": _stacked(ffn.mix_k, ffn.mix_r),
        "decay": att.time_decay,
        "bonus": att.time_first,
    }


def _matrices4(layer: Layer4) -> Iterator[tuple[str, Tensor, bool]]:
    yield from ((name, getattr(layer.att, name), True) for name in ("receptance", "key", "value"))
    yield from _last_matrices(layer)


def _layer4(of: Layer) -> Layer4:
    mix_r, mix_k, mix_v = of("mixes")
    att = Att4(
        **{name: of(name) for name in ("receptance", "key", "value", "output")},
        mix_k=mix_k,
        mix_v=mix_v,
        mix_r=mix_r,
        time_decay=of("decay"),
        time_first=of("bonus"),
    )
    return Layer4(of.norm("ln1"), att, of.norm("ln2"), Ffn4(*_ffn(of)))


_FIVE = Layout(rwkv5.RWKV5, rwkv5.blank, rwkv5.Weights5, _vectors5, _matrices5, _layer5)
LAYOUTS: dict[Generation, Layout] = {
    Generation.V4: Layout(rwkv4.RWKV4, rwkv4.blank, rwkv4.Weights4, _vectors4, _matrices4, _layer4),
    Generation.V5_0: _FIVE,
    Generation.V5_1: _FIVE,
    Generation.V5_2: _FIVE,
    Generation.V6: Layout(rwkv6.RWKV6, rwkv6.blank, rwkv6.Weights6, _vectors6, _matrices6, _layer6),
    Generation.V7: Layout(rwkv7.RWKV7, rwkv7.blank, rwkv7.Weights7, _vectors7, _matrices7, _layer7),
}
