"""Foreign exceptions in our words: the one place where torch's failures become `GenerationError`s.

torch reports much by the text of a RuntimeError, so words have to be matched. It is not imported here: an
exception of torch can only arrive when torch is loaded.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chatrwkv.errors import ChatRWKVError, DeviceLost, GenerationError, OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

# torch.OutOfMemoryError, MemoryError and the texts of the CPU allocator and of cuBLAS
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"CUDA error|CUBLAS_STATUS|CUDNN_STATUS|cuDNN error|CUDA driver|device-side assert|HIP error"
)
_MEMORY_TYPES = {"OutOfMemoryError", "MemoryError"}
_DEVICE_TYPES = {"AcceleratorError"}
_LENGTH = 200  # of a foreign message; torch appends pages of advice


@contextmanager
def foreign_errors(is_expected: Callable[[], bool] = bool) -> Iterator[None]:
    """Raise whatever goes wrong inside as a `ChatRWKVError`, from its cause.

    Args:
        is_expected: asked whether errors are no surprise now and stay out of the log; `bool()` is no.
    """
    try:
        yield
    except ChatRWKVError:
        raise
    except Exception as error:
        raise in_our_words(error, log=not is_expected()) from error


def in_our_words(error: BaseException, *, log: bool = True) -> ChatRWKVError:
    """What a foreign exception means for the user; unknown ones are logged with their traceback."""
    if isinstance(error, ChatRWKVError):
        return error
    name, text = type(error).__name__, str(error)
    if name in _MEMORY_TYPES or (isinstance(error, RuntimeError) and _MEMORY.search(text)):
        return OutOfMemory(
            "There is not enough memory to go on.",
            hint="Close other programs, stop other replies, or load a smaller model.",
        )
    if name in _DEVICE_TYPES or (isinstance(error, RuntimeError) and _DEVICE.search(text)):
        return DeviceLost(
            f"The device stopped answering: {_first_line(text)}",
            hint="Start again; if it comes back, load the model on the CPU.",
        )
    if log:
        _log.error("unexpected error in the engine", exc_info=error)
    what = f"{name}: {_first_line(text)}" if text else name
    return GenerationError(
        f"The engine met an error it does not know: {what}", hint="The log has the details."
    )


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LENGTH else line[:_LENGTH] + "…"
