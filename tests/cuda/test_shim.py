"""The kernels' own source, run on the host, against float64: indexing and arithmetic without a GPU."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from chatrwkv.cuda import abi
from chatrwkv.cuda.abi import HEAD_KERNELS, ChannelsCall, HeadsCall
from tests.cuda.shim import run_channels, run_heads
from tests.reference import recurrences

NOTHING = -1e30
HEAD_SIZES = (1, 8, 15, 16, 17, 32, 40, 64, 80, 96, 127, 128)
# Largest error over the largest value: float32 sums; then half a unit in the last place of what is written.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}
DTYPES = list(TOLERANCE)
SUMS = ("aa", "bb", "pp")


@pytest.fixture(params=[0, 1], ids=["forwards", "backwards"])
def library(request, shim):
    shim.shim_backwards(request.param)
    return shim


def heads(generation, B, T, H, N, dtype=torch.float32, seed=0):
    """Inputs as trained models have them: unit removal keys, decays from 0.55 to 1 (7) or 0 to 1 (5, 6)."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(shape, generator=g)

    x = {name: noise(B, T, H, N).to(dtype) for name in "rkv"} | {"state": noise(B, H, N, N)}
    if generation.startswith("wkv7"):
        kk = torch.nn.functional.normalize(noise(B, T, H, N), dim=-1)
        x |= {"a": (-kk).to(dtype), "b": (kk * noise(B, T, H, N).sigmoid()).to(dtype)}
        return x | {"log_decay": -0.606531 * noise(B, T, H, N).sigmoid()}
    shape = (H, N) if generation == "wkv5" else (B, T, H, N)
    return x | {"u": noise(H, N), "log_decay": -(2 * noise(*shape)).exp()}


def heads_in_float64(generation, x, lengths):
    x = {name: tensor.double().numpy() for name, tensor in x.items()}
    y, ends = np.zeros(x["r"].shape), x["state"].copy()
    for row, n in enumerate(lengths):
        r, k, v = (x[name][row, :n] for name in "rkv")
        raw = x["log_decay"]
        decay = np.exp(np.broadcast_to(raw, k.shape) if generation == "wkv5" else raw[row, :n])
        if generation.startswith("wkv7"):
            a, b = x["a"][row, :n], x["b"][row, :n]
            y[row, :n], ends[row] = recurrences.wkv7(r, decay, k, v, a, b, x["state"][row])
        else:
            y[row, :n], ends[row] = recurrences.wkv6(r, decay, k, v, x["u"], x["state"][row])
    return y, ends


def assert_close(found, wanted, tolerance):
    found = found.double().numpy()
    assert np.isfinite(found).all()
    scale = max(1.0, np.abs(wanted).max(initial=0.0))
    assert np.abs(found - wanted).max(initial=0.0) <= tolerance * scale


def check_heads(library, generation, B, T, H, N, *, dtype=torch.float32, lengths=None):
    x = heads(generation, B, T, H, N, dtype)
    y, state = run_heads(library, generation, x, lengths)
    lengths = [T] * B if lengths is None else lengths
    wanted_y, wanted_state = heads_in_float64(generation, x, lengths)
    assert_close(y, wanted_y, TOLERANCE[dtype])
    assert_close(state, wanted_state, TOLERANCE[torch.float32])
    for row, n in enumerate(lengths):
        assert not y[row, n:].any(), "padding must be zero"


@pytest.mark.parametrize(
    ("generation", "N"),
    [(name, N) for name in HEAD_KERNELS for N in HEAD_SIZES if abi.max_head_size(name) >= N],
)
def test_every_head_size_is_right(library, generation, N):
    """A padded key or value that is counted, or a row that no block owns."""
    check_heads(library, generation, 2, 19, 2, N)


@pytest.mark.parametrize("generation", HEAD_KERNELS)
def test_every_number_of_tokens_is_right(library, generation):
    """The last, partial chunk, and the read-ahead behind the end."""
    for T in range(71):
        check_heads(library, generation, 1, T, 1, 16)


@pytest.mark.parametrize("generation", HEAD_KERNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("N", "lengths"), [(64, [37, 0, 16]), (48, [1, 33, 32]), (128, [8, 9, 0])])
def test_ragged_rows_of_every_type_are_right(library, generation, dtype, N, lengths):
    """A row that reads its neighbour's tokens or state; a row of no tokens that loses its state."""
    N = min(N, abi.max_head_size(generation))
    check_heads(library, generation, 3, max(lengths), 3, N, dtype=dtype, lengths=lengths)


