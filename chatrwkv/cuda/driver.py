"""Launches compiled kernels through the CUDA driver, for what NVRTC has compiled. Torch-free.

Whoever calls has made the device's context current, which any torch operation on the device does.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_void_p
from typing import TYPE_CHECKING

from chatrwkv.errors import KernelBuildFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatrwkv.cuda.abi import Geometry

_SIGNATURES = {
    "cuModuleLoadData": (POINTER(c_void_p), c_char_p),
    "cuModuleGetFunction": (POINTER(c_void_p), c_void_p, c_char_p),
    "cuLaunchKernel": (
        *(c_void_p, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint),
        *(c_void_p, POINTER(c_void_p), POINTER(c_void_p)),
    ),
}


class Module:
    """The functions `names` of a CUBIN on the current device."""

    def __init__(self, names: Iterable[str], cubin: bytes, library: str = "libcuda.so.1") -> None:
        try:
            self._c = ctypes.CDLL(library)
            for name, arguments in _SIGNATURES.items():
                function = getattr(self._c, name)
                function.restype, function.argtypes = c_int, arguments
        except (OSError, AttributeError) as error:
            raise KernelBuildFailed(f"The CUDA driver cannot be opened: {error}.") from error
        module = c_void_p()
        self._refuse(self._c.cuModuleLoadData(byref(module), cubin), "cuModuleLoadData")
        self._functions: dict[str, c_void_p] = {}
        for name in names:
            function = c_void_p()
            found = self._c.cuModuleGetFunction(byref(function), module, name.encode())
            self._refuse(found, f"cuModuleGetFunction {name}")
            self._functions[name] = function

    def launch(self, shape: Geometry, call: ctypes.Structure, stream: int) -> int:
        """Queue a call; the CUDA error code, 0 for none."""
        if not shape.n_blocks:
            return 0
        arguments = (c_void_p * 1)(ctypes.addressof(call))
        return int(
            self._c.cuLaunchKernel(
                self._functions[shape.kernel],
                *(shape.n_blocks, 1, 1),
                *(shape.n_threads, 1, 1),
                *(0, stream, arguments, None),
            )
        )

    @staticmethod
    def _refuse(code: int, what: str) -> None:
        if code:
            raise KernelBuildFailed(f"{what} failed with CUDA error {code}.")
