"""Native code of the CPU path: found or built, tested against the torch path, opened, and its state told.

    prepare(folder)   once, at the start: looks for a finished build, else builds in the background
    library()         the library if it is ready, else None; never waits for a compiler
    when_ready(f)     f(library) as soon as it is, for a model that was loaded before
    status()          what to show and why

A library that disagrees with the torch path is not used, in this process or, until it is built anew, in
any other. Nothing here raises for want of native code: the torch path serves.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.engine import build
from chatrwkv.engine.cores import cpu_features, default_threads
from chatrwkv.engine.native import abi
from chatrwkv.errors import KernelBuildFailed, KernelError, KernelMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatrwkv.engine.native.abi import Format

_log = logging.getLogger(__name__)
SOURCES = Path(abi.__file__).parent
_OPEN_LIMIT_S = 20.0  # torch is being imported meanwhile, on a cold disk for nine seconds
_COMMON = ("-std=c++17", "-O3", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-pthread")
_WARNINGS = ("-Wall", "-Wextra")
_AVX512 = ("-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
# file: the flags that let it use more than the base instructions; reached only where the CPU has them
_X86_LEVELS = {
    "kernels_avx2.cpp": ("-mavx2", "-mfma"),
    "kernels_avx512.cpp": _AVX512,
    "kernels_avx512_bf16.cpp": (*_AVX512, "-mavx512vnni", "-mavx512bf16"),
}
_BASE = tuple(sorted(path.name for path in SOURCES.glob("*.cpp") if path.name not in _X86_LEVELS))


@dataclass(frozen=True, slots=True)
class Status:
    """The native CPU path, for the status line and `doctor`."""

    is_available: bool = False
    is_building: bool = False
    why_not: str = "It has not been asked for."
    """One sentence; empty when available or being built."""
    has_failed: bool = False
    compiler: str = ""
    isa: str = ""
    """The instruction set in use: portable, avx2, avx512, avx512_bf16."""
    build_s: float = 0.0
    """0 when the library came from the cache."""
    self_test_error: float | None = None
    """Largest difference to the torch path over its tolerance; below 1 passes."""
    log: str = ""
    cuda: tuple[str, ...] = ()
    """One line for each CUDA device that was asked for kernels."""


class Library:
    """An opened library and the instruction set it will use."""

    def __init__(self, path: Path, isa: int | None = None) -> None:
        self.path = path
        self.c = abi.open_library(str(path))
        self.isa = self.c.rwkv_best_isa() if isa is None else isa

    @property
    def isa_name(self) -> str:
        """Of the level in use."""
        return str(self.c.rwkv_isa(self.isa).decode())

    def levels(self) -> list[str]:
        """The names of all levels in the library that run here, lowest first."""
        return [self.c.rwkv_isa(level).decode() for level in range(self.c.rwkv_best_isa() + 1)]

    def packed_bytes(self, kind: Format, rows: int, cols: int) -> int:
        """Memory of a packed matrix."""
        return int(self.c.rwkv_packed_bytes(kind, rows, cols))


class Engine:
    """Threads and work space of one caller: not for two threads at once, except `set_threads`."""

    def __init__(self, library: Library, n_threads: int | None = None) -> None:
        self.library = library
        self.n_threads = n_threads or default_threads()
        self._wanted = self.n_threads
        self._handle = library.c.rwkv_engine_new(library.isa, self.n_threads)
        if not self._handle:
            raise KernelError(f"The native engine {library.isa_name} could not be started.")

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.library.c.rwkv_engine_free(self._handle)
            self._handle = None

    def set_threads(self, n_threads: int) -> None:
        """Use so many threads from the next call on; any thread may say so."""
        self._wanted = max(1, n_threads)

    def _apply_threads(self) -> None:
        if self._wanted != self.n_threads:
            self.n_threads = self._wanted
            self.library.c.rwkv_engine_threads(self._handle, self.n_threads)

    def pack(
        self,
        kind: Format,
        source: int,
        source_kind: Format,
        shape: tuple[int, int],
        strides: tuple[int, int],
        target: int,
    ) -> None:
        """Pack the matrix at the address `source` into the one at `target`."""
        self._apply_threads()
        _check(
            self.library.c.rwkv_pack(self._handle, kind, source, source_kind, *shape, *strides, target),
            "pack",
        )

    def unpack(self, matrix: abi.Matrix, target: int) -> None:
        """What a packed matrix means, as float32 (rows, cols) at `target`."""
        _check(self.library.c.rwkv_unpack(ctypes.byref(matrix), target), "unpack")

    def matmul(self, matrix: abi.Matrix, x: int, n: int, y: int) -> None:
        """Write y (n, rows) = x (n, cols) · matrix, float32 at both addresses."""
        self._apply_threads()
        _check(self.library.c.rwkv_matmul(self._handle, ctypes.byref(matrix), x, n, y), "matmul")

    def forward(
        self,
        model: abi.Model,
        state: abi.State,
        lengths: ctypes.Array[ctypes.c_int32],
        ids: ctypes.Array[ctypes.c_int32],
        n_logits: ctypes.Array[ctypes.c_int32],
        logits: int,
    ) -> None:
        """Read tokens into the rows of a state, see rwkv_forward in abi.h."""
        self._apply_threads()
        code = self.library.c.rwkv_forward(
            self._handle,
            ctypes.byref(model),
            ctypes.byref(state),
            len(lengths),
            lengths,
            ids,
            n_logits,
            logits,
        )
        _check(code, "rwkv_forward")

    def read(self, data: int, n_bytes: int) -> None:
        """Read a multiple of 256 KiB with all threads, as fast as it goes: what decoding is measured against."""
        self._apply_threads()
        self.library.c.rwkv_read(self._handle, data, n_bytes)

    def skip_zeros(self, skip: bool | None) -> None:
        """Skip the lines of ffn.value that meet zeros; None: where that is measured to be faster, as at first."""
        self.library.c.rwkv_engine_skip(self._handle, 2 if skip is None else int(skip))

    def stats(self) -> abi.PoolStats:
        """What the threads have done so far."""
        stats = abi.PoolStats()
        self.library.c.rwkv_engine_stats(self._handle, ctypes.byref(stats))
        return stats


def _check(code: int, what: str) -> None:
    if code == 2:
        raise MemoryError(f"no memory for the work space of {what}")
    if code != 0:
        raise ValueError(f"{what} refused its arguments")


def recipe() -> build.Recipe:
    """How the library is built on this machine."""
    is_x86 = platform.machine() in {"x86_64", "AMD64"}
    own = {"kernels_portable.cpp": ("-O2",)} if is_x86 else {}  # hardly ever runs there; -O3 takes 10 s more
    units = [build.Unit(SOURCES / name, own.get(name, ())) for name in _BASE]
    if is_x86:
        units += [build.Unit(SOURCES / name, flags) for name, flags in _X86_LEVELS.items()]
    headers = sorted(p for p in SOURCES.iterdir() if p.suffix in {".h", ".inl"})
    baseline = (build.X86_64_BASELINE,) if is_x86 else ()  # not what this CPU has: see native/cpu.cpp
    flags = (*_COMMON, *_WARNINGS, *baseline)
    link = ("-Wl,--as-needed", "-pthread", "-lm") if sys.platform == "linux" else ()
    return build.Recipe("chatrwkv", tuple(units), tuple(headers), flags, link)


class _Native:
    """The one native library of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.status = Status()
        self.folder: Path | None = None
        self.packed: Path | None = None
        self.library: Library | None = None
        self.decided = threading.Event()  # ready, impossible, or being built
        self.waiting: list[Callable[[Library], None]] = []


