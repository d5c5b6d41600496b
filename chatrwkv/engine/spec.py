"""Which RWKV a checkpoint is, from tensor names and shapes alone, never from a file name.

The rules are the first-match-wins list of the fact sheet, section 1. `V4` and its kin are recognised
whether or not this program runs them; what can never run is refused here by name.

L layers   C n_embd   H heads   N head size   V vocabulary   A width of attention (H·N)   F width of ffn
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from chatrwkv.errors import ModelFormatError, ModelUnsupported

if TYPE_CHECKING:
    from collections.abc import Mapping


class Generation(StrEnum):
    """The published RWKV architectures, 2021 to 2025."""

    V1 = "1"
    V2 = "2"
    V3 = "3"
    V4 = "4"
    V4A = "4a"
    V4B = "4b"
    V5_0 = "5.0"
    V5_1 = "5.1"
    V5_2 = "5.2"
    V6 = "6"
    V7 = "7"
    V7A = "7a"
    V7B = "7b"
    V8RC = "8-rc00"
    V8RC_HYBRID = "8-rc00-hybrid"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The blueprint of a checkpoint."""

    generation: Generation
    n_layer: int
    n_embd: int
    head_size: int
    """1 up to v4, where every channel has a decay of its own."""
    n_vocab: int
    n_ffn: int
    fingerprint: str
    n_params: int
    dtype: str
    """Of the file, not of the loaded weights."""
    n_context: int = 0
    """Tokens that the network can look at, for RWKV-1; 0 where there is no end."""
    n_att: int = 0
    """Width of attention of RWKV-1; in every later text model it is C."""

    @property
    def n_head(self) -> int:
        """H."""
        return (self.n_att or self.n_embd) // self.head_size

    @property
    def has_native_path(self) -> bool:
        """Whether the native CPU code runs such a model; if it can be built, which is another question."""
        return self.generation in _NATIVE and self.head_size <= _MAX_NATIVE_HEAD


_NATIVE = frozenset(
    {Generation.V4, Generation.V5_0, Generation.V5_1, Generation.V5_2, Generation.V6, Generation.V7}
)
_MAX_NATIVE_HEAD = 128  # kMaxHead of native/kernels.h
_DAMAGED = "The file is damaged or unusual; download it again."
_NO_WEIGHT = re.compile(r"(mask|time_state)$")
_BLOCK = re.compile(r"blocks\.(\d+)\.")

# pattern of a tensor name: what the file is
_REFUSED: tuple[tuple[str, str], ...] = (
    (r"\.lora_[AB]\b", "an unmerged LoRA"),
    (r"^_strategy$|^_version$", "a file converted for one strategy of the `rwkv` package"),
    (r"_(mx|my|rx|ry)$", "a file quantised by the `rwkv` package"),
    (r"(^|\.)rosa|^rwkv1\.|^e\.weight$", "a ROSA network"),
    (r"\.ffn\.aa\.weight$", "a MishGLU experiment"),
    (r"^pos_emb_x$", "an image experiment"),
    (r"attn\.query\.weight$", "a plain attention baseline of 2021 (MHA)"),
    (r"^rwkv_layer_groups\.", "a file of a foreign trainer"),
    (
        r"^model\.(embeddings|layers)\.|^rwkv\.(embeddings|blocks)\.",
        "a Hugging Face conversion, whose tensors are renamed",
    ),
)


def detect(shapes: Mapping[str, tuple[int, ...]], fingerprint: str = "", dtype: str = "") -> ModelSpec:
    """The blueprint, from `{tensor name: shape}`.

    Raises:
        ModelUnsupported: a checkpoint of something that this program does not run; says of what.
        ModelFormatError: an RWKV checkpoint that lacks a tensor or has one of a wrong shape; names it.
    """
    _refuse(shapes)
    generation, att = _generation(shapes)
    if generation is Generation.V1:
        return _spec_v1(shapes, fingerprint, dtype)
    n_vocab, n_embd = _dims(shapes, "emb.weight", 2)
    _check_width(shapes, n_embd)
    n_ffn = _dims(shapes, "blocks.0.ffn.key.weight", 2)[0]
    width = _dims(shapes, f"{att}key.weight", 2)[0]
    n_layer = _count_layers(shapes)
    head_size = _head_size(shapes, generation, att, width)
    return ModelSpec(
        generation, n_layer, n_embd, head_size, n_vocab, n_ffn, fingerprint, _count_params(shapes), dtype
    )


