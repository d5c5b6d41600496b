"""From a file to a native model: the packed cache, the change from torch, what happens without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from chatrwkv.engine import build, kernels, quant
from chatrwkv.engine.kernels import Engine
from chatrwkv.engine.model import load_model
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native, Switching
from chatrwkv.engine.models.rwkv7 import RWKV7, Weights7
from chatrwkv.engine.native.abi import Format
from chatrwkv.errors import KernelBuildFailed, KernelMismatch
from tests.checkpoints import Size, rwkv7
from tests.engine.native_library import LEVELS, join_all, library_at, native_and_meant, opened, saved, unasked
from tests.fakes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

# the first test compiles the library: 35 s on an idle machine, and more than the usual limit on a busy one
pytestmark = pytest.mark.timeout(600)

SIZE = Size(2, 64, 32, 300)


@pytest.fixture
def library(request):
    return library_at(request.config, LEVELS[0])


@pytest.fixture
def native(monkeypatch):
    return unasked(monkeypatch)


@pytest.fixture
def ready(native, library, tmp_path, monkeypatch):
    opened(native, library, tmp_path / "cache", monkeypatch)
    return native


@pytest.fixture
def model_file(tmp_path):
    return saved(tmp_path / "model", rwkv7(SIZE))


def test_a_model_is_native_when_the_library_is_ready(ready, model_file):
    seen = []
    loaded = load_model(model_file, device="cpu", dtype="fp32", progress=lambda *now: seen.append(now))
    assert isinstance(loaded.model, Native)
    meant = RWKV7(loaded.model.spec, rwkv7(SIZE))
    a, b = loaded.model.blank().thaw(), meant.blank().thaw()
    for token_id in (1, 2, 3):
        difference = loaded.model.step([token_id], a) - meant.step([token_id], b)
        assert float(difference.abs().max()) < 1e-4
    assert seen[-1][0] == seen[-1][1] > 0
    join_all("packed-cache")


@pytest.mark.parametrize("dtype", ["bf16", "int8", "int4"])
def test_the_second_load_takes_the_packed_weights(ready, model_file, dtype, monkeypatch):
    first = load_model(model_file, device="cpu", dtype=dtype).model
    join_all("packed-cache")
    monkeypatch.setattr(packing, "pack", None)  # packing again would fail
    second = load_model(model_file, device="cpu", dtype=dtype).model
    assert torch.equal(second.step([3], second.blank().thaw()), first.step([3], first.blank().thaw()))


@pytest.mark.parametrize("damage", ["cut", "header", "other model", "other version", "empty", "absent"])
def test_a_packed_file_that_does_not_fit_is_made_anew(ready, library, tmp_path, damage, monkeypatch):
    """A file of another model or a cut one would read weights from anywhere."""
    native, _ = native_and_meant(library, SIZE, "int8")
    path, spec = tmp_path / "x.pack", native.spec
    assert quant.save(native.packed, path, spec)
    whole = quant.load(path, spec, Format.INT8)
    assert whole is not None
    assert (whole.buffer == native.packed.buffer).all()
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "header":
        path.write_bytes(content[:60] + bytes([content[60] ^ 1]) + content[61:])
    elif damage == "other model":
        spec = native.spec
        spec = type(spec)(**{**{f: getattr(spec, f) for f in spec.__slots__}, "fingerprint": "0" * 64})
    elif damage == "other version":
        monkeypatch.setattr(quant, "_VERSION", 99)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert quant.load(path, spec, Format.INT8) is None


def test_a_cache_that_cannot_be_written_costs_time_only(library, tmp_path):
    native, _ = native_and_meant(library, SIZE, "int8")
    (tmp_path / "file").write_text("")
    assert not quant.save(native.packed, tmp_path / "file" / "x.pack", native.spec)


def test_the_cache_keeps_within_its_budget_and_keeps_the_newest(library, tmp_path):
    native, _ = native_and_meant(library, SIZE, "int8")
    paths = [tmp_path / f"{i}.pack" for i in range(4)]
    for path in paths:
        assert quant.save(native.packed, path, native.spec)
    remains = tmp_path / ".x.pack-abc"
    remains.write_text("")
    for i, path in enumerate([remains, *paths]):
        os.utime(path, (1000 * i, 1000 * i))
    quant.prune(tmp_path, paths[3], budget_bytes=paths[0].stat().st_size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2.pack", "3.pack"]


def test_without_a_library_torch_serves_and_changes_over_between_steps(native, library, model_file):
    """The first start: the compiler still runs while the user is already talking."""
    model = load_model(model_file, device="cpu", dtype="fp32").model
    assert isinstance(model, Switching)
    meant = RWKV7(model.spec, rwkv7(SIZE))
    a, b = model.blank().thaw(), meant.blank().thaw()
    for i in range(4):
        if i == 2:
            assert not model.is_native
            for then in native.waiting:
                then(library)
            assert model.is_native
        difference = model.step([i], a) - meant.step([i], b)
        assert float(difference.abs().max()) < 1e-4


def test_a_model_that_was_unloaded_is_not_packed(native, library, model_file, monkeypatch):
    loaded = load_model(model_file, device="cpu", dtype="fp32")
    monkeypatch.setattr(packing, "pack", None)
    del loaded
    for then in native.waiting:
        then(library)


def test_int8_without_a_library_is_served_in_bf16(native, model_file):
    model = load_model(model_file, device="cpu", dtype="int8").model
    assert isinstance(model, Switching)
    assert model.weights.layers[0].att.key.dtype is torch.bfloat16


def test_a_file_in_bf16_is_kept_exactly(ready, model_file):
    """More bits would cost time and add nothing: the native path computes in float32."""
    tensors = {n: t.bfloat16().contiguous() for n, t in rwkv7(SIZE).items()}
    save_file(tensors, model_file / "model.safetensors")
    loaded = load_model(model_file, device="cpu")
    assert loaded.dtype == "bf16"
    assert isinstance(loaded.model, Native)
    assert torch.equal(loaded.model.weights.layers[1].ffn.key, tensors["blocks.1.ffn.key.weight"].float())
    assert torch.equal(loaded.model.weights.emb, tensors["emb.weight"].float())
    join_all("packed-cache")


def test_a_damaged_value_is_refused_by_name(ready, model_file):
    tensors = {n: t.contiguous() for n, t in rwkv7(SIZE).items()}
    tensors["blocks.1.ffn.key.weight"][3, 4] = torch.nan
    save_file(tensors, model_file / "model.safetensors")
    with pytest.raises(Exception, match=r"blocks\.1\.ffn\.key\.weight"):
        load_model(model_file, device="cpu", dtype="int8")


def test_no_compiler_leaves_the_torch_path_and_a_reason(native, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "find_compilers", list)
    kernels.prepare(tmp_path)
    join_all("kernels")
    assert kernels.library() is None
    assert "No C++ compiler" in kernels.status().why_not
    assert "ziglang" in kernels.status().log


def test_a_library_that_cannot_be_opened_leaves_the_torch_path(native, tmp_path, monkeypatch):
    broken = tmp_path / "libchatrwkv.so"
    broken.write_text("not a library")
    built = build.Built(broken, build.Compiler(("c++",), "c++ 1"), tmp_path / "log", 1.0)
    monkeypatch.setattr(build, "cached", lambda *_: built)
    kernels.prepare(tmp_path)
    join_all("kernels")
    assert kernels.library() is None
    assert "cannot be opened" in kernels.status().why_not


def test_switched_off_it_does_nothing(native, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATRWKV_NATIVE", "0")
    kernels.prepare(tmp_path)
    assert kernels.library() is None
    assert "CHATRWKV_NATIVE" in kernels.status().why_not
    assert not list(tmp_path.iterdir())


def test_a_mismatch_disables_the_library_for_good_and_says_so(native, library, tmp_path, monkeypatch):
    """The next start must not try again and again what was wrong once."""
    place = tmp_path / "build"
    place.mkdir()
    copy = place / "libchatrwkv.so"
    copy.write_bytes(library.path.read_bytes())
    built = build.Built(copy, build.Compiler(("c++",), "c++ 1"), place / "build.log", 1.0)
    monkeypatch.setattr(build, "cached", lambda *_: built)
    calls = []

    def wrong(opened):
        calls.append(opened)
        raise KernelMismatch("differs from torch by 3 times its tolerance")

    monkeypatch.setattr("chatrwkv.engine.models.selftest.self_test", wrong)
    for _ in range(2):
        monkeypatch.setattr(kernels, "_native", kernels._Native())
        kernels.prepare(tmp_path)
        join_all("kernels")
        assert kernels.library() is None
        assert "differs from torch by 3" in kernels.status().why_not
    assert len(calls) == 1


def test_ready_it_tells_compiler_and_instruction_set(native, library, tmp_path, monkeypatch):
    built = build.Built(library.path, build.Compiler(("c++",), "c++ 1"), library.path.parent / "log", 0.0)
    monkeypatch.setattr(build, "cached", lambda *_: built)
    kernels.prepare(tmp_path)
    seen: list[Path] = []
    kernels.when_ready(lambda opened: seen.append(opened.path))
    join_all("kernels")
    kernels.when_ready(lambda opened: seen.append(opened.path))
    status = kernels.status()
    assert status.is_available
    assert status.compiler == "c++ 1"
    assert status.isa in LEVELS
    assert status.self_test_error is not None
    assert status.self_test_error < 1.0
    assert seen == [library.path] * 2
    assert kernels.library() is not None


def test_two_starts_do_not_wait_for_each_other(native, tmp_path, monkeypatch):
    """`library()` waits while a build is opened, not while a compiler runs."""
    going_on = threading.Event()

    def slow(*_args, **_options):
        going_on.wait(30)
        raise KernelBuildFailed("too late")

    monkeypatch.setattr(build, "cached", lambda *_: None)
    monkeypatch.setattr(build, "build", slow)
    monkeypatch.setattr(kernels, "_heir", lambda _: nullcontext())
    kernels.prepare(tmp_path)
    assert kernels.library() is None
    assert kernels.status().is_building
    going_on.set()
    join_all("kernels")
    assert kernels.status().why_not == "too late"


def test_weights_for_tuning_are_what_the_packed_ones_mean(library):
    native, meant = native_and_meant(library, SIZE, "int4")
    assert isinstance(native.weights, Weights7)
    assert torch.equal(native.weights.layers[1].ffn.key, meant.weights.layers[1].ffn.key)
    assert Engine(library, 1).n_threads == 1


@pytest.fixture
def slow_compiler(tmp_path):
    """A compiler that says when it has begun, waits to be told to go on, and leaves files that are none."""
    compiler = tmp_path / "slow-c++"
    compiler.write_text(
        "#!/bin/sh\n"
        'case "$1" in --version) echo "slow 1"; exit 0;; esac\n'
        f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n"
        'while [ $# -gt 1 ]; do if [ "$1" = -o ]; then echo x > "$2"; fi; shift; done\n'
    )
    compiler.chmod(0o755)
    yield {**os.environ, "CXX": str(compiler), "CHATRWKV_NATIVE": "1"}
    (tmp_path / "go").touch()  # nothing waits for ever, whatever the test did


_SHORT_COMMAND = """
import pathlib, sys, time
from chatrwkv.engine import kernels
folder = pathlib.Path(sys.argv[1])
kernels.prepare(folder / "cache")
while not (folder / "begun").exists():
    time.sleep(0.02)
"""


def test_a_build_goes_on_when_the_program_that_began_it_has_ended(tmp_path, slow_compiler):
    """`chatrwkv run` ends after a second: if the build ended with it, nobody would ever have native code."""
    subprocess.run(
        [sys.executable, "-c", _SHORT_COMMAND, str(tmp_path)], env=slow_compiler, check=True, timeout=60
    )
    assert not list((tmp_path / "cache" / "native").glob("*/manifest.json"))
    (tmp_path / "go").touch()
    wait_until(lambda: list((tmp_path / "cache" / "native").glob("*/manifest.json")), 60)


def test_whoever_waits_for_the_build_leaves_no_process_behind(native, tmp_path, slow_compiler, monkeypatch):
    """The heir of a build that was finished has nothing to do."""
    heirs = []
    start = subprocess.Popen

    def started(command, **options):
        process = start(command, **options)
        if "build_only" in str(command):
            heirs.append(process)
        return process

    monkeypatch.setenv("CXX", slow_compiler["CXX"])
    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / "go").touch()
    kernels.prepare(tmp_path / "cache")
    join_all("kernels")
    assert "cannot be opened" in kernels.status().why_not  # it was built, and is no library
    assert [heir.returncode is None for heir in heirs] == [False]
