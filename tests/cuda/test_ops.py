"""The operators: schema, fake tensors, messages; what packs a call for a kernel; what the self-test lets through."""

from __future__ import annotations

import ctypes

import pytest
import torch

from chatrwkv.cuda import decode_abi
from chatrwkv.cuda.abi import GENERATIONS, KERNELS, RECURRENCES
from chatrwkv.engine import cuda_kernels, ops
from chatrwkv.engine.cuda_ops import wkv4, wkv5, wkv6, wkv7
from chatrwkv.engine.cuda_selftest import self_test
from chatrwkv.errors import DeviceLost, KernelMismatch

CPU = torch.device("cpu")
LENGTHS = torch.tensor([3, 0])


def arguments(generation, *, dtype=torch.float32, T=4, lengths=LENGTHS):
    """Of a small call, in the order of the operator."""
    g = torch.Generator().manual_seed(0)

    def noise(*shape):
        return torch.randn(shape, generator=g)

    if generation == "wkv4":
        vectors = (noise(2, T, 6).to(dtype), noise(2, T, 6).to(dtype))
        return (*vectors, -noise(6).exp(), noise(6), noise(3, 2, 6), lengths, -3.0)
    r, k, v, a, b = (noise(2, T, 3, 8).to(dtype) for _ in range(5))
    log_decay = -noise(*((3, 8) if generation == "wkv5" else r.shape)).sigmoid()
    s = noise(2, 3, 8, 8)
    if generation == "wkv7":
        return (r, log_decay, k, v, a / 4, b / 4, s, lengths)
    return (r, log_decay, k, v, noise(3, 8), s, lengths)


OPERATORS = {"wkv4": wkv4, "wkv5": wkv5, "wkv6": wkv6, "wkv7": wkv7}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["ragged", "full"])
def test_operators_keep_their_schema(generation, dtype, lengths):
    """A fake of another shape, or a state changed without being declared so, breaks torch.compile."""
    torch.library.opcheck(OPERATORS[generation], arguments(generation, dtype=dtype, lengths=lengths))


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_operators_and_kernels_give_the_same(shim, generation, dtype):
    """What packs pointers and sizes may swap two of them."""
    shim.shim_backwards(0)
    by_torch, by_kernel = arguments(generation, dtype=dtype), arguments(generation, dtype=dtype)
    want = OPERATORS[generation](*by_torch)
    found = through_kernel(launch_of(shim), generation, by_kernel)
    assert found.dtype == want.dtype == dtype
    tolerance = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)
    state = 4 if generation == "wkv4" else -2
    torch.testing.assert_close(by_kernel[state], by_torch[state], rtol=1e-5, atol=1e-5)


def launch_of(shim):
    def launch(generation, call, number_type, stream):
        return getattr(shim, f"rwkv_cuda_{generation}")(ctypes.byref(call), number_type, stream)

    return launch


def through_kernel(launch, generation, args):
    from chatrwkv.engine.cuda_ops import launch_channels, launch_heads

    if generation == "wkv4":
        k, v, w, u, sums, lengths, log_eps = args
        return launch_channels(launch, {"k": k, "v": v, "w": w, "u": u}, sums, lengths, log_eps)
    names = (
        ("r", "log_decay", "k", "v", "a", "b") if generation == "wkv7" else ("r", "log_decay", "k", "v", "u")
    )
    *vectors, s, lengths = args
    return launch_heads(launch, generation, dict(zip(names, vectors, strict=True)), s, lengths)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_no_tokens_change_nothing(generation):
    args = arguments(generation, T=0, lengths=None)
    state = args[4 if generation == "wkv4" else -2]
    before = state.clone()
    assert OPERATORS[generation](*args).shape == args[0].shape
    assert torch.equal(state, before)


