"""A step of RWKV-7 by the kernels of `decode7`: eight launches a layer, each weight read once for all rows.

    torch.ops.chatrwkv.decode7(ids, att_shift!, wkv!, ffn_shift!, decoder, is_skipping) -> logits (B, V) float32

    norm, shift, six views -> r k v and the low-rank inputs -> the low-rank outputs -> a token of each head -> output
    -> norm, shift, view -> squared ReLU -> values

What goes between the kernels is float32, what enters a matrix 16-bit, as in the eager step, which rounds the outputs of
matrices, too. int8 weights are those of `Coarse`. The value matrices are laid out anew, an input a row, in place of the
model's own, which become views of them: nothing is kept twice.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch.nn import functional as F

from chatrwkv.cuda import decode_abi
from chatrwkv.cuda.decode_abi import Act, MixCall, Product, ProductsCall, TokenCall, ValuesCall
from chatrwkv.engine.coarse import GROUP_8, Coarse
from chatrwkv.engine.cuda_ops import TYPES, current, queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from chatrwkv.engine.cuda_ops import AnyCall, Launch
    from chatrwkv.engine.models.rwkv7 import RWKV7, Layer7, Lora
    from chatrwkv.engine.weights import Norm

_FIRST_BF16 = (8, 0)  # compute capability whose tensor cores multiply bf16
_decoders: WeakValueDictionary[int, Decoder] = WeakValueDictionary()
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A matrix as `products7` takes it, or, laid out the other way, `values7`."""

    weight: Tensor
    scale: Tensor | None
    n_out: int
    n_in: int


@dataclass(frozen=True, slots=True)
class _Low:
    """The two halves of a low-rank pair, both as [out, in], and the offset."""

    down: _Matrix
    up: _Matrix
    bias: Tensor | None


@dataclass(frozen=True, slots=True)
class _Layer:
    """What the kernels read of a layer beside its vectors."""

    squares: tuple[_Matrix, ...]  # receptance, key, value
    w: _Low
    a: _Low
    v: _Low | None
    g: _Low
    mixes: Tensor  # (6, C): r k v w a g
    output: _Matrix
    ffn_key: _Matrix
    ffn_value: _Matrix

    @property
    def lows(self) -> tuple[tuple[_Low, Act, Act, int], ...]:
        """Each with what its halves go through, and its view."""
        found = [(self.w, Act.TANH, Act.DECAY, 3), (self.a, Act.NONE, Act.SIGMOID, 4)]
        found += [(self.v, Act.NONE, Act.SIGMOID, 2)] if self.v is not None else []
        return (*found, (self.g, Act.SIGMOID, Act.NONE, 5))


def why_not(model: RWKV7) -> str:
    """Why the kernels cannot take this model; empty when they can."""
    spec, dtype = model.spec, model.weights.emb.dtype
    if dtype not in (torch.float16, torch.bfloat16):
        return f"{str(dtype).removeprefix('torch.')} weights"
    if model.device.type == "cuda" and dtype == torch.bfloat16:
        capability = torch.cuda.get_device_capability(model.device)
        if capability < _FIRST_BF16:
            return f"bf16 on compute capability {capability[0]}.{capability[1]}"
    if spec.n_embd % 16 or spec.n_ffn % 16 or spec.head_size % 4 or spec.head_size > decode_abi.MAX_HEAD_SIZE:
        return f"{spec.n_embd} channels, {spec.n_ffn} in the ffn, heads of {spec.head_size}"
    matrices = [part for layer in model.weights.layers for part in _large(layer)] + [model.weights.head]
    if any(part.dtype != dtype or (isinstance(part, Coarse) and part.low is not None) for part in matrices):
        return "int4 or mixed weights"
    return ""


def _large(layer: Layer7) -> list[Tensor | Coarse]:
    att, ffn = layer.att, layer.ffn
    return [att.receptance, att.key, att.value, att.output, ffn.key, ffn.value]


