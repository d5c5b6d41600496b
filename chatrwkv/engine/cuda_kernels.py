"""The CUDA kernels of each device: built with nvcc, or with NVRTC, tested, and their state told.

    launcher(device, generation)   what launches its kernels, or None: `ops` serves
    forms(device)                  which of RWKV-7's two kernels to take
    status()                       what to show and why

Asked for the first time, a device's kernels are looked for in the cache, else built in the background. Nothing
raises for want of kernels. Without a CUDA device nothing here runs; torch and compilers are not even imported.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.cuda import abi, decode_abi
from chatrwkv.cuda.nvrtc import Nvrtc, find_libraries, headers
from chatrwkv.engine import build, kernels
from chatrwkv.errors import DeviceLost, KernelBuildFailed, KernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from chatrwkv.cuda.abi import NumberType
    from chatrwkv.engine.cuda_forms import Forms
    from chatrwkv.engine.cuda_ops import AnyCall, Launch

_log = logging.getLogger(__name__)
_OPEN_LIMIT_S = 20.0  # loading a finished build and testing it takes about a second
_VERSION_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class CudaStatus:
    """The kernels of one device, for the status line and `doctor`."""

    device: str
    is_building: bool = False
    why_not: str = ""
    """Why the torch path is used; empty when it is not, or while building."""
    compiler: str = ""
    """nvcc or NVRTC, with its version."""
    usable: tuple[str, ...] = ()
    """Of `abi.KERNELS`, and `decode7`."""
    build_s: float = 0.0
    """0 when they came from the cache."""
    self_test_error: float | None = None
    """Largest difference to the torch path over its tolerance; below 1 passes."""
    log: str = ""
    decode: str = ""
    """What runs a step of the model on this device; empty before the first one."""

    @property
    def line(self) -> str:
        """One line for people."""
        decode = f" A token: {self.decode}." if self.decode else ""
        if self.is_building:
            return f"{self.device}: kernels are being built; the torch path serves meanwhile.{decode}"
        if self.usable:
            return f"{self.device}: {', '.join(self.usable)} by {self.compiler}.{decode}"
        return f"{self.device}: torch path. {self.why_not}{decode}"


class _Device:
    def __init__(self, name: str) -> None:
        self.status = CudaStatus(name)
        self.launch: Launch | None = None
        self.forms: Forms | None = None
        self.decided = threading.Event()  # ready, impossible, or being built


_devices: dict[int, _Device] = {}
_lock = threading.Lock()


def status() -> tuple[CudaStatus, ...]:
    """Of every device that was asked for."""
    return tuple(device.status for device in list(_devices.values()))


def launcher(device: torch.device, generation: str) -> Launch | None:
    """What launches the kernel of a generation on a CUDA device; None: not ready, or not at all.

    Waits while a finished build is being opened and tested; never for a compiler.
    """
    found = _devices.get(device.index or 0)
    if found is None:
        found = _start(device)
    if found is None or generation not in found.status.usable:
        return None
    return found.launch


def forms(device: torch.device) -> Forms | None:
    """The choices between kernels of a device for which `launcher` gave something."""
    found = _devices.get(device.index or 0)
    return None if found is None else found.forms


def tell_decode(device: torch.device, line: str) -> None:
    """Keep for the status what runs a step of the model on a device."""
    found = _devices.get(device.index or 0)
    if found is not None:
        found.status = replace(found.status, decode=line)


def _start(device: torch.device) -> _Device | None:
    folder = kernels.cache_folder()
    if folder is None:
        return None  # nobody has said where the cache is
    with _lock:
        index = device.index or 0
        if index in _devices:
            return _devices[index]
        new = _devices[index] = _Device(f"cuda:{index}")
    reason = _why_never()
    if reason:
        new.status = replace(new.status, why_not=reason)
        return new
    threading.Thread(
        target=_prepare, args=(new, device, folder / "cuda"), name="cuda kernels", daemon=True
    ).start()
    new.decided.wait(_OPEN_LIMIT_S)
    return new


def _why_never() -> str:
    import torch

    if torch.version.hip is not None:
        return "A ROCm build of torch takes the torch path."
    if os.environ.get("CHATRWKV_NATIVE", "1") == "0":
        return "CHATRWKV_NATIVE=0 switches the kernels off."
    return ""


def _prepare(device: _Device, place: torch.device, folder: Path) -> None:
    import torch

    def announce() -> None:
        device.status = replace(device.status, is_building=True)
        device.decided.set()

    problems: list[str] = []
    try:
        major, minor = torch.cuda.get_device_capability(place)
        arch = f"sm_{major}{minor}"
        for way in (with_nvcc, with_nvrtc):
            try:
                with torch.cuda.device(place):
                    _make_context(place)
                    launch, made = way(folder, arch, announce)
                    usable, worst, failed = tested(launch, place, (*abi.kernels_for(arch), decode_abi.UNIT))
            except KernelError as error:
                problems.append(f"{error.message} {error.hint}".strip())
                continue
            problems += failed
            if usable:
                device.forms = _forms_of(place, folder, made.compiler, usable)
                device.launch = launch
                device.status = replace(
                    device.status,
                    is_building=False,
                    compiler=made.compiler,
                    build_s=made.build_s,
                    log=made.log,
                    usable=usable,
                    self_test_error=worst,
                )
                break
    except Exception as error:  # noqa: BLE001 - the top of a thread
        problems.append(f"An unexpected error: {error!r}.")
        _log.exception("CUDA kernels")
    if device.launch is None:
        device.status = replace(device.status, is_building=False, why_not=" ".join(problems))
    for problem in problems:
        _log.warning("CUDA kernels: %s", problem)
    device.decided.set()


def _make_context(place: torch.device) -> None:
    """Bind this thread to the device, as any operation on it does: the driver API needs it."""
    import torch

    torch.zeros(1, device=place)


def _forms_of(place: torch.device, folder: Path, compiler: str, usable: tuple[str, ...]) -> Forms:
    import torch

    from chatrwkv.engine.cuda_forms import CHUNKED, Forms

    name = torch.cuda.get_device_name(place)
    return Forms(has_chunked=CHUNKED in usable, place=folder / f"forms-{_digest_of(name, compiler)}.json")


def tested(
    launch: Launch, place: torch.device, candidates: tuple[str, ...]
) -> tuple[tuple[str, ...], float | None, list[str]]:
    """The kernels that pass the self-test, their largest error, and what is to be said of the others."""
    from chatrwkv.engine.cuda_selftest import self_test

    usable: list[str] = []
    problems: list[str] = []
    worst: float | None = None
    for kernel in candidates:
        try:
            error = self_test(launch, kernel, place)
        except (KernelError, DeviceLost) as failure:
            problems.append(failure.message)
        else:
            usable.append(kernel)
            worst = max(worst or 0.0, error)
    return tuple(usable), worst, problems


def recipe(arch: str) -> build.Recipe:
    """How nvcc makes the library of launchers for one architecture, such as sm_90."""
    units = tuple(build.Unit(path) for path in sorted(abi.SOURCES.glob("*.cu")))
    number = arch.removeprefix("sm_")
    code = f"-gencode=arch=compute_{number},code={arch}"
    flags = ("-std=c++17", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", code)
    return build.Recipe("chatrwkv-cuda", units, tuple(headers()), flags, (code,))


def find_nvcc(environ: Mapping[str, str] | None = None) -> build.Compiler | None:
    """$CUDACXX, nvcc of $CUDA_HOME or $CUDA_PATH, on the PATH, in /usr/local/cuda; None if none answers."""
    environ = os.environ if environ is None else environ
    homes = [environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)]
    candidates = [environ.get("CUDACXX"), *(f"{home}/bin/nvcc" for home in homes)]
    candidates += [shutil.which("nvcc", path=environ.get("PATH")), "/usr/local/cuda/bin/nvcc"]
    for candidate in candidates:
        if candidate and (version := _nvcc_version(candidate)):
            return build.Compiler((candidate,), version)
    return None


def _nvcc_version(command: str) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 - a compiler the user has installed or named
            [command, "--version"], capture_output=True, text=True, timeout=_VERSION_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"release .*?, V([\d.]+)", asked.stdout)
    return f"nvcc {found[1]}" if found and asked.returncode == 0 else ""


def with_nvcc(folder: Path, arch: str, announce: Callable[[], None]) -> tuple[Launch, CudaStatus]:
    """The library of launchers, built or from the cache. `announce` is called before a compiler runs.

    Raises:
        KernelBuildFailed: no nvcc, or it failed.
    """
    compiler = find_nvcc()
    if compiler is None:
        raise KernelBuildFailed("There is no nvcc.")
    plan = recipe(arch)
    built = build.cached(plan, folder, [compiler])
    if built is None:
        announce()
        built = build.build(plan, folder, compilers=[compiler])
    try:
        library = abi.open_library(str(built.library))
        functions = decode_abi.bind(library)
    except OSError as error:
        raise KernelBuildFailed(
            f"The CUDA library cannot be opened: {error}.", hint=str(built.log)
        ) from error
    functions |= {name: getattr(library, f"rwkv_cuda_{name}") for name in abi.KERNELS}

    def launch(kernel: str, call: AnyCall, number_type: NumberType, stream: int) -> int:
        return int(functions[kernel](call, number_type, stream))

    return launch, CudaStatus("", compiler=compiler.version, build_s=built.seconds, log=str(built.log))


def with_nvrtc(
    folder: Path, arch: str, announce: Callable[[], None], driver: str = "libcuda.so.1"
) -> tuple[Launch, CudaStatus]:
    """The kernels compiled by NVRTC, now or once before, and launched by the driver.

    Raises:
        KernelBuildFailed: no NVRTC, it failed, or the driver refused the result.
    """
    import torch

    from chatrwkv.cuda.driver import Module

    version = torch.version.cuda
    libraries = find_libraries(int(version.partition(".")[0]) if version else None)
    if not libraries:
        raise KernelBuildFailed("There is no NVRTC.")
    nvrtc = Nvrtc(libraries[0])
    started = time.monotonic()
    units = (*abi.kernels_for(arch), decode_abi.UNIT)
    places = {name: folder / cubin_name(name, arch, nvrtc.version) for name in units}
    cubins = {name: read_cubin(place) for name, place in places.items()}
    seconds = 0.0
    if not all(cubins.values()):
        announce()
        for name, place in places.items():
            cubins[name] = cubins[name] or _compile_cubin(nvrtc, name, arch, place)
        seconds = time.monotonic() - started
    modules = {name: Module(_functions_of(name), cubin, driver) for name, cubin in cubins.items()}

    def launch(kernel: str, call: AnyCall, number_type: NumberType, stream: int) -> int:
        if isinstance(call, abi.Call):
            return modules[kernel].launch(abi.geometry(kernel, call, number_type), call, stream)
        shape = decode_abi.geometry(kernel, call, number_type)
        return modules[decode_abi.UNIT].launch(shape, call, stream)

    return launch, CudaStatus("", compiler=nvrtc.version, build_s=seconds)


def _functions_of(unit: str) -> list[str]:
    return decode_abi.kernel_names() if unit == decode_abi.UNIT else abi.kernel_names(unit)


def cubin_name(kernel: str, arch: str, version: str) -> str:
    """The file of a compiled kernel: anything that changes it changes the name."""
    return f"{kernel}-{arch}-{_digest_of(kernel, arch, version)}.cubin"


def _digest_of(*names: str) -> str:
    """Of the names and of the device code."""
    total = hashlib.sha256(" ".join(names).encode())
    for path in headers():
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:24]


def read_cubin(place: Path) -> bytes:
    """A stored CUBIN, which stands behind its sha256; empty if it is not there or damaged."""
    with suppress(OSError):
        stored = place.read_bytes()
        digest, cubin = stored[:32], stored[32:]
        if hashlib.sha256(cubin).digest() == digest:
            return cubin
    return b""


def _compile_cubin(nvrtc: Nvrtc, kernel: str, arch: str, place: Path) -> bytes:
    cubin = nvrtc.compile(kernel, arch)
    with suppress(OSError):  # a cache that cannot be written costs the same seconds next time
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".part", delete=False) as file:
            file.write(hashlib.sha256(cubin).digest() + cubin)
        Path(file.name).replace(place)
    return cubin
