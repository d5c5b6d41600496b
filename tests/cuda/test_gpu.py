"""On a GPU: every kernel, compiled both ways, against float64; whole models; runs wherever torch sees one."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.cuda import abi, decode_abi
from chatrwkv.cuda.abi import GENERATIONS, HEAD_KERNELS
from chatrwkv.engine import cuda_kernels, ops
from chatrwkv.engine.cuda_ops import launch_channels, launch_heads
from chatrwkv.engine.cuda_selftest import self_test
from chatrwkv.errors import KernelBuildFailed
from tests.checkpoints import Size, rwkv4, rwkv5, rwkv6, rwkv7
from tests.cuda.conftest import cache_folder
from tests.cuda.test_ops import OPERATORS, arguments
from tests.cuda.test_shim import TOLERANCE, heads

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.skipif(torch.version.hip is not None, reason="a ROCm build of torch"),
]
WAYS = {"nvcc": cuda_kernels.with_nvcc, "nvrtc": cuda_kernels.with_nvrtc}


@pytest.fixture(scope="module")
def gpu():
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="module", params=list(WAYS))
def launch(request, gpu):
    major, minor = torch.cuda.get_device_capability(gpu)
    torch.zeros(1, device=gpu)  # makes the context, which the driver API needs
    folder = cache_folder(request.config, f"cuda-{request.param}-gpu")
    try:
        made, _ = WAYS[request.param](folder, f"sm_{major}{minor}", lambda: None)
    except KernelBuildFailed as failure:
        pytest.skip(failure.message)
    return made


@pytest.mark.parametrize("kernel", [*abi.KERNELS, decode_abi.UNIT])
def test_the_self_test_passes(launch, gpu, kernel):
    major, minor = torch.cuda.get_device_capability(gpu)
    if kernel not in (*abi.kernels_for(f"sm_{major}{minor}"), decode_abi.UNIT):
        pytest.skip(f"sm_{major}{minor} has no tf32 products")
    assert self_test(launch, kernel, gpu) < 1.0


def error(found, wanted):
    return float((found.double().cpu() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("generation", HEAD_KERNELS)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(
    ("B", "T", "H", "N"), [(1, 1, 1, 8), (1, 4096, 12, 64), (3, 257, 5, 96), (16, 33, 8, 128), (2, 70, 3, 40)]
)
def test_kernels_with_heads_follow_float64(launch, gpu, generation, dtype, B, T, H, N):
    x = heads(generation, B, T, H, min(N, abi.max_head_size(generation)), dtype)
    s = x.pop("state")
    end = s.clone().to(gpu)
    y = launch_heads(launch, generation, {name: t.to(gpu) for name, t in x.items()}, end, None)
    z = {name: tensor.double() for name, tensor in x.items()}
    decay = z["log_decay"].expand(z["r"].shape)
    if generation.startswith("wkv7"):
        want, want_end = ops.wkv7_scan(z["r"], decay, z["k"], z["v"], z["a"], z["b"], s.double())
    else:
        want, want_end = ops.wkv6_scan(z["r"], decay, z["k"], z["v"], z["u"], s.double())
    assert error(y, want) <= TOLERANCE[dtype]
    assert error(end, want_end) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("B", "T", "C"), [(1, 1, 1), (1, 4096, 768), (3, 257, 100), (16, 33, 4096)])
def test_wkv4_follows_float64(launch, gpu, dtype, B, T, C):
    g = torch.Generator().manual_seed(0)
    x = {name: torch.randn(B, T, C, generator=g).to(dtype) for name in "kv"}
    x |= {"w": -torch.randn(C, generator=g).exp(), "u": torch.randn(C, generator=g)}
    start = torch.zeros(3, B, C)
    start[2] = ops.NOTHING_4
    sums = start.clone().to(gpu)
    y = launch_channels(launch, {name: t.to(gpu) for name, t in x.items()}, sums, None, None)
    z = {name: tensor.double() for name, tensor in x.items()}
    aa, bb, pp = start.double().unbind()
    want, _ = ops.wkv4_scan(z["k"], z["v"], z["w"], z["u"], (aa, bb, pp))
    assert error(y, want) <= TOLERANCE[dtype]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_operators_keep_their_schema_on_the_gpu(launch, gpu, generation, monkeypatch):
    monkeypatch.setattr(cuda_kernels, "launcher", lambda *_: launch)
    args = tuple(x.to(gpu) if isinstance(x, torch.Tensor) else x for x in arguments(generation))
    torch.library.opcheck(OPERATORS[generation], args)


@pytest.mark.parametrize("make", [rwkv4, rwkv5, rwkv6, rwkv7], ids=lambda make: make.__name__)
def test_models_give_the_same_with_kernels(launch, gpu, make, monkeypatch):
    """Ragged rows through whole models: the kernel's state must be the one the next step reads."""
    from chatrwkv.engine.model import _family
    from chatrwkv.engine.spec import detect
    from chatrwkv.engine.state import Scratch
    from chatrwkv.engine.weights import prepare

    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    tensors = make(Size(2, 128, 64, 50))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    rows = [[(7 * i + row) % 50 for i in range(n)] for row, n in enumerate((70, 1, 33))]
    logits = []
    for place, ready in (("cpu", None), (gpu, launch)):
        monkeypatch.setattr(cuda_kernels, "launcher", lambda *_, ready=ready: ready)
        ready_tensors = {n: prepare(n, t, torch.device(place), torch.float32) for n, t in tensors.items()}
        model = _family(spec.generation)(spec, ready_tensors)
        scratch = Scratch(model.blank_rows(3))
        model.scan(rows, scratch)
        logits.append(model.step([1, 2, 3], scratch).double().cpu())
    assert error(logits[1], logits[0]) <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("make", [rwkv4, rwkv5, rwkv6, rwkv7], ids=lambda make: make.__name__)
