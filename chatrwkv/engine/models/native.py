"""Models on the native path: one call a step.

Same states and, within the format's error, same logits as the torch model of the generation, so that a
conversation may change from one to the other between two tokens.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from ctypes import c_int32
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.engine import kernels, quant
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.native import abi
from chatrwkv.engine.native.abi import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.kernels import Engine, Library
    from chatrwkv.engine.options import OptionValue
    from chatrwkv.engine.quant import Packed
    from chatrwkv.engine.spec import ModelSpec
    from chatrwkv.engine.state import Scratch, State

_WORTH_CACHING = 32 << 20  # bytes: below that packing takes as long as reading
# Up to 8 rows are summed in the order of one row alone; more would go the way of a prompt, whose other order of
# sums could turn a draw: a seed gives a reply's bytes, whoever else is answered. 9 to 64 rows take 0.74 to 0.97
# of the other way's time in int8, 1.25 to 1.65 in bf16.
_ROWS_AT_ONCE = 8


class Native(Recurrent):
    """A model whose weights are packed."""

    def __init__(self, spec: ModelSpec, packed: Packed, engine: Engine) -> None:
        super().__init__(spec, torch.device("cpu"))
        self.packed = packed
        self.engine = engine
        self._layout = packing.LAYOUTS[spec.generation]
        self._layers = (abi.Layer * spec.n_layer)(*(_layer(packed, i) for i in range(spec.n_layer)))
        self._model = _model(spec, packed, self._layers)

    @cached_property
    def weights(self) -> Any:
        """What the packed weights mean, in float32, for what the native path cannot do, such as tuning.

        Made on first use and kept: as large as the model in float32.
        """
        return packing.unpacked(self.packed, self.spec, self.engine)

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        return self._layout.blank(self.spec, n_rows)

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The torch path on the same weights: differentiable, and as slow as it is."""
        return self._layout.family.PARTS.forward(
            self.weights, token_ids, state, lengths, all_logits=all_logits
        )

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V), the same bits whatever other rows there are."""
        n_rows = len(token_ids)
        logits = torch.empty(n_rows, self.spec.n_vocab)
        state = _state(scratch, n_rows)
        for first in range(0, n_rows, _ROWS_AT_ONCE):
            ids = token_ids[first : first + _ROWS_AT_ONCE]
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
        state: abi.State,
        lengths: ctypes.Array[c_int32],
        ids: Sequence[int],
        n_logits: ctypes.Array[c_int32],
        logits: Tensor,
    ) -> None:
        self.engine.forward(
            self._model, state, lengths, (c_int32 * len(ids))(*ids), n_logits, logits.data_ptr()
        )

    def headless(self) -> Recurrent:
        """The torch path on the same weights: the native one gives nothing but logits."""
        return _Unpacked(self).headless()


class _Unpacked(Recurrent):
    """The torch path on the weights of a native model."""

    def __init__(self, model: Native) -> None:
        super().__init__(model.spec, model.device)
        self.weights = model.weights
        self._layout = packing.LAYOUTS[model.spec.generation]

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        return self._layout.blank(self.spec, n_rows)

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Pure torch."""
        return self._layout.family.PARTS.forward(
            self.weights, token_ids, state, lengths, all_logits=all_logits
        )


class Switching:
    """A torch model that becomes a native one as soon as there is a library: between two calls, never in one.

    Packing runs in the background on one thread while the torch model goes on; both are in memory until
    it is done.
    """

    def __init__(self, slow: Recurrent, kind: str) -> None:
        self.spec = slow.spec
        self.device = slow.device
        self._now: Recurrent = slow
        this = weakref.ref(self)  # a model that was unloaded meanwhile is not kept alive by the wait

        def change(library: Library) -> None:
            model = this()
            if model is not None:
                model.change_over(library, quant.FORMATS[kind])

        kernels.when_ready(change)

    @property
    def is_native(self) -> bool:
        """Whether the change has been made."""
        return isinstance(self._now, Native)

    def change_over(self, library: Library, kind: Format) -> None:
        """Pack the weights, then let the next call be the first native one."""
        packed = packing.pack(self._now.weights, self.spec, kind, kernels.Engine(library, 1))
        self._now = Native(self.spec, packed, kernels.Engine(library))

    def headless(self) -> Recurrent:
        """Of the model in use."""
        return self._now.headless()

    @property
    def weights(self) -> Any:
        """Of the model in use."""
        return self._now.weights

    def blank(self) -> State:
        """The state before the first token."""
        return self._now.blank()

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        return self._now.step(token_ids, scratch)

    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        """Read one or more tokens into each row: logits (B, V), or B of (T_b, V) with `all_logits`."""
        return self._now.scan(rows, scratch, all_logits=all_logits)


