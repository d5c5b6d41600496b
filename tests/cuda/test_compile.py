"""Every kernel compiles for every architecture, by nvcc and by NVRTC; no GPU needed."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import shutil
from pathlib import Path

import pytest
import torch

from chatrwkv.cuda import abi, decode_abi
from chatrwkv.cuda.abi import KERNELS
from chatrwkv.cuda.nvrtc import Nvrtc, find_libraries, headers
from chatrwkv.engine import build, cuda_kernels
from chatrwkv.engine.cuda_selftest import self_test
from chatrwkv.errors import KernelBuildFailed
from tests.cuda.compiling import ARCHITECTURES, compile_for, kernels_in
from tests.cuda.conftest import cache_folder

pytestmark = pytest.mark.timeout(300)  # a busy machine compiles ten times slower
UNITS = (*KERNELS, decode_abi.UNIT)
# Of 128 threads: two blocks a processor at least. The draw has 1,024; of the 256 of a step's int8 values for 16 rows: one.
MOST_REGISTERS = dict.fromkeys(KERNELS, 176) | {"wkv7_chunked": 240, "draw": 64, decode_abi.UNIT: 240}


@pytest.fixture(scope="session")
def nvcc() -> build.Compiler:
    found = cuda_kernels.find_nvcc()
    if found is None:
        pytest.skip("no nvcc here")
    return found


@pytest.fixture(scope="session")
def nvrtc() -> Nvrtc:
    found = find_libraries()
    if not found:
        pytest.skip("no NVRTC here (pip install nvidia-cuda-nvrtc)")
    return Nvrtc(found[0])


def names_of(unit):
    return decode_abi.kernel_names() if unit == decode_abi.UNIT else abi.kernel_names(unit)


@pytest.mark.parametrize("kernel", UNITS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_nvcc_compiles_every_kernel_for_every_architecture(kernel, arch, nvcc, pytestconfig):
    """With warnings as errors; a spill at the usual head size would put the state into slow memory."""
    log = compile_for(kernel, arch, nvcc, cache_folder(pytestconfig, "cuda-nvcc"))
    found = kernels_in(log)
    assert sorted((one.name, one.arch) for one in found) == sorted((name, arch) for name in names_of(kernel))
    assert [one for one in found if one.spills or one.stack] == []
    assert max(one.registers for one in found) <= MOST_REGISTERS[kernel]


def test_the_library_is_built_as_on_a_machine_with_a_gpu(nvcc, pytestconfig, monkeypatch):
    """The flags of the builder, the link, and every function under its name."""
    folder = cache_folder(pytestconfig, "cuda-library")
    monkeypatch.setattr(cuda_kernels, "find_nvcc", lambda: nvcc)
    launch, status = cuda_kernels.with_nvcc(folder, "sm_90", lambda: None)
    for old in folder.glob("chatrwkv-cuda-*"):
        if Path(status.log).parent.name not in old.name:
            shutil.rmtree(old, ignore_errors=True)
    assert status.compiler.startswith("nvcc ")
    assert launch("wkv7", abi.HeadsCall(n_rows=1, head_size=129), abi.NumberType.FP32, 0) == 1


def test_spills_would_be_seen():
    """A pattern that matches nothing would let every spill pass."""
    log = """ptxas info    : Compiling entry function 'rwkv_wkv7_fp32_64' for 'sm_90'