@pytest.mark.parametrize("generation", HEAD_KERNELS)
def test_what_lies_behind_a_row_is_never_used(library, generation):
    x = heads(generation, 2, 21, 2, 32)
    y, state = run_heads(library, generation, x, [5, 21])
    for name in ("r", "k", "v", "a", "b"):
        if name in x:
            x[name][0, 5:] = torch.nan
    again = run_heads(library, generation, x, [5, 21])
    assert torch.equal(y, again[0])
    assert torch.equal(state, again[1])


@pytest.mark.parametrize("generation", HEAD_KERNELS)
def test_tokens_in_pieces_give_the_same(library, generation):
    """Prefill must not depend on where its pieces end: to the bit, but for the form whose chunks they move."""
    x = heads(generation, 2, 50, 1, 64)
    y, state = run_heads(library, generation, x)
    tolerance = 2e-6 if generation == "wkv7_chunked" else 0.0
    for first, end in ((0, 1), (1, 18), (18, 50)):
        piece = {
            name: tensor[:, first:end] if tensor.shape[:2] == (2, 50) else tensor
            for name, tensor in x.items()
        }
        part, x["state"] = run_heads(library, generation, piece)
        assert_close(part, y[:, first:end].double().numpy(), tolerance)
    assert_close(x["state"], state.double().numpy(), tolerance)


@pytest.mark.parametrize("log_decay", [-10.0, 0.0])
def test_decays_beyond_those_of_rwkv7_stay_numbers_in_chunks(library, log_decay):
    """D is taken from the middle of a chunk: 1/D would be e^160 at its end."""
    x = heads("wkv7_chunked", 1, 33, 1, 32)
    x["log_decay"] = torch.full_like(x["log_decay"], log_decay)
    y, state = run_heads(library, "wkv7_chunked", x)
    wanted = heads_in_float64("wkv7_chunked", x, [33])
    assert_close(y, wanted[0], 1e-5)
    assert_close(state, wanted[1], 1e-5)


@pytest.mark.parametrize("raw", [-20.0, 20.0])
def test_extreme_decays_of_rwkv6_are_right(library, raw):
    """exp(-exp(20)) is 0, exp(-exp(-20)) is 1: no NaN on the way."""
    x = heads("wkv6", 1, 33, 1, 32)
    x["log_decay"] = torch.full_like(x["log_decay"], -np.exp(raw))
    y, state = run_heads(library, "wkv6", x)
    wanted = heads_in_float64("wkv6", x, [33])
    assert_close(y, wanted[0], 1e-5)
    assert_close(state, wanted[1], 1e-5)


def channels(B, T, C, dtype=torch.float32, size=1.0):
    g = torch.Generator().manual_seed(1)
    k, v = (torch.randn(B, T, C, generator=g).to(dtype) for _ in range(2))
    w, u = -(torch.randn(C, generator=g)).exp(), torch.randn(C, generator=g)
    aa, bb = torch.randn(B, C, generator=g), torch.rand(B, C, generator=g) + 0.1
    pp = torch.randn(B, C, generator=g)
    blank = torch.arange(C) % 3 == 0  # sums of nothing
    aa[:, blank], bb[:, blank], pp[:, blank] = 0.0, 0.0, NOTHING
    return {"k": k * size, "v": v, "w": w, "u": u, "aa": aa, "bb": bb, "pp": pp}


def check_channels(library, B, T, C, *, dtype=torch.float32, lengths=None, eps=0.0, size=1.0):
    x = channels(B, T, C, dtype, size)
    y, sums = run_channels(library, x, lengths, float(np.log(eps)) if eps else None)
    lengths = [T] * B if lengths is None else lengths
    z = {name: tensor.double().numpy() for name, tensor in x.items()}
    for row, n in enumerate(lengths):
        before = np.exp(z["pp"][row])
        wanted = recurrences.wkv4(
            z["k"][row, :n],
            z["v"][row, :n],
            z["w"],
            z["u"],
            z["aa"][row] * before,
            z["bb"][row] * before,
            eps,
        )
        assert_close(y[row, :n], wanted[0], TOLERANCE[dtype])
        assert not y[row, n:].any()
        if n == 0:
            assert all(torch.equal(part[row], x[name][row]) for name, part in zip(SUMS, sums, strict=True))
            continue
        aa, bb, after, den = sums[0][row], sums[1][row], sums[2][row].double().exp(), torch.tensor(wanted[2])
        # pp is a float32: beyond 100 its own last place is 8e-6, and as much of a relative error a token
        tolerance = 2e-5 * max(1.0, size)
        assert_close(bb * after / den, np.ones(C), tolerance)
        assert_close(aa * after / den, wanted[1] / wanted[2], tolerance)


