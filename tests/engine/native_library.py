"""The native library for tests: built once, kept between runs by the hash of its sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chatrwkv.engine import build, kernels, quant
from chatrwkv.engine.cores import cpu_features
from chatrwkv.engine.kernels import Engine, Library
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.models.rwkv7 import RWKV7, Weights7
from chatrwkv.engine.spec import ModelSpec, detect
from tests.checkpoints import Size, rwkv7

LEVELS = ("portable", "avx2", "avx512", "avx512_bf16")


def library_at(config: pytest.Config, level: str) -> Library:
    """The library at one level of instruction sets; skips where it does not run."""
    compilers = build.find_compilers()
    if not compilers:
        pytest.skip("no C++ compiler here")
    assert config.cache is not None
    folder = Path(config.cache.mkdir("native"))
    built = build.build(kernels.recipe(), folder, compilers=compilers, cpu=cpu_features())
    for old in folder.glob("chatrwkv-*"):
        if built.library.parent.name not in old.name:
            shutil.rmtree(old, ignore_errors=True)
    library = Library(built.library)
    if level not in library.levels():
        pytest.skip(f"this CPU does not run {level}")
    return Library(built.library, LEVELS.index(level))


def spec_of(tensors) -> ModelSpec:
    return detect({name: tuple(t.shape) for name, t in tensors.items()}, "f" * 64, "fp32")


def native_and_meant(library: Library, size: Size, kind: str, n_threads: int = 2, seed: int = 0):
    """A native model, and the torch model in float32 with exactly the weights that the packed ones mean."""
    tensors = rwkv7(size, seed)
    spec = spec_of(tensors)
    engine = Engine(library, n_threads)
    packed = packing.pack(Weights7.build(tensors, spec), spec, quant.FORMATS[kind], engine)
    meant = RWKV7(spec, tensors)
    meant.weights = packing.unpacked(packed, spec, engine).folded()
    return Native(spec, packed, engine), meant
