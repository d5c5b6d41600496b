"""The native library for tests: built once, kept between runs by the hash of its sources."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from safetensors.torch import save_file

from chatrwkv.engine import build, kernels, quant
from chatrwkv.engine.cores import cpu_features
from chatrwkv.engine.kernels import Engine, Library
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
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


def best_library(config: pytest.Config) -> Library:
    """The library at the best level that runs here; skips without a compiler."""
    return Library(library_at(config, LEVELS[0]).path)


def unasked(monkeypatch: pytest.MonkeyPatch) -> kernels._Native:
    """The module `kernels` as a new process has it."""
    state = kernels._Native()
    monkeypatch.delenv("CHATRWKV_NATIVE", raising=False)
    monkeypatch.setattr(kernels, "_native", state)
    return state


def opened(state: kernels._Native, library: Library, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is open already, and the cache in `folder` takes models of any size."""
    state.folder, state.library, state.packed = folder, library, folder / "packed"
    state.decided.set()
    monkeypatch.setattr("chatrwkv.engine.models.native._WORTH_CACHING", 0)


def join_all(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(60)


def saved(folder: Path, tensors) -> Path:
    """A model folder: the tensors, and a vocabulary of bytes."""
    folder.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    lines = [f"{i + 1} {bytes([i])!r} 1\n" for i in range(256)]
    (folder / "vocab.txt").write_text("".join(lines))
    return folder


def spec_of(tensors) -> ModelSpec:
    return detect({name: tuple(t.shape) for name, t in tensors.items()}, "f" * 64, "fp32")


def native_of(library: Library, tensors, kind: str, n_threads: int = 2, options=None) -> Native:
    """The native model of a checkpoint."""
    spec, engine = spec_of(tensors), Engine(library, n_threads)
    weights = packing.LAYOUTS[spec.generation].build(tensors, spec, options or {})
    return Native(spec, packing.pack(weights, spec, quant.FORMATS[kind], engine), engine)


def meant_by(native: Native, tensors):
    """The torch model in float32 with exactly the weights that the packed ones of `native` mean."""
    meant = packing.LAYOUTS[native.spec.generation].family(native.spec, tensors)
    meant.weights = packing.unpacked(native.packed, native.spec, native.engine).folded()
    return meant


def native_and_meant(
    library: Library, size: Size, kind: str, n_threads: int = 2, seed: int = 0, *, make=rwkv7
):
    """A native model, and the torch model of the same weights."""
    tensors = make(size, seed)
    native = native_of(library, tensors, kind, n_threads)
    return native, meant_by(native, tensors)
