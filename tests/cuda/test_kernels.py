"""Which kernels a device gets, and what is said: no GPU needed, the device is the host behind the shim."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from chatrwkv.engine import cuda_kernels, cuda_ops, kernels, recurrences
from chatrwkv.engine.cuda_kernels import CudaStatus
from chatrwkv.engine.model import _family
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.weights import prepare
from chatrwkv.errors import KernelBuildFailed
from tests.checkpoints import Size, rwkv4, rwkv5, rwkv6, rwkv7
from tests.cuda.test_ops import arguments, launch_of

GPU = torch.device("cuda", 0)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(shim, monkeypatch, tmp_path):
    """A machine with one GPU, whose compilers and driver are the test's."""
    shim.shim_backwards(0)
    monkeypatch.delenv("CHATRWKV_NATIVE", raising=False)
    monkeypatch.setattr(cuda_kernels, "_devices", {})
    monkeypatch.setattr(kernels._native, "folder", tmp_path)
    monkeypatch.setattr(cuda_kernels, "_OPEN_LIMIT_S", 300.0)  # the self-tests take long on the host
    monkeypatch.setattr(kernels._native, "decided", decided := threading.Event())
    decided.set()  # there is no native code for the CPU, which the self-test of the draw would wait for
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA Test")
    monkeypatch.setattr(torch.cuda, "device", Anywhere)
    monkeypatch.setattr(cuda_kernels, "_make_context", lambda _: None)
    self_tested = cuda_kernels.tested
    monkeypatch.setattr(
        cuda_kernels, "tested", lambda launch, _, *rest: self_tested(launch, torch.device("cpu"), *rest)
    )
    monkeypatch.setattr(cuda_kernels, "with_nvcc", no_compiler("There is no nvcc."))
    monkeypatch.setattr(cuda_kernels, "with_nvrtc", no_compiler("There is no NVRTC."))
    return monkeypatch


class Anywhere:
    def __init__(self, device):
        self.device = device

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def no_compiler(message):
    def way(folder, arch, announce):
        raise KernelBuildFailed(message)

    return way


def compiler(launch, name="nvcc 13.0"):
    def way(folder, arch, announce):
        assert arch == "sm_90"
        return launch, CudaStatus("", compiler=name)

    return way


def test_nvcc_comes_first(machine, shim):
    machine.setattr(cuda_kernels, "with_nvcc", compiler(launch_of(shim)))
    assert cuda_kernels.launcher(GPU, "wkv7") is not None
    (status,) = cuda_kernels.status()
    assert status.line == "cuda:0: wkv4, wkv5, wkv6, wkv7, wkv7_chunked, draw, decode7 by nvcc 13.0."
    assert status.self_test_error is not None
    assert kernels.status().cuda == (status.line,)
    cuda_kernels.tell_decode(GPU, "fused kernels in one CUDA graph")
    assert kernels.status().cuda[0].endswith("13.0. A token: fused kernels in one CUDA graph.")


def test_nvrtc_serves_where_nvcc_is_missing(machine, shim):
    machine.setattr(cuda_kernels, "with_nvrtc", compiler(launch_of(shim), "NVRTC 13.0"))
    assert cuda_kernels.launcher(GPU, "wkv6") is not None
    assert "by NVRTC 13.0" in cuda_kernels.status()[0].line


def test_nvrtc_serves_where_what_nvcc_built_is_wrong(machine, shim):
    """A toolkit newer than the driver compiles, and then nothing runs."""
    machine.setattr(cuda_kernels, "with_nvcc", compiler(lambda *_: 35))  # cudaErrorInsufficientDriver
    machine.setattr(cuda_kernels, "with_nvrtc", compiler(launch_of(shim), "NVRTC 12.8"))
    assert cuda_kernels.launcher(GPU, "wkv7") is not None
    assert "NVRTC 12.8" in cuda_kernels.status()[0].line


def test_without_a_compiler_the_torch_path_serves_and_says_why(machine):
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert cuda_kernels.status()[0].line == "cuda:0: torch path. There is no nvcc. There is no NVRTC."


