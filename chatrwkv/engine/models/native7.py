"""RWKV-7 on the native path: one call a step.

Same states and, within the format's error, same logits as `rwkv7.RWKV7`, so that a conversation may change from one to the other between two tokens.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32
from typing import TYPE_CHECKING

import torch

from chatrwkv.engine.models.rwkv7 import blank
from chatrwkv.engine.native import abi
from chatrwkv.engine.native.abi import Format
from chatrwkv.engine.state import Scratch, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from chatrwkv.engine.kernels import Engine
    from chatrwkv.engine.quant import Packed
    from chatrwkv.engine.spec import ModelSpec


class NativeRWKV7:
    """An RWKV-7 whose weights are packed."""

    def __init__(self, spec: ModelSpec, packed: Packed, engine: Engine) -> None:
        self.spec = spec
        self.packed = packed
        self.engine = engine
        self.device = torch.device("cpu")
        self._layers = (abi.Layer7 * spec.n_layer)(*(_layer(packed, i) for i in range(spec.n_layer)))
        self._model = _model(spec, packed, self._layers)

    def blank(self) -> State:
        """The state before the first token."""
        return Scratch(blank(self.spec, 1)).freeze(0)

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        n_rows = len(token_ids)
        logits = torch.empty(n_rows, self.spec.n_vocab)
        state = _state(scratch, n_rows)
        for first in range(0, n_rows, abi.MAX_TOKENS):
            ids = token_ids[first : first + abi.MAX_TOKENS]
            ones = (c_int32 * len(ids))(*[1] * len(ids))
            self._forward(_rows_from(state, first), ones, ids, ones, logits[first:])
        return logits

    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        """Read one or more tokens into each row: logits (B, V), or B of (T_b, V) with `all_logits`."""
        if not rows or not all(rows):
            raise ValueError(f"every row of a scan needs a token; lengths are {[len(row) for row in rows]}")
        state = _state(scratch, len(rows))
        V = self.spec.n_vocab
        every = [torch.empty(len(row), V) for row in rows] if all_logits else []
        last = torch.empty(0 if all_logits else len(rows), V)
        for first in range(0, len(rows), abi.MAX_TOKENS):
            group = rows[first : first + abi.MAX_TOKENS]
            done = [0] * len(group)
            while any(n < len(row) for n, row in zip(done, group, strict=True)):
                takes = _shares(group, done)
                ends = [
                    n + take == len(row) and take > 0 for n, take, row in zip(done, takes, group, strict=True)
                ]
                wanted = takes if all_logits else [int(end) for end in ends]
                ids = [i for n, take, row in zip(done, takes, group, strict=True) for i in row[n : n + take]]
                out = torch.empty(sum(wanted), V)
                lengths = (c_int32 * len(group))(*takes)
                self._forward(_rows_from(state, first), lengths, ids, (c_int32 * len(group))(*wanted), out)
                at = 0
                for b, n in enumerate(wanted):
                    if all_logits:
                        every[first + b][done[b] : done[b] + n] = out[at : at + n]
                    elif n:
                        last[first + b] = out[at]
                    at += n
                done = [n + take for n, take in zip(done, takes, strict=True)]
        return every if all_logits else last

    def _forward(
        self,
        state: abi.State7,
        lengths: ctypes.Array[c_int32],
        ids: Sequence[int],
        n_logits: ctypes.Array[c_int32],
        logits: Tensor,
    ) -> None:
        self.engine.forward7(
            self._model, state, lengths, (c_int32 * len(ids))(*ids), n_logits, logits.data_ptr()
        )


def _shares(rows: Sequence[Sequence[int]], done: list[int]) -> list[int]:
    """How many tokens each row reads in the next call: equal shares of MAX_TOKENS for those not done."""
    left = [len(row) - n for row, n in zip(rows, done, strict=True)]
    room = abi.MAX_TOKENS
    takes = [0] * len(rows)
    waiting = sorted((b for b in range(len(rows)) if left[b]), key=lambda b: left[b])
    while waiting:
        share = max(1, room // len(waiting))
        b = waiting.pop(0)
        takes[b] = min(left[b], share, room)
        room -= takes[b]
    return takes


def _state(scratch: Scratch, n_rows: int) -> abi.State7:
    """The addresses of a scratch, whose tensors are first made what the native code can write to."""
    if n_rows != scratch.n_rows:
        raise ValueError(f"{n_rows} rows of tokens for a scratch of {scratch.n_rows}")
    scratch.to(torch.device("cpu"))
    for name, tensor in scratch.tensors.items():
        if tensor.dtype != torch.float32 or not tensor[0, 0].is_contiguous():
            scratch.tensors[name] = tensor.float().contiguous()
    att, wkv, ffn = (scratch.tensors[name] for name in ("att_shift", "wkv", "ffn_shift"))
    if att.stride() != ffn.stride():
        ffn = scratch.tensors["ffn_shift"] = ffn.contiguous()
        att = scratch.tensors["att_shift"] = att.contiguous()
    return abi.State7(
        att.data_ptr(),
        wkv.data_ptr(),
        ffn.data_ptr(),
        att.stride(0),
        att.stride(1),
        wkv.stride(0),
        wkv.stride(1),
    )


def _rows_from(state: abi.State7, first: int) -> abi.State7:
    if not first:
        return state
    shift, wkv = 4 * first * state.shift_row_stride, 4 * first * state.wkv_row_stride
    return abi.State7(
        state.att_shift + shift,
        state.wkv + wkv,
        state.ffn_shift + shift,
        state.shift_layer_stride,
        state.shift_row_stride,
        state.wkv_layer_stride,
        state.wkv_row_stride,
    )


def _layer(packed: Packed, index: int) -> abi.Layer7:
    vectors = {name: f"{index}.{name}" for name in abi.LAYER_VECTORS}
    return abi.Layer7(
        **{name: packed.address(at) if at in packed.slots else None for name, at in vectors.items()},
        **{name: packed.matrix(f"{index}.{name}") for name in abi.LAYER_MATRICES},
    )


def _model(spec: ModelSpec, packed: Packed, layers: ctypes.Array[abi.Layer7]) -> abi.Model7:
    return abi.Model7(
        struct_bytes=ctypes.sizeof(abi.Model7),
        layer_bytes=ctypes.sizeof(abi.Layer7),
        n_layer=spec.n_layer,
        n_embd=spec.n_embd,
        n_head=spec.n_head,
        head_size=spec.head_size,
        n_ffn=spec.n_ffn,
        n_vocab=spec.n_vocab,
        emb_format=Format.FP32 if packed.kind is Format.FP32 else Format.BF16,
        emb=packed.address("emb"),
        ln_out_weight=packed.address("ln_out_weight"),
        ln_out_bias=packed.address("ln_out_bias"),
        head=packed.matrix("head"),
        layers=ctypes.cast(layers, ctypes.POINTER(abi.Layer7)),
    )
