"""Importing at the start of the app: without the garbage collector, and without what no chat computes with.

Passes of the collector over what is being made took 0.2 of torch's 1.3 s and 0.05 of the interface's 0.25 s.
Linking torch's libraries on a thread meanwhile was tried: the first screen came 0.25 s later and the model no
sooner.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Operators in Python for tensors without data, which only tracing and compiling use: a third of `import torch`.
_META_KERNELS = "torch._meta_registrations"
# Whoever comes through one of these needs them, and before it.
_TRACING = frozenset({"torch._dynamo", "torch._inductor", "torch._prims", "torch._decomp.decompositions"})


@contextmanager
def without_collector() -> Iterator[None]:
    """Hold the collector; what is there afterwards stays out of all its later passes.

    A full one over torch's 171,000 objects takes 0.1 s, in which no key is answered.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


class _MetaKernelsFirst(MetaPathFinder):
    """Imports what was left out, once, as soon as something wants to trace or to compile."""

    def find_spec(self, fullname: str, *_where: object) -> None:
        """Find nothing, but come before those who would."""
        if fullname in _TRACING:
            sys.meta_path.remove(self)
            import_module(_META_KERNELS)


@contextmanager
def _without_meta_kernels() -> Iterator[None]:
    """Let torch find an empty module in their place; `torch.compile` gets the real one when it is used."""
    sys.modules[_META_KERNELS] = ModuleType(_META_KERNELS)
    try:
        yield
    finally:
        del sys.modules[_META_KERNELS]
        sys.meta_path.insert(0, _MetaKernelsFirst())


def import_torch() -> None:
    """Import torch, unless it is there."""
    if "torch" not in sys.modules:
        with without_collector(), _without_meta_kernels():
            import torch  # noqa: F401