_native = _Native()


def status() -> Status:
    """Whether the native path is used, and why not."""
    cuda = sys.modules.get("chatrwkv.engine.cuda_kernels")  # not imported for the sake of asking
    return (
        replace(_native.status, cuda=tuple(device.line for device in cuda.status()))
        if cuda
        else _native.status
    )


def library() -> Library | None:
    """The tested library, or None: not ready (yet).

    Waits while a finished build is being opened and tested, which takes a fraction of a second; never for a
    compiler.
    """
    if _native.folder is not None:
        _native.decided.wait(_OPEN_LIMIT_S)
    return _native.library


def cache_folder() -> Path | None:
    """Where builds are kept; None before `prepare`."""
    return _native.folder


def packed_folder() -> Path | None:
    """Where packed weights are kept; None before `prepare`."""
    return _native.packed


def when_ready(then: Callable[[Library], None]) -> None:
    """Call `then` with the library once it is ready, from the thread that built it; never if it cannot be."""
    with _native.lock:
        if _native.library is None:
            _native.waiting.append(then)
            return
    then(_native.library)


def prepare(folder: Path, packed: Path | None = None) -> None:
    """Find the library, or build it in the background: once a process, later calls do nothing.

    Args:
        folder: of the cache; builds are kept in it.
        packed: where packed weights are kept; in `folder` too unless given.
    """
    with _native.lock:
        if _native.folder is not None:
            return
        _native.folder = folder
        _native.packed = packed or folder / "packed"
        if os.environ.get("CHATRWKV_NATIVE", "1") == "0":
            _native.status = Status(why_not="CHATRWKV_NATIVE=0 switches it off.")
            _native.decided.set()
            return
    threading.Thread(target=_prepare, args=(folder / "native",), name="kernels", daemon=True).start()