def test_replayed_steps_follow_eager_ones(gpu, make, dtype, monkeypatch):
    """Recorded for 1, 2 and 4 rows, in turn with each other and with a scan."""
    from chatrwkv.engine.model import _family
    from chatrwkv.engine.models.graphed import Graphed
    from chatrwkv.engine.spec import detect
    from chatrwkv.engine.state import Scratch
    from chatrwkv.engine.weights import prepare

    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    tensors = make(Size(2, 128, 64, 50))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    model = _family(spec.generation)(spec, {n: prepare(n, t, gpu, dtype) for n, t in tensors.items()})
    graphed = Graphed(model)
    eager, mine = ([Scratch(model.blank_rows(n)) for n in (1, 2, 3)] for _ in range(2))
    for turn in range(6):
        for i, (found, wanted) in enumerate(zip(mine, eager, strict=True)):
            ids = [turn, 7, 9][: i + 1]
            assert error(graphed.step(ids, found), model.step(ids, wanted).double().cpu()) <= 1e-3
            if turn == 3:
                graphed.scan([[1, 2, 3]] * (i + 1), found)
                model.scan([[1, 2, 3]] * (i + 1), wanted)
    assert not graphed.problem


@pytest.mark.parametrize("strategy", ["cuda fp16 *1+", "cuda fp16 *0+", "cuda fp16i8 *1+"])
def test_streamed_layers_give_the_same_as_resident_ones(gpu, strategy, tmp_path):
    """Copied aside while the layer before computes: a copy too early or too late is another layer's numbers."""
    from safetensors.torch import save_file

    from chatrwkv.engine.model import load_bare

    tensors = rwkv7(Size(6, 256, 64, 300))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    found = []
    for place in (strategy.partition(" *")[0], strategy):
        model, _ = load_bare(tmp_path / "model.safetensors", device=place, dtype="auto")
        scratch = model.blank().thaw(gpu)
        model.scan([[5, 6, 7] * 20], scratch)
        logits = [model.step([token_id], scratch) for token_id in range(30)]
        found.append(torch.stack(logits).double().cpu())
    assert error(found[1], found[0]) <= 2e-3


@pytest.mark.parametrize("n_vocab", [1000, 65536])
def test_draws_on_the_gpu_are_those_of_the_cpu(launch, gpu, n_vocab):
    """Sixteen rows of a real vocabulary, each with settings of its own."""
    from chatrwkv.engine.cuda_draw import DeviceDraws
    from tests.cuda.test_draw import by_host, is_near, rows_of

    for seed in range(20):
        rows = rows_of(seed, n_vocab)
        draws: DeviceDraws[int] = DeviceDraws(launch, gpu, n_vocab)
        wishes = {
            i: (s.wish(3, forced), x.to(gpu), y if y is None else y.to(gpu)) for i, (s, x, y, forced) in rows
        }
        draws.queue(wishes)
        answers = draws.collect()
        assert len(answers) >= 4
        for i, row in rows:
            assert i not in answers or answers[i].id == by_host(*row).id or is_near(row)


@pytest.mark.parametrize("kind", ["", "int8"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_fused_steps_follow_eager_ones(launch, gpu, dtype, kind, monkeypatch):
    """Recorded for every number of rows, with a scan between: torch reads the value matrices in their new layout."""
    from chatrwkv.engine.cuda_decode import why_not
    from chatrwkv.engine.cuda_selftest import step_models
    from chatrwkv.engine.models import graphed as graphed_module
    from chatrwkv.engine.spec import detect
    from chatrwkv.engine.state import Scratch

    tensors = rwkv7(Size(3, 768, 64, 1000))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    model, reference = step_models(spec, tensors, dtype, kind, gpu)
    if reason := why_not(model):
        pytest.skip(reason)
    monkeypatch.setattr(graphed_module, "_launcher", lambda _: launch)
    graphed = graphed_module.Graphed(model)
    sizes = (1, 2, 3, 7, 16)
    exact, mine = ([Scratch(one.blank_rows(n)) for n in sizes] for one in (reference, graphed))
    tolerance = {torch.float16: 2e-2, torch.bfloat16: 8e-2}[dtype]
    for turn in range(4):
        for found, wanted in zip(mine, exact, strict=True):
            ids = [(5 * turn + 3 * row) % 1000 for row in range(found.n_rows)]
            assert error(graphed.step(ids, found), reference.step(ids, wanted).double()) <= tolerance
            if turn == 1:
                graphed.scan([[1, 2, 3]] * found.n_rows, found)
                reference.scan([[1, 2, 3]] * found.n_rows, wanted)
    assert graphed.line == "fused kernels in one CUDA graph"


def test_the_fused_step_keeps_its_schema_on_the_gpu(launch, gpu):
    from chatrwkv.engine.cuda_decode import Decoder, decode7
    from chatrwkv.engine.cuda_selftest import step_models
    from chatrwkv.engine.models.rwkv7 import blank
    from chatrwkv.engine.spec import detect

    tensors = rwkv7(Size(1, 64, 32, 16))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    decoder = Decoder(step_models(spec, tensors, torch.float16, "", gpu)[0], launch)
    args = (torch.tensor([1, 2], device=gpu), *blank(spec, 2, gpu).values(), decoder.number, True)
    torch.library.opcheck(decode7, args)
