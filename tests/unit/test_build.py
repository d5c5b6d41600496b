"""The builder with fake compilers: scripts that succeed, fail, hang or count."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from chatrwkv.engine import build
from chatrwkv.engine.build import Compiler, Recipe, Unit
from chatrwkv.errors import KernelBuildFailed
from tests.fakes import wait_until

# Writes its output file, counts its calls; `-o` is the last but one argument in both rules.
WORKS = """
    echo "$@" >> "$(dirname "$0")/calls"
    case "$1" in --version) echo "fake 1.0"; exit 0;; esac
    while [ $# -gt 1 ]; do if [ "$1" = -o ]; then echo library > "$2"; fi; shift; done
"""


def fake_compiler(folder: Path, body: str, name: str = "cc") -> Compiler:
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text("#!/bin/sh\n" + textwrap.dedent(body))
    script.chmod(0o755)
    return Compiler((str(script),), f"{name} 1.0")


def recipe(folder: Path) -> Recipe:
    folder.mkdir(exist_ok=True)
    (folder / "a b.cpp").write_text("int a;")  # the space must survive ninja and the shell
    (folder / "c.cpp").write_text("int c;")
    (folder / "c.h").write_text("")
    units = (Unit(folder / "a b.cpp"), Unit(folder / "c.cpp", ("-mavx2", '-DNAME="x y"')))
    return Recipe("thing", units, headers=(folder / "c.h",), flags=("-O2",))


@pytest.fixture
def thing(tmp_path):
    return recipe(tmp_path / "src")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def calls(compiler: Compiler) -> list[str]:
    return (Path(compiler.command[0]).parent / "calls").read_text().splitlines()


def test_a_build_leaves_a_whole_library_and_nothing_else(tmp_path, thing, cache):
    compiler = fake_compiler(tmp_path / "bin", WORKS)
    built = build.build(thing, cache, compilers=[compiler])
    assert built.library.read_text() == "library\n"
    assert built.log.exists()
    assert sorted(p.name for p in built.library.parent.iterdir()) == sorted(
        [thing.library, "manifest.json", "build.log", "build.ninja", ".ninja_log"]
    )
    assert not list(cache.glob("*.part-*"))
    assert any(line.startswith('-O2 -mavx2 -DNAME="x y" -c') for line in calls(compiler))


def test_the_second_build_is_the_first_ones_library(tmp_path, thing, cache):
    compiler = fake_compiler(tmp_path / "bin", WORKS)
    first = build.build(thing, cache, compilers=[compiler])
    n_calls = len(calls(compiler))
    second = build.build(thing, cache, compilers=[compiler])
    assert (second.library, second.seconds) == (first.library, 0.0)
    assert len(calls(compiler)) == n_calls


@pytest.mark.parametrize("what", ["source", "header", "flags", "compiler", "cpu"])
def test_anything_that_changes_the_result_changes_the_key(tmp_path, thing, what):
    compiler = Compiler(("cc",), "1.0")
    before = thing.key(compiler, "avx2")
    cpu = "avx2"
    if what == "source":
        thing.units[1].source.write_text("int d;")
    elif what == "header":
        thing.headers[0].write_text("int e;")
    elif what == "flags":
        thing = Recipe("thing", thing.units, thing.headers, ("-O3",))
    elif what == "compiler":
        compiler = Compiler(("cc",), "1.1")
    else:
        cpu = "avx512"
    assert thing.key(compiler, cpu) != before


def test_a_damaged_library_is_built_again(tmp_path, thing, cache):
    """A truncated .so would crash the process that opens it."""
    compiler = fake_compiler(tmp_path / "bin", WORKS)
    first = build.build(thing, cache, compilers=[compiler])
    first.library.write_text("libr")
    assert build.cached(thing, cache, [compiler]) is None
    again = build.build(thing, cache, compilers=[compiler])
    assert again.library.read_text() == "library\n"


def test_without_a_compiler_nothing_is_started_and_it_is_said_what_to_install(thing, cache, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("something was started"))
    with pytest.raises(KernelBuildFailed, match=r"No C\+\+ compiler") as failure:
        build.build(thing, cache, compilers=[])
    assert "ziglang" in failure.value.hint


def test_a_compiler_error_is_quoted_with_the_place_of_the_log(tmp_path, thing, cache):
    broken = fake_compiler(tmp_path / "bin", "echo 'c.cpp:1: error: no such header'; exit 1")
    with pytest.raises(KernelBuildFailed, match="no such header") as failure:
        build.build(thing, cache, compilers=[broken])
    log = next(cache.glob("*.failed"))
    assert str(log) in failure.value.hint
    assert "no such header" in log.read_text()
    assert not list(cache.glob("*.part-*"))


def test_a_failure_is_believed_for_a_day_and_then_tried_again(tmp_path, thing, cache):
    """A broken compiler must not cost a minute of CPU at every start."""
    counting = 'echo x >> "$(dirname "$0")/calls"; echo \'error: broken\'; exit 1'
    broken = fake_compiler(tmp_path / "bin", counting)
    for _ in range(2):
        with pytest.raises(KernelBuildFailed, match="broken"):
            build.build(thing, cache, compilers=[broken])
    n_calls = len(calls(broken))
    note = next(cache.glob("*.failed"))
    os.utime(note, (time.time() - 2 * 86400,) * 2)
    with pytest.raises(KernelBuildFailed, match="broken"):
        build.build(thing, cache, compilers=[broken])
    assert len(calls(broken)) > n_calls


def test_the_next_compiler_is_tried_when_one_fails(tmp_path, thing, cache):
    broken = fake_compiler(tmp_path / "bad", "echo 'error: broken'; exit 1")
    works = fake_compiler(tmp_path / "good", WORKS)
    assert build.build(thing, cache, compilers=[broken, works]).compiler == works


def test_a_compiler_that_writes_no_library_is_a_failure(tmp_path, thing, cache):
    liar = fake_compiler(tmp_path / "bin", "exit 0")
    with pytest.raises(KernelBuildFailed):
        build.build(thing, cache, compilers=[liar])
    assert build.cached(thing, cache, [liar]) is None


def test_a_hanging_compiler_is_killed_with_its_children(tmp_path, thing, cache):
    pid_file = tmp_path / "pid"
    hanging = fake_compiler(tmp_path / "bin", f"sleep 300 & echo $! > {pid_file}; wait")
    with pytest.raises(KernelBuildFailed, match="in time"):
        build.build(thing, cache, compilers=[hanging], time_limit_s=2.0)
    pid = int(pid_file.read_text())
    wait_until(lambda: not is_running(pid))
    works = fake_compiler(tmp_path / "bin", WORKS)  # the same command, well again
    assert build.build(thing, cache, compilers=[Compiler(works.command, hanging.version)]).library.exists()


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_killed_build_leaves_nothing_half_built(tmp_path, thing, cache):
    """`kill -9` in the middle: no library under the final name, and the next build clears up."""
    mark = tmp_path / "started"
    body = f'echo library > "$(pwd)/{thing.library}"; touch {mark}; sleep 300'
    slow = fake_compiler(tmp_path / "bin", body)
    program = f"""
        import sys; sys.path[:0] = {[str(Path.cwd())]!r}
        from pathlib import Path
        from chatrwkv.engine import build
        from tests.unit.test_build import recipe
        build.build(recipe(Path({str(tmp_path / "src")!r})), Path({str(cache)!r}),
                    compilers=[build.Compiler({slow.command!r}, {slow.version!r})])
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
    wait_until(mark.exists)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(cache.glob("*.part-*"))
    assert build.cached(thing, cache, [slow]) is None
    works = fake_compiler(tmp_path / "bin", WORKS)
    built = build.build(thing, cache, compilers=[Compiler(works.command, slow.version)])
    assert built.library.exists()
    assert not list(cache.glob("*.part-*"))
    end_sleepers(tmp_path)


def end_sleepers(folder: Path) -> None:
    """The compiler of the killed parent is an orphan now; nobody else will end it."""
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in status.read_bytes():
                os.killpg(os.getpgid(int(status.parent.name)), signal.SIGKILL)
        except (OSError, ProcessLookupError):
            continue


def _build_in_process(args) -> tuple[str, float]:
    source, cache, command, version = args
    done = build.build(recipe(source), cache, compilers=[Compiler(command, version)])
    return str(done.library), done.seconds


def test_two_processes_building_at_once_compile_once(tmp_path, thing, cache):
    compiler = fake_compiler(tmp_path / "bin", WORKS)
    args = (tmp_path / "src", cache, compiler.command, compiler.version)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = pool.map(_build_in_process, [args, args], chunksize=1)
    assert results[0][0] == results[1][0]
    assert len([line for line in calls(compiler) if "-shared" in line or "-dynamiclib" in line]) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_cache_is_replaced_by_a_private_folder(tmp_path, thing, cache):
    cache.mkdir()
    cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
    built = build.build(thing, cache, compilers=[fake_compiler(tmp_path / "bin", WORKS)])
    assert built.library.exists()
    assert not built.library.is_relative_to(cache)


def test_a_cache_that_cannot_be_a_folder_is_replaced_by_a_private_one(tmp_path, thing):
    place = tmp_path / "file"
    place.write_text("")
    built = build.build(thing, place, compilers=[fake_compiler(tmp_path / "bin", WORKS)])
    assert built.library.exists()


def test_cxx_comes_first_and_dead_compilers_are_left_out(tmp_path):
    mine = fake_compiler(tmp_path / "mine", "echo 'mine 9'")
    fake_compiler(tmp_path / "path", "exit 1", "c++")
    fake_compiler(tmp_path / "path", "echo 'gnu 12'", "g++")
    environ = {"CXX": f"{mine.command[0]} -pipe", "PATH": f"{tmp_path / 'path'}:/bin"}
    found = build.find_compilers(environ)
    assert [c.version for c in found[:2]] == ["mine 9", "gnu 12"]
    assert found[0].command == (mine.command[0], "-pipe")


def test_one_compiler_under_two_names_is_tried_once(tmp_path):
    real = fake_compiler(tmp_path / "path", "echo 'gnu 12'", "g++")
    (tmp_path / "path" / "c++").symlink_to(real.command[0])
    versions = [c.version for c in build.find_compilers({"PATH": str(tmp_path / "path") + ":/bin"})]
    assert versions.count("gnu 12") == 1


def test_no_compiler_may_take_this_cpu_for_the_least_one(tmp_path, thing, cache):
    """zig builds for the CPU it runs on: such a library would crash on an older one that shares the home."""
    flags = ("-O2", build.X86_64_BASELINE)
    recipe_ = Recipe("thing", thing.units, thing.headers, flags)
    plain = fake_compiler(tmp_path / "bin", WORKS)
    assert "-march=x86-64" in build._ninja_file(recipe_, plain)
    zig = Compiler(("python", "-m", "ziglang", "c++"), "clang version 20")
    assert "-mcpu=baseline" in build._ninja_file(recipe_, zig)
    assert "-march" not in build._ninja_file(recipe_, zig)
