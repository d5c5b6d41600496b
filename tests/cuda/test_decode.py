"""The kernels of a step of RWKV-7, run on the host, each against float64; then whole steps against the eager one."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from chatrwkv.cuda import decode_abi
from chatrwkv.cuda.abi import NumberType
from chatrwkv.cuda.decode_abi import Act, MixCall, Product, ProductsCall, TokenCall, ValuesCall
from chatrwkv.engine import ops
from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.cuda_decode import Decoder, decode7, why_not
from chatrwkv.engine.cuda_selftest import step_models
from chatrwkv.engine.models.rwkv7 import MAX_LOG_DECAY, blank
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch
from tests.checkpoints import Size, rwkv7
from tests.cuda.shim import Guarded, address, launch_checked

TYPES = {torch.float16: NumberType.FP16, torch.bfloat16: NumberType.BF16}
EACH_TYPE = pytest.mark.parametrize("dtype", list(TYPES), ids=str)
# Of the largest value: float32 sums; half a unit in the last place of what is stored in 16 bit.
WIDE = 1e-5
NARROW = {torch.float16: 1e-3, torch.bfloat16: 5e-3}
CPU = torch.device("cpu")
SIZE = Size(3, 80, 40, 24, 592)


@pytest.fixture(params=[0, 1], ids=["forwards", "backwards"])
def library(request, shim):
    shim.shim_backwards(request.param)
    return shim


class Draw:
    def __init__(self, seed=0):
        self.g = torch.Generator().manual_seed(seed)

    def __call__(self, *shape, dtype=torch.float32):
        return torch.randn(shape, generator=self.g).to(dtype)


def close(found, wanted, tolerance):
    assert found.isfinite().all()
    error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)
    assert error <= tolerance


# -- products -------------------------------------------------------------------------------------------------


def after(act, x, before):
    return {
        Act.NONE: x,
        Act.TANH: x.tanh(),
        Act.SIGMOID: x.sigmoid(),
        Act.DECAY: (-MAX_LOG_DECAY * x.sigmoid()).exp(),
        Act.SQUARED_RELU: x.relu().square(),
        Act.ADD: before + x,
    }[act]


def check_products(library, B, dtype, shapes):
    """`shapes`: (outputs, columns, kind, act, is wide, has a bias) of each matrix of one launch."""
    draw, kept, products, wanted = Draw(B), [], [], []
    for n_out, n_in, kind, act, is_wide, has_bias in shapes:
        exact, x = draw(n_out, n_in) / n_in**0.5, draw(B, n_in, dtype=dtype)
        bias = draw(n_out) if has_bias else None
        coarse = Coarse.of(exact, "int8", torch.float32) if kind == "int8" else None
        weight = exact.to(dtype) if coarse is None else coarse.levels
        meant = weight if coarse is None else coarse.dense()
        before = draw(B, n_out)
        y = Guarded(before if is_wide else torch.full((B, n_out), torch.nan, dtype=dtype))
        sums = x.double() @ meant.double().T + (0.0 if bias is None else bias.double())
        wanted.append((y, after(act, sums, before.double()), WIDE if is_wide else NARROW[dtype]))
        scale = None if coarse is None else coarse.scale
        kept += [weight, scale, x, bias]
        addresses = [address(t) for t in (weight, scale, x, bias, y.tensor)]
        products.append(Product(*addresses, n_out, n_in, act, is_wide))
    room = (Product * decode_abi.MOST_PRODUCTS)(*products)
    launch_checked(library, "products7", ProductsCall(room, len(products), B), TYPES[dtype])
    for y, want, tolerance in wanted:
        close(y.checked(), want, tolerance)


@EACH_TYPE
@pytest.mark.parametrize("B", [1, 2, 3, 8, 9, 16])
def test_products_of_several_matrices_are_right(library, B, dtype):
    """A block that takes the next matrix's rows; columns beyond the last; a scale of another group or row."""
    shapes = [
        (17, 48, "16", Act.NONE, True, False),
        (1, 8, "16", Act.TANH, False, False),
        (16, 1032, "16", Act.SIGMOID, True, True),
        (33, 80, "int8", Act.SQUARED_RELU, True, False),
        (5, 1040, "int8", Act.ADD, True, False),
        (16, 16, "int8", Act.NONE, False, True),
        (40, 24, "16", Act.DECAY, True, True),
    ]
    check_products(library, B, dtype, shapes)


