"""Compiles the device part of the kernels with NVRTC, the compiler in a library that torch's CUDA wheels bring.

For machines without nvcc. The headers are given as text, so nothing of the CUDA toolkit is needed. Torch-free.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from pathlib import Path

from chatrwkv.cuda.abi import SOURCES
from chatrwkv.errors import KernelBuildFailed

_SIGNATURES = {
    "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
    "nvrtcCreateProgram": (
        *(POINTER(c_void_p), c_char_p, c_char_p, c_int),
        *(POINTER(c_char_p), POINTER(c_char_p)),
    ),
    "nvrtcCompileProgram": (c_void_p, c_int, POINTER(c_char_p)),
    "nvrtcGetProgramLogSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetProgramLog": (c_void_p, c_char_p),
    "nvrtcGetCUBINSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetCUBIN": (c_void_p, c_char_p),
    "nvrtcDestroyProgram": (POINTER(c_void_p),),
}


def headers() -> list[Path]:
    """What the device part consists of."""
    return sorted(path for path in SOURCES.iterdir() if path.suffix in {".cuh", ".h"})


def find_libraries(major: int | None = None) -> list[str]:
    """Where NVRTC is, best first: NVIDIA's wheels, torch's own folder, the system's.

    Args:
        major: of the CUDA version torch was built with; a library of another one comes last.
    """
    found: list[str] = []
    for package, pattern in (("nvidia", "*/lib"), ("torch", "lib")):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            for folder in sorted(Path(place).glob(pattern)):
                # libnvrtc-builtins and libnvrtc.alt are no compilers by themselves
                found += [str(p) for p in sorted(folder.glob("libnvrtc*.so*")) if _is_nvrtc(p.name)]
    system = ctypes.util.find_library("nvrtc")
    found += [system] if system else []
    return sorted(found, key=lambda path: major is not None and _major(path) not in (None, major))


def _is_nvrtc(name: str) -> bool:
    return re.fullmatch(r"libnvrtc(-[0-9a-f]+)?\.so[.0-9]*", name) is not None


def _major(path: str) -> int | None:
    found = re.search(r"\.so\.(\d+)", path)
    return int(found[1]) if found else None


class Nvrtc:
    """An opened NVRTC."""

    def __init__(self, path: str) -> None:
        try:
            self._c = ctypes.CDLL(path)
            for name, arguments in _SIGNATURES.items():
                function = getattr(self._c, name)
                function.restype, function.argtypes = c_int, arguments
        except (OSError, AttributeError) as error:
            raise KernelBuildFailed(f"NVRTC cannot be opened: {error}.") from error
        major, minor = c_int(), c_int()
        self._check(self._c.nvrtcVersion(byref(major), byref(minor)), "nvrtcVersion")
        self.version = f"NVRTC {major.value}.{minor.value}"

    def compile(self, kernel: str, arch: str) -> bytes:
        """A kernel, for every number type and head size, as a CUBIN for `arch`, such as sm_90.

        Raises:
            KernelBuildFailed: with the first line of the compiler's log.
        """
        files = headers()
        texts = (c_char_p * len(files))(*(path.read_bytes() for path in files))
        names = (c_char_p * len(files))(*(path.name.encode() for path in files))
        source = f'#include "{kernel}.cuh"\n'.encode()
        program = c_void_p()
        created = self._c.nvrtcCreateProgram(
            byref(program), source, f"{kernel}.cu".encode(), len(files), texts, names
        )
        self._check(created, "nvrtcCreateProgram")
        try:
            options = (c_char_p * 2)(f"--gpu-architecture={arch}".encode(), b"--std=c++17")
            code = self._c.nvrtcCompileProgram(program, len(options), options)
            log = self._text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode(errors="replace")
            self.log = log.strip("\0\n ")
            if code:
                first = next(iter(self.log.splitlines()), f"error {code}")
                raise KernelBuildFailed(f"{self.version} refused the kernels for {arch}: {first}")
            return self._text(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
        finally:
            self._c.nvrtcDestroyProgram(byref(program))

    def _text(self, program: c_void_p, ask_size: str, ask: str) -> bytes:
        size = c_size_t()
        self._check(getattr(self._c, ask_size)(program, byref(size)), ask_size)
        room = ctypes.create_string_buffer(max(1, size.value))
        self._check(getattr(self._c, ask)(program, room), ask)
        return room.raw[: size.value]

    def _check(self, code: int, what: str) -> None:
        if code:
            raise KernelBuildFailed(f"{what} failed with error {code}.")