@pytest.mark.parametrize("eps", [0.0, 1e-8, 0.5])
@pytest.mark.parametrize(("B", "C"), [(1, 1), (2, 31), (3, 33), (1, 64), (3, 100)])
def test_wkv4_of_odd_shapes_is_right(library, B, C, eps):
    """A channel that takes another row's sums; the epsilon of RWKV-2 and 3 scaled with them."""
    check_channels(library, B, 20, C, eps=eps)


def test_wkv4_of_every_number_of_tokens_is_right(library):
    for T in range(71):
        check_channels(library, 2, T, 5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("lengths", [[17, 0, 8], [1, 16, 9]])
def test_wkv4_of_ragged_rows_and_every_type_is_right(library, dtype, lengths):
    check_channels(library, 3, max(lengths), 40, dtype=dtype, lengths=lengths)


def test_wkv4_survives_large_keys(library):
    """exp(300) is beyond float32; the float64 reference still holds it."""
    check_channels(library, 1, 40, 20, size=100.0)


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["too far"], -signal.SIGSEGV)])
def test_kernels_read_nothing_beyond_their_inputs(shim, arguments, code):
    """What is read ahead behind the last token is not used, but on a GPU the address may not exist."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.cuda.fenced", shim._name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (code, "" if code else "fenced"), done.stderr


def test_refused_calls_launch_nothing(shim):
    """A head of 129 in a kernel for 128 would read another head."""
    for size, heads_, type_ in ((129, 1, 0), (0, 1, 0), (64, -1, 0), (64, 1, 3), (64, 1, -1)):
        call = HeadsCall(n_rows=1, n_tokens=1, n_heads=heads_, head_size=size)
        assert shim.rwkv_cuda_wkv7(ctypes.byref(call), type_, None) == 1
    call = HeadsCall(n_rows=1, n_tokens=1, n_heads=1, head_size=65)
    assert shim.rwkv_cuda_wkv7_chunked(ctypes.byref(call), 0, None) == 1
    assert shim.rwkv_cuda_wkv4(ctypes.byref(ChannelsCall(n_rows=-1)), 0, None) == 1


def test_conversions_are_those_of_torch(shim):
    """Every 16-bit number, and float32 numbers between them: ties, subnormals, overflow, NaN."""
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    for name, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        wide = every.view(dtype).float()
        found = torch.tensor([getattr(shim, f"shim_load_{name}")(bits) for bits in range(65536)])
        assert torch.equal(found.nan_to_num(nan=1.5), wide.nan_to_num(nan=1.5))
        g = torch.Generator().manual_seed(0)
        anything = torch.randint(-(2**31), 2**31, (20000,), generator=g).to(torch.int32).view(torch.float32)
        near = (wide[:-1] + (wide[1:] - wide[:-1]) * 0.5)[::7]
        small = torch.randn(5000, generator=g) * 1e-6
        x = torch.cat((anything, near, small)).nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=-torch.inf)
        store = getattr(shim, f"shim_store_{name}")
        stored = torch.tensor([store(value) for value in x.tolist()], dtype=torch.int32)
        back = stored.to(torch.uint16).view(dtype)
        assert torch.equal(back.nan_to_num(nan=1.5), x.to(dtype).nan_to_num(nan=1.5))


def test_the_shim_sees_a_missing_barrier(shim):
    """Otherwise a race would pass here and fail on a GPU."""
    out = (ctypes.c_int * 64)()
    seen = []
    for backwards in (0, 1):
        shim.shim_backwards(backwards)
        assert shim.shim_race(out) == 0
        seen.append(all(out))
    assert not all(seen)


def test_the_shim_sees_threads_that_part_and_arrays_that_overrun(shim):
    assert shim.shim_part() == 9001
    assert shim.shim_overrun() == 9002