@pytest.mark.parametrize("kind", ["16", "int8"])
@pytest.mark.parametrize("n_in", [16, 32, 64, 240, 256, 272, 512, 528, 1024, 1088])
def test_products_of_every_number_of_columns_are_right(library, kind, n_in):
    check_products(library, 2, torch.float16, [(18, n_in, kind, Act.ADD, True, True)])


@EACH_TYPE
def test_a_row_gets_the_same_bits_whoever_is_beside_it(library, dtype):
    """A seed gives a reply's bytes; another reply beside it must not turn a draw."""
    draw = Draw()
    weight, x = draw(20, 200, dtype=dtype), draw(16, 200, dtype=dtype)
    found = []
    for rows in (x[:1], x[:5], x):
        y = torch.empty(len(rows), 20)
        product = Product(*(address(t) for t in (weight, None, rows, None, y)), 20, 200, Act.NONE, is_wide=1)
        room = (Product * decode_abi.MOST_PRODUCTS)(product)
        launch_checked(library, "products7", ProductsCall(room, 1, len(rows)), TYPES[dtype])
        found.append(y)
    assert torch.equal(found[0], found[2][:1])
    assert torch.equal(found[1], found[2][:5])


# -- values ---------------------------------------------------------------------------------------------------

PATTERNS = {
    "none": torch.zeros_like,
    "all": lambda k: k,
    "most are zero": lambda k: torch.where(torch.arange(k.shape[1]) % 7 == 3, k, 0.0),
    "the last only": lambda k: torch.where(torch.arange(k.shape[1]) == k.shape[1] - 1, k, 0.0),
    "rows apart": lambda k: torch.where(
        (torch.arange(k.shape[1]) + torch.arange(len(k))[:, None]) % 5 == 0, k, 0.0
    ),
}


