"""The one builder of native code: sources in, a shared library out, or one sentence why not.

A build is a subprocess (ninja) with a time limit and a log; importing this builds nothing. What it leaves:

    FOLDER/KEY/            a finished build: the library, manifest.json (its sha256), build.log
    FOLDER/KEY.lock        held by flock while somebody builds; the kernel frees it when that process dies
    FOLDER/KEY.failed      the last failure and its log, believed for a day
    FOLDER/KEY.part-…/     a build in progress, or what a killed one left; removed by the next holder of the lock

KEY hashes sources, flags, compiler version and CPU. A finished folder appears by one rename, so that no
process ever sees half a library, and the manifest is checked before every use.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from chatrwkv.errors import KernelBuildFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TIME_LIMIT_S = 300.0  # the CPU library takes 10 to 20 s on two quiet cores
X86_64_BASELINE = "-march=x86-64"
_VERSION_LIMIT_S = 20.0  # zig unpacks its libc++ on its first call
_BELIEVE_FAILURE_S = 24 * 3600.0
_LOCK_POLL_S = 0.1
_GRACE_S = 2.0
_ERROR = re.compile(r"(^|[\s:])error\b.*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C++ compiler that answered."""

    command: tuple[str, ...]
    version: str
    """The first line of `--version`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One source file and the flags only it gets, such as the instruction set."""

    source: Path
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build."""

    name: str
    units: tuple[Unit, ...]
    headers: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()

    @property
    def library(self) -> str:
        """The file name of the result."""
        return f"lib{self.name}{'.dylib' if sys.platform == 'darwin' else '.so'}"

    def key(self, compiler: Compiler, cpu: str = "") -> str:
        """Names the build: anything that changes the result changes it."""
        total = hashlib.sha256()
        described: list[object] = [self.name, self.flags, self.link_flags, compiler.command, compiler.version]
        described += [cpu, platform.machine(), sys.platform, [unit.flags for unit in self.units]]
        total.update(json.dumps(described).encode())
        for path in [*(unit.source for unit in self.units), *self.headers]:
            total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return f"{self.name}-{total.hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class Built:
    """A library that is ready to be opened."""

    library: Path
    compiler: Compiler
    log: Path
    seconds: float
    """0.0 when it came from the cache."""


def find_compilers(environ: Mapping[str, str] | None = None) -> list[Compiler]:
    """The compilers that answer `--version`, best first: $CXX, c++, g++, clang++, the `ziglang` package."""
    environ = os.environ if environ is None else environ
    commands: list[tuple[str, ...]] = []
    if environ.get("CXX"):
        commands.append(tuple(shlex.split(environ["CXX"])))
    commands += [("c++",), ("g++",), ("clang++",)]
    if importlib.util.find_spec("ziglang") is not None:
        commands.append((sys.executable, "-m", "ziglang", "c++"))
    found: list[Compiler] = []
    seen: set[str] = set()
    for command in commands:
        program = shutil.which(command[0], path=environ.get("PATH"))
        if program is None:
            continue
        place = " ".join([str(Path(program).resolve()), *command[1:]])  # c++ is g++ on most machines
        if place not in seen and (version := _version((program, *command[1:]))):
            seen.add(place)
            found.append(Compiler((program, *command[1:]), version))
    return found


def _version(command: tuple[str, ...]) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 - a compiler the user has installed or named
            [*command, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip().split("\n", 1)[0] if asked.returncode == 0 else ""


def cached(recipe: Recipe, folder: Path, compilers: Sequence[Compiler], cpu: str = "") -> Built | None:
    """The finished build of one of `compilers`, if its library is whole."""
    for compiler in compilers:
        place = folder / recipe.key(compiler, cpu)
        if _is_whole(place / recipe.library, place / "manifest.json"):
            return Built(place / recipe.library, compiler, place / "build.log", 0.0)
    return None


def build(
    recipe: Recipe,
    folder: Path,
    *,
    compilers: Sequence[Compiler] | None = None,
    cpu: str = "",
    time_limit_s: float = TIME_LIMIT_S,
) -> Built:
    """Compile, or find what somebody has compiled. Blocks: call it from a thread of its own.

    A folder that cannot be written is replaced by a private temporary one for the life of this process.

    Raises:
        KernelBuildFailed: no compiler, an error in it, or too slow; names the log.
    """
    compilers = find_compilers() if compilers is None else compilers
    if not compilers:
        raise KernelBuildFailed(
            "No C++ compiler was found ($CXX, c++, g++, clang++, ziglang).",
            hint="Install g++ or clang, or `pip install ziglang`.",
        )
    if (done := cached(recipe, folder, compilers, cpu)) is not None:
        return done
    folder = _writable(folder)
    failures: list[KernelBuildFailed] = []
    until = time.monotonic() + time_limit_s
    for compiler in compilers:
        try:
            return _build_once(recipe, folder, compiler, cpu, until)
        except KernelBuildFailed as failure:
            failures.append(failure)
    raise failures[0]


def _build_once(recipe: Recipe, folder: Path, compiler: Compiler, cpu: str, until: float) -> Built:
    key = recipe.key(compiler, cpu)
    with _locked(folder / f"{key}.lock", until):
        if (done := cached(recipe, folder, [compiler], cpu)) is not None:
            return done  # another process built it while this one waited
        _raise_remembered(folder / f"{key}.failed")
        for left in folder.glob(f"{key}.part-*"):
            shutil.rmtree(left, ignore_errors=True)
        started = time.monotonic()
        part = Path(tempfile.mkdtemp(prefix=f"{key}.part-", dir=folder))
        try:
            _compile(recipe, compiler, part, until)
            _publish(recipe, part, folder / key)
        except KernelBuildFailed as failure:
            _remember(folder / f"{key}.failed", failure, part / "build.log")
            raise
        except OSError as error:
            raise KernelBuildFailed(f"The native code could not be stored in {folder}: {error}.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        place = folder / key
        seconds = time.monotonic() - started
        return Built(place / recipe.library, compiler, place / "build.log", seconds)


def _compile(recipe: Recipe, compiler: Compiler, part: Path, until: float) -> None:
    (part / "build.ninja").write_text(_ninja_file(recipe, compiler), encoding="utf-8")
    jobs = max(1, (os.cpu_count() or 2) - 1)  # one core stays with whoever is typing
    log = part / "build.log"
    with log.open("wb") as output:
        output.write(f"{compiler.version}\n{shlex.join(compiler.command)}\n".encode())
        output.flush()
        code = _run([_ninja(), "-v", "-j", str(jobs)], part, output, until)
    if code is None:
        raise KernelBuildFailed(
            f"The native code was not built in time ({compiler.version}).",
            hint="It is tried again at the next start.",
        )
    if code != 0 or not (part / recipe.library).is_file():
        raise KernelBuildFailed(
            f"The native code could not be compiled: {_first_error(log)}",
            hint=f"The torch path is used. Compiler: {compiler.version}",
        )


def _ninja_file(recipe: Recipe, compiler: Compiler) -> str:
    shared = "-dynamiclib" if sys.platform == "darwin" else "-shared"
    command = _escaped(shlex.join(compiler.command))
    # zig takes this CPU for its target unless told otherwise, and has its own name for the least one
    is_zig = compiler.command[-2:] == ("ziglang", "c++")
    flags = ["-mcpu=baseline" if is_zig and f == X86_64_BASELINE else f for f in recipe.flags]
    lines = [
        "rule cc",
        f"  command = {command} {_escaped(shlex.join(flags))} $own -c $in -o $out",
        "rule link",
        f"  command = {command} {shared} $in {_escaped(shlex.join(recipe.link_flags))} -o $out",
    ]
    objects = []
    for i, unit in enumerate(recipe.units):
        objects.append(f"{i}.o")
        source = _escaped(str(unit.source)).replace(" ", "$ ").replace(":", "$:")
        lines += [f"build {objects[-1]}: cc {source}", f"  own = {_escaped(shlex.join(unit.flags))}"]
    lines += [f"build {recipe.library}: link {' '.join(objects)}", f"default {recipe.library}", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("$", "$$")


def _ninja() -> str:
    """The program of the `ninja` package, which pip installs, before the one of the system."""
    program = None
    with suppress(ImportError):
        program = shutil.which("ninja", path=importlib.import_module("ninja").BIN_DIR)
    program = program or shutil.which("ninja")
    if program is None:
        raise KernelBuildFailed("`ninja` is not installed.", hint="`pip install ninja`.")
    return program


_running: set[subprocess.Popen[bytes]] = set()


def _run(command: list[str], where: Path, output: BinaryIO, until: float) -> int | None:
    """The exit code; None when the time was up. The whole process group ends with it."""
    nice = shutil.which("nice")
    process = subprocess.Popen(  # noqa: S603 - ninja, on our own build file
        [nice, "-n", "5", *command] if nice else command,
        cwd=where,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C", "TMPDIR": str(where)},  # what a killed compiler leaves goes too
    )
    _running.add(process)
    try:
        return process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _kill(process)
        _running.discard(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        # ninja gives each compiler a process group of its own and ends them only when asked politely
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@atexit.register
def _kill_running() -> None:
    for process in list(_running):
        _kill(process)


def _publish(recipe: Recipe, part: Path, place: Path) -> None:
    """Let the finished build appear under its own name in one step."""
    library = part / recipe.library
    for left in part.glob("*.o"):
        left.unlink()
    manifest = {"sha256": _sha256(library), "recipe": recipe.name}
    (part / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for path in (library, part / "manifest.json"):
        with path.open("rb") as written:
            os.fsync(written.fileno())
    if place.exists():  # damaged, or `cached` would have returned it
        shutil.rmtree(place, ignore_errors=True)
    part.rename(place)


def _is_whole(library: Path, manifest: Path) -> bool:
    try:
        promised = json.loads(manifest.read_text(encoding="utf-8"))["sha256"]
        return bool(promised == _sha256(library))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _remember(note: Path, failure: KernelBuildFailed, log: Path) -> None:
    """A broken compiler must not cost a minute at every start; being slow once may pass."""
    failure.hint = f"{failure.hint} Log: {note}".strip()
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    with suppress(OSError):
        note.write_text(f"{failure.message}\n{failure.hint}\n\n{text}", encoding="utf-8")
        if "in time" in failure.message or "interrupted" in failure.message:  # by the end of this program
            os.utime(note, (0, 0))


def _raise_remembered(note: Path) -> None:
    with suppress(OSError):
        if time.time() - note.stat().st_mtime < _BELIEVE_FAILURE_S:
            message, hint, *_ = note.read_text(encoding="utf-8", errors="replace").split("\n", 2)
            raise KernelBuildFailed(message, hint=hint)


def _first_error(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if _ERROR.search(line)), lines[-1] if lines else "no output")[:300]


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        private = Path(tempfile.mkdtemp(prefix="chatrwkv-native-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return private


@contextmanager
def _locked(path: Path, until: float) -> Iterator[None]:
    """One builder a key at a time, over processes; the time limit covers the waiting too."""
    with path.open("a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > until:
                    raise KernelBuildFailed(
                        f"Another process has been building {path.stem} for too long."
                    ) from None
                time.sleep(_LOCK_POLL_S)
        yield
