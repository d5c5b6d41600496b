"""Fixtures of the CUDA tests; needs torch, numpy, ninja and pytest alone, see pytest.ini."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path

import pytest

from chatrwkv.cuda import abi, decode_abi
from chatrwkv.engine import build
from tests.cuda.shim import recipe


def cache_folder(config: pytest.Config, name: str) -> Path:
    """Kept between runs; what is built there is named by the hash of its sources."""
    assert config.cache is not None
    return Path(config.cache.mkdir(name))


@pytest.fixture(scope="session")
def shim(pytestconfig) -> ctypes.CDLL:
    """All kernels compiled for the host."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the shim needs ucontext")
    compilers = build.find_compilers()
    if not compilers:
        pytest.skip("no C++ compiler here")
    folder = cache_folder(pytestconfig, "cuda-shim")
    built = build.build(recipe(), folder, compilers=compilers)
    for old in folder.glob("rwkv-cuda-shim-*"):
        if built.library.parent.name not in old.name:
            shutil.rmtree(old, ignore_errors=True)
    library = abi.open_library(str(built.library))
    decode_abi.bind(library)
    library.shim_load_fp16.restype = library.shim_load_bf16.restype = ctypes.c_float
    library.shim_load_fp16.argtypes = library.shim_load_bf16.argtypes = (ctypes.c_ushort,)
    library.shim_store_fp16.restype = library.shim_store_bf16.restype = ctypes.c_ushort
    library.shim_store_fp16.argtypes = library.shim_store_bf16.argtypes = (ctypes.c_float,)
    return library