@dataclass(frozen=True, slots=True)
class Source:
    """An open model file."""

    tensors: Mapping[str, Tensor]
    spec: ModelSpec
    options: Mapping[str, OptionValue]


def load(
    source: Source,
    kind: str,
    library: Library,
    check: Callable[[str, Tensor], None],
    progress: Callable[[int, int], None] | None = None,
) -> Native:
    """A native model from the packed cache, or from the tensors of an open file, which are then cached.

    The tensors are not touched when the cache has the packed ones. `check` sees each tensor before it is
    packed, and raises what the caller wants raised; `progress` gets bytes done and bytes in all.
    """
    spec = source.spec
    wanted, engine, folder = quant.FORMATS[kind], kernels.Engine(library), kernels.packed_folder()
    place = quant.cache_path(folder, spec, wanted) if folder is not None else None
    packed = quant.load(place, spec, wanted) if place is not None else None
    if packed is None:
        for name, tensor in source.tensors.items():
            check(name, tensor)
        weights = packing.LAYOUTS[spec.generation].build(source.tensors, spec, source.options)
        packed = packing.pack(weights, spec, wanted, engine, progress)
        if place is not None and packed.n_bytes > _WORTH_CACHING:
            arguments = (packed, place, spec)
            threading.Thread(target=quant.store, args=arguments, name="packed-cache", daemon=True).start()
    elif progress is not None:
        progress(packed.n_bytes, packed.n_bytes)
    return Native(spec, packed, engine)


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


def _state(scratch: Scratch, n_rows: int) -> abi.State:
    """The addresses of a scratch, whose tensors are first made what the native code can write to."""
    if n_rows != scratch.n_rows:
        raise ValueError(f"{n_rows} rows of tokens for a scratch of {scratch.n_rows}")
    scratch.to(torch.device("cpu"))
    for name, tensor in scratch.tensors.items():
        if tensor.dtype != torch.float32 or not tensor[0, 0].is_contiguous():
            scratch.tensors[name] = tensor.float().contiguous()
    vectors = [name for name in scratch.tensors if name != "wkv"]
    if len({scratch.tensors[name].stride() for name in vectors}) > 1:
        scratch.tensors |= {name: scratch.tensors[name].contiguous() for name in vectors}
    state = abi.State(**{name: tensor.data_ptr() for name, tensor in scratch.tensors.items()})
    state.vector_layer_stride, state.vector_row_stride = scratch.tensors["att_shift"].stride()[:2]
    if "wkv" in scratch.tensors:
        state.wkv_layer_stride, state.wkv_row_stride = scratch.tensors["wkv"].stride()[:2]
    return state


def _rows_from(state: abi.State, first: int) -> abi.State:
    """The same without the rows before `first`."""
    if not first:
        return state
    rest = abi.State.from_buffer_copy(state)
    for name in abi.STATE_TENSORS:
        stride = state.wkv_row_stride if name == "wkv" else state.vector_row_stride
        if address := getattr(state, name):
            setattr(rest, name, address + 4 * first * stride)
    return rest


def _layer(packed: Packed, index: int) -> abi.Layer:
    vectors = {name: f"{index}.{name}" for name in abi.LAYER_VECTORS}
    return abi.Layer(
        **{name: packed.address(at) if at in packed.slots else None for name, at in vectors.items()},
        **{name: packed.matrix(f"{index}.{name}") for name in abi.LAYER_MATRICES},
    )


def _model(spec: ModelSpec, packed: Packed, layers: ctypes.Array[abi.Layer]) -> abi.Model:
    return abi.Model(
        struct_bytes=ctypes.sizeof(abi.Model),
        layer_bytes=ctypes.sizeof(abi.Layer),
        generation=int(spec.generation[0]),
        n_layer=spec.n_layer,
        n_embd=spec.n_embd,
        n_head=spec.n_head,
        head_size=spec.head_size,
        n_ffn=spec.n_ffn,
        n_vocab=spec.n_vocab,
        emb_format=packed.slots["emb"].kind or Format.FP32,
        emb=packed.address("emb"),
        ln0_weight=packed.address("ln0_weight") if "ln0_weight" in packed.slots else None,
        ln0_bias=packed.address("ln0_bias") if "ln0_bias" in packed.slots else None,
        ln_out_weight=packed.address("ln_out_weight"),
        ln_out_bias=packed.address("ln_out_bias"),
        head=packed.matrix("head"),
        layers=ctypes.cast(layers, ctypes.POINTER(abi.Layer)),
    )