def check_values(library, B, shape, dtype, kind, *, k=None, is_skipping=True, size=512):
    n_channels, n_wide = shape
    draw = Draw(B)
    exact, x = draw(n_channels, n_wide) / n_wide**0.5, draw(B, n_channels)
    k = draw(B, n_wide).relu().square() if k is None else k
    coarse = Coarse.of(exact, "int8", torch.float32) if kind == "int8" else None
    weight = (exact.to(dtype) if coarse is None else coarse.levels).t().contiguous()
    scale = None if coarse is None else coarse.scale.t().contiguous()
    meant = weight.t() if coarse is None else coarse.dense()
    y, parts = Guarded(x), Guarded(torch.full((-(-n_wide // size), B, n_channels), torch.nan))
    counters = Guarded(torch.zeros(-(-n_channels // 64), dtype=torch.int32))
    addresses = [address(t) for t in (weight, scale, k, y.tensor, parts.tensor, counters.tensor)]
    call = ValuesCall(*addresses, B, n_wide, n_channels, size, is_skipping)
    launch_checked(library, "values7", call, TYPES[dtype])
    parts.checked()
    assert not counters.checked().any(), "the next launch counts from there"
    # k is rounded to 16 bits on its way into the product
    rounded = rounded_to(k, dtype)
    close(y.checked(), x.double() + rounded.double() @ meant.double().T, WIDE)


def rounded_to(k, dtype):
    """As the kernel rounds: in fp16 a row with numbers above 1024 in a piece of 64 is made smaller first."""
    if dtype == torch.bfloat16:
        return k.to(dtype)
    pieces = F.pad(k, (0, -k.shape[1] % 64)).view(len(k), -1, 64)
    size = (pieces.amax(2, keepdim=True) / ops.WIDE_16).clamp(min=1.0)
    return ((pieces / size).half().double() * size.double()).flatten(1)[:, : k.shape[1]]


@EACH_TYPE
@pytest.mark.parametrize("kind", ["16", "int8"])
@pytest.mark.parametrize("B", [1, 2, 3, 16])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_values_are_right_whatever_is_zero(library, dtype, kind, B, pattern):
    """A row that is skipped for one conversation and wanted by another; a piece in which nothing is wanted."""
    k = PATTERNS[pattern](Draw(7)(B, 592).square())
    for is_skipping in (False, True):
        check_values(library, B, (80, 592), dtype, kind, k=k, is_skipping=is_skipping)


@pytest.mark.parametrize("kind", ["16", "int8"])
@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (144, 80), (48, 512), (128, 1040), (272, 48)])
def test_values_of_odd_shapes_are_right(library, kind, shape):
    for B in (1, 9):
        check_values(library, B, shape, torch.float16, kind)
        check_values(library, B, shape, torch.float16, kind, size=1024, is_skipping=False)


@EACH_TYPE
def test_values_of_large_keys_do_not_overflow(library, dtype):
    """Above 65,504, the largest fp16, in one conversation; the other keeps its small ones."""
    k = Draw()(2, 128).square()
    k[0, 5] = 3e6
    check_values(library, 2, (32, 128), dtype, "16", k=k)


def test_zeros_are_not_read(library):
    """What a skipped row holds cannot matter: here it is no number."""
    weight = torch.ones(128, 16, dtype=torch.float16)
    k = torch.zeros(2, 128)
    k[0, 3] = k[1, 70] = 2.0
    weight[(k == 0).all(0)] = torch.nan
    x, parts, counters = torch.zeros(2, 16), torch.zeros(1, 2, 16), torch.zeros(1, dtype=torch.int32)
    addresses = [address(t) for t in (weight, None, k, x, parts, counters)]
    launch_checked(library, "values7", ValuesCall(*addresses, 2, 128, 16, 512, 1), NumberType.FP16)
    assert torch.equal(x, torch.full((2, 16), 2.0))


# -- mixing, and the token of a head ----------------------------------------------------------------------------


@EACH_TYPE
@pytest.mark.parametrize(("B", "C"), [(1, 16), (2, 1024), (3, 1040), (16, 80)])
@pytest.mark.parametrize("form", ["six views", "one view", "norm alone", "from the embedding"])
def test_mixing_is_right(library, dtype, B, C, form):
    draw = Draw()
    emb, ids = draw(9, C, dtype=dtype), torch.arange(B) * 5 % 9
    is_first, has_shift = form == "from the embedding", form != "norm alone"
    x = Guarded(torch.full((B, C), torch.nan) if is_first else 3 * draw(B, C) + 1)
    weight, bias, p = draw(C), draw(C), draw(B, C)
    mixes = draw(1 if form == "one view" else 6, C).sigmoid()
    stream = emb[ids].double() if is_first else x.tensor.double()
    h = F.layer_norm(stream, (C,), weight.double(), bias.double(), 1e-5)
    want = h + (p.double() - h) * mixes.double()[:, None] if has_shift else h[None]
    shift, y = Guarded(p), Guarded(torch.full((len(want), B, C), torch.nan, dtype=dtype))
    tensors = (
        ids,
        emb if is_first else None,
        x.tensor,
        weight,
        bias,
        mixes,
        shift.tensor if has_shift else None,
    )
    call = MixCall(*(address(t) for t in (*tensors, y.tensor)), B, C, len(want))
    launch_checked(library, "mix7", call, TYPES[dtype])
    close(y.checked(), want, NARROW[dtype])
    close(shift.checked(), h if has_shift else p.double(), WIDE)
    close(x.checked(), stream, 0.0)


@EACH_TYPE
@pytest.mark.parametrize(("B", "H", "N"), [(1, 2, 64), (3, 1, 4), (2, 3, 40), (16, 1, 32)])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_token_of_a_head_is_right(library, dtype, B, H, N, is_first):
    draw, C = Draw(), H * N
    r, k, v, g, v_first = (draw(B, C) for _ in range(5))
    a, gate, decay = draw(B, C).sigmoid(), draw(B, C).sigmoid(), (-0.6 * draw(B, C).sigmoid()).exp()
    k_k, k_a, r_k, weight, bias = (draw(C) for _ in range(5))
    k[:, :N] *= 0.0 if N == 4 else 1.0  # a key of no length
    s = draw(B, H, N, N)
    state, first, y = Guarded(s), Guarded(v_first), Guarded(torch.full((B, C), torch.nan, dtype=dtype))
    inputs = (r, k, v, decay, a, g, None if is_first else gate, first.tensor)
    tensors = (*inputs, k_k, k_a, r_k, weight, bias, state.tensor, y.tensor)
    launch_checked(library, "token7", TokenCall(*(address(t) for t in tensors), B, H, N), TYPES[dtype])

    r, k, v, g, v_first, a, gate, decay, s = (t.double() for t in (r, k, v, g, v_first, a, gate, decay, s))
    heads = (B, H, N)
    kk = F.normalize((k * k_k).view(heads), dim=-1, eps=1e-12)
    k = (k * (1 + (a - 1) * k_a)).view(heads)
    v = (v if is_first else v + (v_first - v) * gate).view(heads)
    r = r.view(heads)
    out = ops.wkv7_step_(r, decay.view(heads), k, v, -kk, kk * a.view(heads), s)
    out = ops.group_norm(out, weight.double(), bias.double())
    out = (out + ((r * k * r_k.view(H, N)).sum(-1, keepdim=True) * v).flatten(1)) * g
    close(state.checked(), s, WIDE)
    close(y.checked(), out, NARROW[dtype])
    close(first.checked(), v.flatten(1) if is_first else v_first, WIDE)


# -- whole steps ------------------------------------------------------------------------------------------------


def pair_of(library, dtype, kind, size=SIZE):
    """A decoder on the host, and the float32 model of the same weights."""

    def launch(kernel, call, number_type, stream):
        return getattr(library, f"rwkv_cuda_{kernel}")(ctypes.byref(call), number_type, stream)

    tensors = rwkv7(size)
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    model, reference = step_models(spec, tensors, dtype, kind, CPU)
    assert not why_not(model)
    return Decoder(model, launch), reference, model


@EACH_TYPE
@pytest.mark.parametrize("kind", ["", "int8"])
@pytest.mark.parametrize("B", [1, 3, 16])
def test_steps_follow_the_eager_model(shim, dtype, kind, B):
    """Several tokens: each begins with the state that the kernels left."""
    shim.shim_backwards(0)
    decoder, reference, _ = pair_of(shim, dtype, kind)
    tolerance = {torch.float16: 3e-3, torch.bfloat16: 2e-2}[dtype]
    state, eager = blank(decoder.spec, B), Scratch(blank(decoder.spec, B))
    for step in range(3 if B == 1 else 2):
        ids = [(7 * step + 5 * row + 1) % 24 for row in range(B)]
        found = decode7(torch.tensor(ids), *state.values(), decoder.number, step % 2 == 0)
        close(found, reference.step(ids, eager).double(), tolerance)
        for name, tensor in eager.tensors.items():
            close(state[name], tensor.double(), tolerance)


@pytest.mark.parametrize("kind", ["", "int8"])
def test_the_model_itself_is_unchanged_by_its_new_layout(shim, kind):
    """Prompts go on through torch, on the same value matrices."""
    _, reference, model = pair_of(shim, torch.float16, kind)
    found = model.scan([[1, 2, 3, 4]], Scratch(model.blank_rows(1)))
    wanted = reference.scan([[1, 2, 3, 4]], Scratch(reference.blank_rows(1)))
    assert isinstance(found, torch.Tensor)
    assert isinstance(wanted, torch.Tensor)
    close(found, wanted.double(), 2e-2)
    value = model.weights.layers[0].ffn.value
    assert (value.levels if kind else value).t().is_contiguous()


@pytest.mark.parametrize("kind", ["", "int8"])
def test_the_step_keeps_its_schema(shim, kind):
    """A state changed without being declared so, or a fake of another shape, breaks torch.compile."""
    shim.shim_backwards(0)
    decoder, _, _ = pair_of(shim, torch.float16, kind, Size(1, 16, 16, 16, 16))
    torch.library.opcheck(
        decode7, (torch.tensor([1, 2]), *blank(decoder.spec, 2).values(), decoder.number, True)
    )


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (0, lambda ids: ids.int(), "not the ids of 1 to 16 rows"),
        (0, lambda ids: ids.repeat(9), "not the ids of 1 to 16 rows"),
        (1, lambda state: state[:, :1], r"att_shift has the shape \(1, 1, 16\) instead of \(1, 2, 16\)"),
        (2, lambda state: state.mT, "wkv must be contiguous float32"),
        (3, lambda state: state.half(), "ffn_shift must be contiguous float32"),
    ],
)
def test_wrong_arguments_of_a_step_are_named(shim, index, change, message):
    decoder, _, _ = pair_of(shim, torch.float16, "", Size(1, 16, 16, 16, 16))
    args = [torch.tensor([1, 2]), *blank(decoder.spec, 2).values(), decoder.number, True]
    args[index] = change(args[index])
    with pytest.raises(ValueError, match=message):
        decode7(*args)


def test_models_without_fused_kernels_are_named(shim):
    _, reference, model = pair_of(shim, torch.float16, "", Size(1, 16, 16, 16, 16))
    assert why_not(reference) == "float32 weights"
    assert "heads of 128" in why_not(with_spec(model, head_size=128))
    assert "40 in the ffn" in why_not(with_spec(model, n_ffn=40))
    layer = model.weights.layers[0]
    int4 = Coarse.of(torch.randn(16, 16), "int4", torch.float16)
    other = replace(layer, att=replace(layer.att, key=int4))
    model.weights = replace(model.weights, layers=(other,))
    assert why_not(model) == "int4 or mixed weights"


def with_spec(model, **changes):
    other = object.__new__(type(model))
    other.__dict__.update(model.__dict__)
    other.spec = replace(model.spec, **changes)
    return other


def test_refused_calls_of_a_step_launch_nothing(shim):
    """A shape that the kernels do not know would read beyond an array."""
    good = {"n_rows": 1, "n_channels": 16, "n_wide": 16, "range": 512}
    for name, bad in (("n_rows", 17), ("n_rows", 0), ("n_channels", 24), ("n_wide", 0), ("range", 64)):
        call = ValuesCall(**{**good, name: bad})
        assert shim.rwkv_cuda_values7(ctypes.byref(call), NumberType.FP16, None) == 1
    assert shim.rwkv_cuda_values7(ctypes.byref(ValuesCall(**good)), NumberType.FP32, None) == 1
    assert shim.rwkv_cuda_mix7(ctypes.byref(MixCall(n_rows=1, n_channels=8)), NumberType.FP16, None) == 1
    for size in (0, 6, 68):
        token = TokenCall(n_rows=1, n_heads=1, head_size=size)
        assert shim.rwkv_cuda_token7(ctypes.byref(token), NumberType.FP16, None) == 1
    product = Product(n_out=4, n_in=12)
    room = (Product * decode_abi.MOST_PRODUCTS)(product)
    for n in (0, 1, 8):
        assert shim.rwkv_cuda_products7(ctypes.byref(ProductsCall(room, n, 1)), NumberType.FP16, None) == 1