class Decoder:
    """The weights of a model, for which `why_not` has nothing to say, as the kernels take them.

    The model's value matrices are exchanged for views of those of the decoder.
    """

    def __init__(self, model: RWKV7, launch: Launch) -> None:
        self.spec = model.spec
        self.device = model.device
        self.launch = launch
        self.number = next(_numbers)
        for i, layer in enumerate(model.weights.layers):  # one by one, so that one at a time is there twice
            layers = (*model.weights.layers[:i], _turned(layer), *model.weights.layers[i + 1 :])
            model.weights = replace(model.weights, layers=layers)
        self.weights = model.weights
        self.dtype = model.weights.emb.dtype
        self.layers = [_layer(layer) for layer in self.weights.layers]
        self.head = _matrix(model.weights.head)
        n_strips = -(-self.spec.n_embd // 64)
        self.counters = torch.zeros(n_strips, dtype=torch.int32, device=self.device)
        _decoders[self.number] = self

    def step(self, ids: Tensor, state: Sequence[Tensor], *, is_skipping: bool) -> Tensor:
        """Read one token into each row: logits (B, V).

        Args:
            ids: (B,) int64.
            state: att_shift, wkv, ffn_shift of exactly B rows, overwritten.
            is_skipping: whether the rows of the value matrices are looked at before they are read.
        """
        with current(self.device):
            return _Step(self, ids, state, is_skipping=is_skipping).run()


def _turned(layer: Layer7) -> Layer7:
    """The same with the value matrix (C, F) of the ffn a view of one that lies as (F, C)."""
    value: Tensor | Coarse = layer.ffn.value
    if isinstance(value, Coarse):
        levels, scale = value.levels.t().contiguous().t(), value.scale.t().contiguous().t()
        turned: Any = replace(value, levels=levels, scale=scale)
    else:
        turned = value.t().contiguous().t()
    return replace(layer, ffn=replace(layer.ffn, value=turned))


def _layer(layer: Layer7) -> _Layer:
    att = layer.att
    return _Layer(
        squares=tuple(_matrix(part) for part in (att.receptance, att.key, att.value)),
        w=_low(att.w),
        a=_low(att.a),
        v=_low(att.v) if att.v is not None else None,
        g=_low(att.g),
        mixes=torch.stack([att.x_r, att.x_k, att.x_v, att.x_w, att.x_a, att.x_g]),
        output=_matrix(att.output),
        ffn_key=_matrix(layer.ffn.key),
        ffn_value=_matrix_of_rows(layer.ffn.value),
    )


def _matrix(part: Tensor | Coarse) -> _Matrix:
    n_out, n_in = part.shape
    if isinstance(part, Coarse):
        return _Matrix(part.levels.contiguous(), part.scale.contiguous(), n_out, n_in)
    return _Matrix(part.contiguous(), None, n_out, n_in)


def _matrix_of_rows(part: Tensor | Coarse) -> _Matrix:
    n_out, n_in = part.shape
    if isinstance(part, Coarse):
        return _Matrix(part.levels.t(), part.scale.t(), n_out, n_in)
    return _Matrix(part.t(), None, n_out, n_in)


def _low(pair: Lora) -> _Low:
    """The rank is made a multiple of 8 by zeros, 16 bytes."""
    padding = -pair.down.shape[1] % 8
    down, up = F.pad(pair.down, (0, padding)).t(), F.pad(pair.up, (0, 0, 0, padding)).t()
    return _Low(_matrix(down), _matrix(up), pair.bias)


class _Step:
    """One token of each row: memory for what goes between the kernels, and their calls in order."""

    def __init__(self, decoder: Decoder, ids: Tensor, state: Sequence[Tensor], *, is_skipping: bool) -> None:
        self.decoder, self.ids, self.state, self.is_skipping = decoder, ids, state, is_skipping
        spec, n_rows = decoder.spec, ids.shape[0]
        width, n_wide = spec.n_embd, spec.n_ffn
        self.n_rows = n_rows
        self.x, self.v_first = self._room(n_rows, width), self._room(n_rows, width)
        self.views, self.gated = self._narrow(6, n_rows, width), self._narrow(n_rows, width)
        self.r_k_v, self.outputs = self._room(3, n_rows, width), self._room(4, n_rows, width)
        self.k = self._room(n_rows, n_wide)
        self.range = decode_abi.value_range(n_wide, width)
        self.parts = self._room(-(-n_wide // self.range), n_rows, width)
        self.logits = self._room(n_rows, spec.n_vocab)

    def _room(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.decoder.device)

    def _narrow(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.decoder.device, dtype=self.decoder.dtype)

    def run(self) -> Tensor:
        weights = self.decoder.weights
        att_shift, wkv, ffn_shift = self.state
        for i, (vectors, layer) in enumerate(zip(weights.layers, self.decoder.layers, strict=True)):
            emb = weights.emb if i == 0 else None
            self._mix(vectors.ln1, layer.mixes, att_shift[i], emb)
            self._time_mix(vectors, layer, wkv[i])
            self._mix(vectors.ln2, vectors.ffn.x_k[None], ffn_shift[i])
            self._products([self._product(layer.ffn_key, self.views[0], self.k, Act.SQUARED_RELU)])
            self._values(layer.ffn_value)
        self._mix(weights.ln_out, None, None)
        self._products([self._product(self.decoder.head, self.views[0], self.logits)])
        return self.logits

    def _launch(self, kernel: str, call: AnyCall) -> None:
        queue(self.decoder.launch, kernel, call, TYPES[self.decoder.dtype], self.decoder.device)

    def _mix(self, norm: Norm, mixes: Tensor | None, shift: Tensor | None, emb: Tensor | None = None) -> None:
        call = MixCall(
            ids=self.ids.data_ptr(),
            emb=_address(emb),
            x=self.x.data_ptr(),
            weight=norm.weight.data_ptr(),
            bias=norm.bias.data_ptr(),
            mix=_address(mixes),
            shift=_address(shift),
            y=self.views.data_ptr(),
            n_rows=self.n_rows,
            n_channels=self.decoder.spec.n_embd,
            n_views=1 if mixes is None else len(mixes),
        )
        self._launch("mix7", call)

    def _time_mix(self, vectors: Layer7, layer: _Layer, s: Tensor) -> None:
        products = [
            self._product(matrix, self.views[i], self.r_k_v[i]) for i, matrix in enumerate(layer.squares)
        ]
        ups = []
        # all at once: calls hold addresses only, and the room of a tensor let go would be given to the next
        between = [self._narrow(self.n_rows, low.down.n_out) for low, *_ in layer.lows]
        for (low, act, last, view), z, y in zip(layer.lows, between, self._outputs_of(layer), strict=True):
            products.append(self._product(low.down, self.views[view], z, act))
            ups.append(self._product(low.up, z, y, last, low.bias))
        self._products(products)
        self._products(ups)
        self._token(vectors, layer, s)
        self._products([self._product(layer.output, self.gated, self.x, Act.ADD)])

    def _outputs_of(self, layer: _Layer) -> list[Tensor]:
        """Decay, a, the gate of v if there is one, g."""
        return [y for i, y in enumerate(self.outputs) if i != 2 or layer.v is not None]

    def _product(
        self, matrix: _Matrix, x: Tensor, y: Tensor, act: Act = Act.NONE, bias: Tensor | None = None
    ) -> Product:
        is_wide = y.dtype == torch.float32
        addresses = (
            matrix.weight.data_ptr(),
            _address(matrix.scale),
            x.data_ptr(),
            _address(bias),
            y.data_ptr(),
        )
        return Product(*addresses, matrix.n_out, matrix.n_in, act, is_wide)

    def _products(self, products: list[Product]) -> None:
        room = (Product * decode_abi.MOST_PRODUCTS)(*products)
        self._launch("products7", ProductsCall(room, len(products), self.n_rows))

    def _token(self, vectors: Layer7, layer: _Layer, s: Tensor) -> None:
        spec, att = self.decoder.spec, vectors.att
        decay, a, v_gate, g = self.outputs
        inputs = (*self.r_k_v, decay, a, g, v_gate if layer.v is not None else None, self.v_first)
        params = (att.k_k, att.k_a, att.r_k, att.ln_x.weight, att.ln_x.bias)
        addresses = [_address(tensor) for tensor in (*inputs, *params, s, self.gated)]
        self._launch("token7", TokenCall(*addresses, self.n_rows, spec.n_head, spec.head_size))

    def _values(self, matrix: _Matrix) -> None:
        tensors = (matrix.weight, matrix.scale, self.k, self.x, self.parts, self.decoder.counters)
        sizes = (self.n_rows, matrix.n_in, matrix.n_out, self.range, self.is_skipping)
        self._launch("values7", ValuesCall(*(_address(tensor) for tensor in tensors), *sizes))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@torch.library.custom_op("chatrwkv::decode7", mutates_args=("att_shift", "wkv", "ffn_shift"))
def decode7(
    ids: torch.Tensor,
    att_shift: torch.Tensor,
    wkv: torch.Tensor,
    ffn_shift: torch.Tensor,
    decoder: int,
    is_skipping: bool,
) -> torch.Tensor:
    """See the module; `decoder` is the number of a `Decoder`."""
    found, n_rows = _decoders[decoder], ids.shape[0]
    spec = found.spec
    shift = (spec.n_layer, n_rows, spec.n_embd)
    wkv_shape = (*shift[:2], spec.n_head, spec.head_size, spec.head_size)
    shapes = {"att_shift": shift, "wkv": wkv_shape, "ffn_shift": shift}
    state = {"att_shift": att_shift, "wkv": wkv, "ffn_shift": ffn_shift}
    if ids.dtype != torch.int64 or ids.ndim != 1 or not 1 <= n_rows <= decode_abi.MOST_ROWS:
        raise ValueError(f"decode7: {tuple(ids.shape)} {ids.dtype} are not the ids of 1 to 16 rows.")
    for name, tensor in state.items():
        if tuple(tensor.shape) != shapes[name]:
            raise ValueError(
                f"decode7: {name} has the shape {tuple(tensor.shape)} instead of {shapes[name]}."
            )
        if tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError(f"decode7: {name} must be contiguous float32, and is {tensor.dtype}.")
    if any(tensor.device != found.device for tensor in (ids, *state.values())):
        raise ValueError(f"decode7: ids and state must be on {found.device}.")
    return found.step(ids.contiguous(), (att_shift, wkv, ffn_shift), is_skipping=is_skipping)


@decode7.register_fake
def _fake(ids: torch.Tensor, *rest: object) -> torch.Tensor:
    (_, _, _, decoder, _) = rest
    assert isinstance(decoder, int)
    return torch.empty((ids.shape[0], _decoders[decoder].spec.n_vocab), device=ids.device)


assert GROUP_8 == decode_abi.GROUP