def test_a_kernel_that_disagrees_is_never_used(machine, shim):
    right = launch_of(shim)
    machine.setattr(
        cuda_kernels,
        "with_nvcc",
        compiler(lambda name, *rest: 0 if name == "wkv7" else right(name, *rest)),
    )
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert cuda_kernels.launcher(GPU, "wkv6") is not None
    assert "wkv7," not in cuda_kernels.status()[0].line


def test_a_crash_while_preparing_leaves_the_torch_path(machine):
    machine.setattr(torch.cuda, "get_device_capability", no_gpu)
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert "unexpected error" in cuda_kernels.status()[0].why_not


def no_gpu(_):
    raise RuntimeError("no GPU")


def test_rocm_never_meets_a_cuda_compiler(machine):
    machine.setattr(torch.version, "hip", "6.4")
    machine.setattr(cuda_kernels, "with_nvcc", lambda *_: pytest.fail("nvcc was called"))
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert "ROCm" in cuda_kernels.status()[0].why_not


def test_kernels_can_be_switched_off(machine):
    machine.setenv("CHATRWKV_NATIVE", "0")
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert "CHATRWKV_NATIVE=0" in cuda_kernels.status()[0].why_not


def test_nothing_starts_before_the_cache_has_a_place(machine):
    machine.setattr(kernels._native, "folder", None)
    assert cuda_kernels.launcher(GPU, "wkv7") is None
    assert cuda_kernels.status() == ()


def test_gradients_take_the_torch_path(monkeypatch):
    """The kernels have no backward pass: a tuned state would silently stay as it was."""
    monkeypatch.setattr(cuda_kernels, "launcher", lambda *_: object())
    r, log_decay, k, v, a, b, s, _ = arguments("wkv7")
    assert not recurrences._is_kernel_ready("wkv7", r, log_decay, k, v, a, b, s), "on the CPU"
    r = OnCuda(r)
    assert recurrences._is_kernel_ready("wkv7", r, log_decay, k, v, a, b, s)
    assert not recurrences._is_kernel_ready("wkv7", r, log_decay, k, v, a, b, s.clone().requires_grad_())
    with torch.no_grad():
        assert recurrences._is_kernel_ready("wkv7", r, log_decay, k, v, a, b, s.clone().requires_grad_())
    assert not recurrences._is_kernel_ready("wkv7", r.double(), log_decay, k, v, a, b, s)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_scans_give_the_same_with_and_without_kernels(monkeypatch, mode):
    """Through the operators, whose form on the CPU is exact, in the mode of the engine thread and others."""
    with mode():
        compare_scans(monkeypatch)


def compare_scans(monkeypatch):
    real = torch.arange(4) < torch.tensor([3, 1])[:, None]
    for generation in ("wkv4", "wkv5", "wkv6", "wkv7"):
        args = list(arguments(generation, lengths=None))
        if generation == "wkv4":
            k, v, w, u, sums, _, log_eps = args
            args = [k, v, w, u, tuple(sums), real, log_eps]
        else:
            args[-1] = real
        scan = getattr(recurrences, f"{generation}_scan")
        want, ends = scan(*args)
        with monkeypatch.context() as patch:
            patch.setattr(recurrences, "_is_kernel_ready", lambda *_: True)
            found, found_ends = scan(*args)
        torch.testing.assert_close(found[real], want[real], rtol=1e-5, atol=1e-5)
        for x, y in zip(ends, found_ends, strict=True):
            torch.testing.assert_close(y, x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [rwkv4, rwkv5, rwkv6, rwkv7], ids=lambda make: make.__name__)