def _check_width(
    shapes: Mapping[str, tuple[int, ...]], n_embd: int, emb: str = "emb.weight", norm: str = "ln_out.weight"
) -> None:
    """Blame the one of embedding, last norm and head that disagrees, or every tensor after it would be."""
    ln_out, head = shapes.get(norm, (n_embd,)), shapes.get("head.weight", (0, n_embd))
    if ln_out == (n_embd,) or len(ln_out) != 1:
        return
    name, found, other = (norm, ln_out[0], n_embd)
    if head[-1] == ln_out[0]:
        name, found, other = (emb, n_embd, ln_out[0])
    raise ModelFormatError(
        f"The tensor {name!r} is {found} channels wide, where the others have {other}.", hint=_DAMAGED
    )


def _refuse(shapes: Mapping[str, tuple[int, ...]]) -> None:
    for pattern, what in _REFUSED:
        found = next((name for name in shapes if re.search(pattern, name)), None)
        if found is not None:
            raise ModelUnsupported(
                f"This is {what} (it has the tensor {found!r}), which cannot run here.",
                hint="Use the published .pth of the model instead.",
            )


def _generation(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Generation, str]:
    """The generation, and the name prefix of the first block that has attention."""
    if any(name.endswith("attn.receptance.weight") for name in shapes):
        return Generation.V1, ""
    # A block 0 with `ffnPre` has no `att`.
    att = "blocks.1.att." if not _has(shapes, "blocks.0.att.") else "blocks.0.att."
    if _any(shapes, att, "r_k", "k_k", "k_a"):
        return _generation_7_or_8(shapes), att
    if _any(shapes, att, "time_maa_x", "time_maa_w1", "time_maa_rkvw_w1"):
        is_experiment = _any(shapes, att, "gate_w1", "time_maa_rkvw_w1")
        if not is_experiment and _any(shapes, att, "gate.weight", "time_maa_g"):
            return Generation.V6, att
        raise ModelUnsupported(
            "This is one of the experiments x060a, b or c of RWKV-6, of which no model was published.",
            hint="Use a plain RWKV-6 (x060) model.",
        )
    lacking = next((name for name in (att + "time_decay", "head.weight") if name not in shapes), None)
    if lacking is not None:
        raise ModelUnsupported(
            f"The file holds {len(shapes)} tensors, but not those of any RWKV model ({lacking!r} is missing).",
            hint="Choose a .pth or .safetensors file of an RWKV model.",
        )
    return _generation_2_to_5(shapes, att), att


def _generation_7_or_8(shapes: Mapping[str, tuple[int, ...]]) -> Generation:
    has_qkv = any(".qkv." in name for name in shapes)
    if any(name.endswith((".ffn.s_emb.weight", ".ffn.s_emb_x.weight")) for name in shapes):
        return Generation.V7B if has_qkv else Generation.V7A
    if any(name.endswith(".ffn.enn.weight") for name in shapes):
        return Generation.V8RC_HYBRID if has_qkv else Generation.V8RC
    return Generation.V7