@pytest.mark.parametrize(
    ("index", "replacement", "message"),
    [
        (2, torch.zeros(2, 4, 3, 9), r"wkv7: k has the shape \(2, 4, 3, 9\) instead of \(2, 4, 3, 8\)"),
        (0, torch.zeros(2, 4, 24), "wkv7: the inputs are 3-dimensional torch.float32"),
        (0, torch.zeros(2, 4, 3, 8, dtype=torch.float64), "4-dimensional torch.float64"),
        (0, torch.zeros(2, 4, 3, 130), "a head size of 130 is not between 1 and 128"),
        (6, torch.zeros(2, 3, 8, 8, dtype=torch.float16), "s must be contiguous float32"),
        (6, torch.zeros(2, 3, 8, 8).mT, "s must be contiguous float32"),
        (6, torch.zeros(1, 3, 8, 8), "s has the shape"),
        (7, torch.zeros(3), r"lengths has the shape \(3,\) instead of \(2,\)"),
    ],
)
def test_wrong_arguments_are_named(index, replacement, message):
    """A kernel given a wrong shape reads another's memory."""
    args = list(arguments("wkv7"))
    args[index] = replacement
    with pytest.raises(ValueError, match=message):
        wkv7(*args)


def test_a_launch_that_fails_is_a_lost_device():
    with pytest.raises(DeviceLost, match="CUDA error 719") as failure:
        through_kernel(lambda *_: 719, "wkv7", arguments("wkv7"))
    assert "CPU" in failure.value.hint


@pytest.mark.parametrize("generation", [*KERNELS, decode_abi.UNIT])
def test_the_self_test_passes_right_kernels(shim, generation):
    assert self_test(launch_of(shim), generation, CPU) < 1.0


@pytest.mark.parametrize("generation", RECURRENCES)
@pytest.mark.parametrize("fault", ["nothing written", "lengths ignored", "state not written"])
def test_the_self_test_refuses_wrong_kernels(shim, generation, fault):
    """A self-test that cannot fail would let a broken driver write nonsense into every chat."""
    right = launch_of(shim)

    def wrong(name, call, number_type, stream):
        if fault == "nothing written":
            return 0
        if fault == "lengths ignored":
            call.lengths = None
            return right(name, call, number_type, stream)
        n_bytes = 4 * call.n_rows * (call.n_channels if name == "wkv4" else call.n_heads * call.head_size**2)
        place = call.pp if name == "wkv4" else call.state
        before = ctypes.string_at(place, n_bytes)
        code = right(name, call, number_type, stream)
        ctypes.memmove(place, before, n_bytes)
        return code

    with pytest.raises(KernelMismatch, match=f"{generation} kernel differs"):
        self_test(wrong, generation, CPU)


@pytest.mark.parametrize("kernel", decode_abi.KERNELS)
def test_the_self_test_refuses_a_step_without_one_of_its_kernels(shim, kernel):
    right = launch_of(shim)

    def wrong(name, call, number_type, stream):
        return 0 if name == kernel else right(name, call, number_type, stream)

    with pytest.raises(KernelMismatch, match="decode7 kernel differs"):
        self_test(wrong, decode_abi.UNIT, CPU)


def test_one_wrong_generation_does_not_take_the_others(shim):
    right = launch_of(shim)

    def wrong(name, call, number_type, stream):
        return 0 if name == "wkv6" else right(name, call, number_type, stream)

    usable, worst, problems = cuda_kernels.tested(wrong, CPU, KERNELS)
    assert usable == ("wkv4", "wkv5", "wkv7", "wkv7_chunked", "draw")
    assert worst is not None
    assert worst < 1.0
    assert len(problems) == 1
    assert "wkv6" in problems[0]


def test_cpu_tensors_ask_for_no_kernel(monkeypatch):
    """CPU-only machines pay nothing: no import, no question, no message."""
    from chatrwkv.engine import recurrences

    monkeypatch.setattr(cuda_kernels, "launcher", lambda *_: pytest.fail("asked"))
    r, log_decay, k, v, a, b, s, _ = arguments("wkv7")
    y, end = recurrences.wkv7_scan(r, log_decay, k, v, a, b, s)
    want = ops.wkv7_scan(r, log_decay, k, v, a, b, s)
    assert torch.equal(y, want[0])
    assert torch.equal(end, want[1])
    assert cuda_kernels.status() == ()