def test_models_that_use_kernels_give_the_same(shim, monkeypatch, make):
    """Ragged rows through whole models: the kernel's state must be the one the next token reads."""
    shim.shim_backwards(0)
    used = set()

    def launch(generation, *rest):
        used.add(generation)
        return launch_of(shim)(generation, *rest)

    tensors = make(Size(2, 128, 64, 50))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    rows = [[(7 * i + row) % 50 for i in range(n)] for row, n in enumerate((40, 1, 18))]
    logits = []
    for is_ready in (False, True):
        monkeypatch.setattr(recurrences, "_is_kernel_ready", lambda *_, ready=is_ready: ready)
        monkeypatch.setattr(cuda_ops, "_launcher", lambda *_: launch)
        prepared = {n: prepare(n, t, torch.device("cpu"), torch.float32) for n, t in tensors.items()}
        model = _family(spec.generation)(spec, prepared)
        scratch = Scratch(model.blank_rows(3))
        model.scan(rows, scratch)
        logits.append(model.step([1, 2, 3], scratch))
        assert used == ({make.__name__.replace("r", "", 1)} if is_ready else set())
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)


class OnCuda(torch.Tensor):
    """A CPU tensor that says it is on a GPU."""

    is_cuda = True


def test_importing_the_models_loads_no_kernels():
    """CPU-only machines: no CUDA import, no message, no cost."""
    program = (
        "import sys, chatrwkv.engine.models.rwkv7, chatrwkv.engine.recurrences\n"
        "print([name for name in sys.modules if name.startswith(('chatrwkv.cuda', 'chatrwkv.engine.cuda'))])"
    )
    assert loaded(program) == "[]"


def test_a_reply_on_a_cpu_loads_no_kernels_and_says_nothing(tmp_path):
    """From the file to the last token: no module of CUDA, no context, no compiler asked, no word."""
    program = f"""
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from chatrwkv.engine import GenerateRequest, Prompt, SamplingParams
from chatrwkv.engine.generate import generate
from chatrwkv.engine.model import load_model
from tests.checkpoints import Size, rwkv7
folder = Path({str(tmp_path)!r})
save_file({{n: t.contiguous() for n, t in rwkv7(Size(2, 64, 32, 300)).items()}}, folder / "model.safetensors")
(folder / "vocab.txt").write_text("".join(f"{{i + 1}} {{bytes([i])!r}} 1\\n" for i in range(256)))
request = GenerateRequest(lambda _: Prompt(None, (1, 2, 3)), SamplingParams(max_tokens=4), stop_on_end=False)
events = list(generate(load_model(folder, device="cpu"), request))
names = [n for n in sys.modules if n.startswith(("chatrwkv.cuda", "chatrwkv.engine.cuda"))]
print(type(events[-1]).__name__, names, torch.cuda.is_initialized())
"""
    assert loaded(program, PATH="") == "Finished [] False"


BARE = (
    "import sys\n"
    "for name in ('textual', 'rich', 'platformdirs', 'huggingface_hub', 'hypothesis'): sys.modules[name] = None\n"
)


def test_kernels_and_operators_need_no_interface():
    """On a machine with a GPU there may be torch, numpy, ninja and pytest alone."""
    program = "import chatrwkv.engine.cuda_ops, chatrwkv.engine.model, tests.checkpoints, tests.cuda.shim\n"
    assert loaded(f"{BARE}{program}print('fine')") == "fine"


def test_the_benchmark_needs_no_interface(tmp_path):
    """It comes as far as asking torch for the GPU."""
    program = "from chatrwkv.cli import main\nprint(main(['bench', '--device', 'cuda:99', '--rounds', '1']))"
    assert loaded(BARE + program, CHATRWKV_DATA_DIR=str(tmp_path)) == "2"


def loaded(program, **environ):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_find_nvcc_asks_the_named_one_first(tmp_path):
    for name, version in (("named", "11.8, V11.8.89"), ("home/bin/nvcc", "12.4, V12.4.1"), ("dead", "")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {version}'\n")
        path.chmod(0o755)
    environ = {"CUDA_HOME": str(tmp_path / "home"), "PATH": ""}
    found = cuda_kernels.find_nvcc(environ)
    assert found is not None
    assert found.version == "nvcc 12.4.1"
    for named, version in (("named", "nvcc 11.8.89"), ("dead", "nvcc 12.4.1"), ("absent", "nvcc 12.4.1")):
        found = cuda_kernels.find_nvcc(environ | {"CUDACXX": str(tmp_path / named)})
        assert found is not None
        assert found.version == version