def _generation_2_to_5(shapes: Mapping[str, tuple[int, ...]], att: str) -> Generation:
    decay = shapes[att + "time_decay"]
    if _any(shapes, att, "ln_x.weight", "ln_x.bias"):
        if not _any(shapes, att, "gate.weight", "time_mix_g"):
            return Generation.V5_0
        # one decay a channel (as many as the key has rows) or one a head
        per_channel = math.prod(decay) == _dims(shapes, att + "key.weight", 2)[0]
        return Generation.V5_2 if per_channel else Generation.V5_1
    if any(name.endswith(("tiny_q.weight", "tiny_k.weight")) for name in shapes):
        return Generation.V4A
    if _any(shapes, att, "qq.weight", "kk.weight"):
        return Generation.V4B
    if not _any(shapes, "blocks.0.ln0.", "weight", "bias"):
        return Generation.V2  # the only one whose stream is post-LN, so it has no ln0
    return Generation.V3 if len(decay) == 2 else Generation.V4


def _head_size(shapes: Mapping[str, tuple[int, ...]], generation: Generation, att: str, width: int) -> int:
    if generation >= Generation.V7:
        return _dims(shapes, att + "r_k", 2)[1]
    if generation >= Generation.V5_2:
        source = att + "time_faaaa"
        n_head = _dims(shapes, source, 2)[0]
    elif generation >= Generation.V5_0:
        source = att + "time_decay"
        n_head = math.prod(_dims(shapes, source))
    else:
        return 1
    if n_head == 0 or width % n_head:
        raise ModelFormatError(
            f"The {n_head} heads of {source!r} cannot share the {width} rows of '{att}key.weight'.",
            hint=_DAMAGED,
        )
    return width // n_head


def _spec_v1(shapes: Mapping[str, tuple[int, ...]], fingerprint: str, dtype: str) -> ModelSpec:
    n_vocab, n_embd = _dims(shapes, "tok_emb.weight", 2)
    _check_width(shapes, n_embd, "tok_emb.weight", "ln_f.weight")
    att = "blocks.0.attn."
    n_head, n_context = _dims(shapes, att + "time_w", 2)
    tables = {tuple(n for n in shapes.get(att + name, ()) if n != 1) for name in ("time_alpha", "time_beta")}
    if len(tables) == 1 and () not in tables and tables != {tuple(n for n in (n_head, n_context) if n != 1)}:
        raise ModelFormatError(
            f"The tensor '{att}time_w' has the shape {[n_head, n_context]}, time_alpha and time_beta another.",
            hint=_DAMAGED,
        )
    width = _dims(shapes, att + "key.weight", 2)[0]
    if width % n_head:
        raise ModelFormatError(
            f"The {n_head} heads of '{att}time_w' cannot share the {width} rows of '{att}key.weight'.",
            hint=_DAMAGED,
        )
    return ModelSpec(
        Generation.V1,
        _count_layers(shapes),
        n_embd,
        width // n_head,
        n_vocab,
        _dims(shapes, "blocks.0.mlp.key.weight", 2)[0],
        fingerprint,
        _count_params(shapes),
        dtype,
        n_context,
        width,
    )


def _any(shapes: Mapping[str, tuple[int, ...]], prefix: str, *names: str) -> bool:
    """Whether one of them is there; two marks, so that a file that lacks one is still known and told so."""
    return any(prefix + name in shapes for name in names)


def _has(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)


def _dims(shapes: Mapping[str, tuple[int, ...]], name: str, n_dims: int | None = None) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None:
        raise ModelFormatError(
            f"The tensor {name!r} is missing.", hint="The file is incomplete; download it again."
        )
    if (n_dims is not None and len(shape) != n_dims) or 0 in shape:
        raise ModelFormatError(
            f"The tensor {name!r} has the shape {list(shape)}; {n_dims} dimensions were expected.",
            hint=_DAMAGED,
        )
    return shape


def _count_layers(shapes: Mapping[str, tuple[int, ...]]) -> int:
    found = {int(match[1]) for name in shapes if (match := _BLOCK.match(name))}
    gap = next((i for i in range(len(found)) if i not in found), None)
    if gap is not None:
        raise ModelFormatError(
            f"The tensors of block {gap} are missing (the last block is {max(found)}).",
            hint="The file is incomplete; download it again.",
        )
    return len(found)


def _count_params(shapes: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for name, shape in shapes.items() if not _NO_WEIGHT.search(name))