def _prepare(folder: Path) -> None:
    waiting: list[Callable[[Library], None]] = []
    try:
        ready, found = open_or_build(folder, _announce_build)
    except KernelError as error:
        _native.status = Status(why_not=error.message, has_failed=True, log=error.hint)
        _log.warning("native code: %s %s", error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - the top of a thread
        _native.status = Status(why_not=f"An unexpected error: {error!r}.", has_failed=True)
        _log.exception("native code")
    else:
        with _native.lock:
            _native.library, _native.status = ready, found
            waiting, _native.waiting = _native.waiting, []
    _native.decided.set()
    for then in waiting:
        try:
            then(ready)
        except Exception:  # noqa: BLE001 - one model that cannot change over must not keep the others
            _log.exception("native code, after the build")


def _announce_build() -> None:
    _native.status = Status(is_building=True, why_not="")
    _native.decided.set()


def open_or_build(folder: Path, on_build: Callable[[], None] | None = None) -> tuple[Library, Status]:
    """Open, and if need be build and test, the library in `folder`. Blocks.

    Raises:
        KernelBuildFailed: no library could be made or opened.
        KernelMismatch: it disagrees with the torch path, now or when it was tested first.
    """
    plan, cpu = recipe(), cpu_features()
    compilers = build.find_compilers()
    built = build.cached(plan, folder, compilers, cpu)
    if built is None:
        if on_build is not None:
            on_build()
        with _heir(folder) if compilers else nullcontext():
            built = build.build(plan, folder, compilers=compilers, cpu=cpu)
    try:
        opened = Library(built.library)
    except OSError as error:
        raise KernelBuildFailed(
            f"The native library cannot be opened: {error}.", hint=str(built.log)
        ) from error
    return opened, Status(
        is_available=True,
        why_not="",
        compiler=built.compiler.version,
        isa=opened.isa_name,
        build_s=built.seconds,
        self_test_error=_tested(opened, built),
        log=str(built.log),
    )


def build_only(folder: Path) -> None:
    """Build what `open_or_build` would, and leave it in the cache; failures are remembered there, too."""
    with suppress(KernelError):
        build.build(recipe(), folder, cpu=cpu_features())


@contextmanager
def _heir(folder: Path) -> Iterator[None]:
    """A process that waits for the lock of the build, and does it if this one ends before it is done.

    A short command would otherwise begin a build each time and never have native code. Nobody waits for it.
    """
    code = "import pathlib, sys; from chatrwkv.engine import kernels; kernels.build_only(pathlib.Path(sys.argv[1]))"
    root = str(Path(__file__).parents[2])
    try:
        heir = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
        )
    except OSError:  # no more processes: the build of this one may still succeed
        yield
        return
    try:
        yield
    finally:
        heir.kill()
        heir.wait()


def _tested(opened: Library, built: build.Built) -> float:
    """The result of the self-test; it is run once a build, whose key holds compiler, sources and CPU."""
    note = built.library.with_name("self-test")
    with suppress(OSError, ValueError):
        verdict, _, message = note.read_text(encoding="utf-8").partition("\n")
        if message:
            raise KernelMismatch(message, hint=str(built.log))
        return float(verdict)
    from chatrwkv.engine import ranking
    from chatrwkv.engine.models.selftest import self_test

    verdict, message = "", ""
    try:
        result = max(self_test(opened), ranking.self_test(opened))
    except KernelMismatch as mismatch:
        message = mismatch.message
        raise
    else:
        verdict = repr(result)
        return result
    finally:
        if verdict or message:
            with suppress(OSError):
                note.write_text(f"{verdict}\n{message}", encoding="utf-8")


# as the package exports them
prepare_native = prepare
native_status = status
NativeStatus = Status