ptxas info    : Function properties for rwkv_wkv7_fp32_64
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers"""
    (kernel,) = kernels_in(log)
    assert (kernel.stack, kernel.spills, kernel.registers) == (16, 12, 255)


@pytest.mark.parametrize("generation", UNITS)
def test_nvrtc_compiles_the_same_source_without_a_toolkit(generation, nvrtc, pytestconfig):
    """A header of the toolkit, or host code in a .cuh, breaks machines that have torch and nothing else."""
    place = cache_folder(pytestconfig, "cuda-nvrtc") / cuda_kernels.cubin_name(
        generation, "sm_90", nvrtc.version
    )
    cubin = cuda_kernels.read_cubin(place)
    if not cubin:
        cubin = cuda_kernels._compile_cubin(nvrtc, generation, "sm_90", place)
        assert not nvrtc.log, "warnings"
    assert cubin.startswith(b"\x7fELF")
    assert not [name for name in names_of(generation) if name.encode() not in cubin]


def test_nvrtc_says_what_it_refused(nvrtc):
    with pytest.raises(KernelBuildFailed, match=r"NVRTC \d+\.\d+ refused the kernels for sm_1"):
        nvrtc.compile("wkv4", "sm_1")


def test_a_damaged_cubin_is_not_used(tmp_path):
    """The driver would be given half a program."""
    place = tmp_path / "x.cubin"
    assert cuda_kernels.read_cubin(place) == b""
    place.write_bytes(b"\x7fELF" * 20)
    assert cuda_kernels.read_cubin(place) == b""


def test_the_driver_launches_what_the_launchers_launch(shim, monkeypatch, tmp_path):
    """Names, blocks, threads and parameters of the NVRTC way, with a driver that runs kernels on the host."""
    shim.shim_backwards(0)

    class FakeNvrtc:
        version = "NVRTC 0.0"

        def __init__(self, path):
            self.path = path

        def compile(self, generation, arch):
            return f"{generation} for {arch}".encode()

    monkeypatch.setattr(cuda_kernels, "Nvrtc", FakeNvrtc)
    monkeypatch.setattr(cuda_kernels, "find_libraries", lambda major: ["libnvrtc.so"])
    announced = []
    for _ in range(2):
        launch, status = cuda_kernels.with_nvrtc(tmp_path, "sm_90", lambda: announced.append(1), shim._name)
    assert announced == [1], "the second time they come from the cache"
    assert status.compiler == "NVRTC 0.0"
    for unit in UNITS:
        assert self_test(launch, unit, torch.device("cpu")) < 1.0


STRUCTURES = {
    "calls.h": {
        "rwkv_heads_call": abi.HeadsCall,
        "rwkv_channels_call": abi.ChannelsCall,
        "rwkv_draw_call": abi.DrawCall,
        "rwkv_draw_row": abi.DrawRow,
        "rwkv_drawn": abi.Drawn,
    },
    "decode_calls.h": {
        "rwkv_mix_call": decode_abi.MixCall,
        "rwkv_product": decode_abi.Product,
        "rwkv_products_call": decode_abi.ProductsCall,
        "rwkv_token_call": decode_abi.TokenCall,
        "rwkv_values_call": decode_abi.ValuesCall,
    },
}


@pytest.mark.parametrize("header", STRUCTURES)
def test_python_and_c_agree_on_the_structures(header):
    """A field in another order would be read as another pointer."""
    text = re.sub(r"//.*", "", (abi.SOURCES / header).read_text())
    for name, mirror in STRUCTURES[header].items():
        body = re.search(rf"struct {name} {{(.*?)}};", text, re.DOTALL)
        assert body is not None
        fields = re.findall(r"(\w+)(?:\[\w+\])?\s*[,;]", body[1])
        assert fields == [field[0] for field in mirror._fields_]


def test_python_and_c_agree_on_what_products_go_through():
    text = (abi.SOURCES / "decode_calls.h").read_text()
    found = {name: int(value) for name, value in re.findall(r"RWKV_ACT_(\w+) = (\d)", text)}
    assert found == {act.name: act.value for act in decode_abi.Act}


def test_other_structures_are_refused(shim, monkeypatch):
    class Longer(ctypes.Structure):
        _fields_ = (("x", ctypes.c_char * 200),)

    monkeypatch.setattr(abi, "HeadsCall", Longer)
    with pytest.raises(OSError, match="does not mirror"):
        abi.open_library(shim._name)
    monkeypatch.setitem(decode_abi.CALLS, "mix7", Longer)
    with pytest.raises(OSError, match="does not mirror"):
        decode_abi.bind(ctypes.CDLL(shim._name))


def test_a_library_without_the_launchers_is_refused():
    libc = ctypes.util.find_library("c")
    assert libc is not None
    with pytest.raises(OSError, match="lacks a function"):
        abi.open_library(libc)
    with pytest.raises(OSError, match="lacks a function"):
        decode_abi.bind(ctypes.CDLL(libc))


def test_every_header_reaches_nvrtc():
    text = "".join(path.read_text() for path in headers())
    names = {path.name for path in headers()}
    missing = set(re.findall(r'#include "([^"]+)"', text)) - names
    assert missing == {"host_shim.h"}
