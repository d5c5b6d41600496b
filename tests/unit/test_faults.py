"""Every exception of torch that we claim to understand."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.engine.faults import foreign_errors, in_our_words
from chatrwkv.errors import DeviceLost, GenerationError, ModelError, OutOfMemory

CLAIMED: list[tuple[BaseException, type[GenerationError]]] = [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), OutOfMemory),
    (MemoryError(), OutOfMemory),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
        OutOfMemory,
    ),
    (RuntimeError("not enough memory: you tried to allocate 137438953472 bytes."), OutOfMemory),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), OutOfMemory),
    (torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nadvice", 700), DeviceLost),
    (RuntimeError("CUDA error: device-side assert triggered"), DeviceLost),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), DeviceLost),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), GenerationError),
    (ZeroDivisionError("division by zero"), GenerationError),
]


@pytest.mark.parametrize(("foreign", "ours"), CLAIMED)
def test_exception_of_torch_becomes_one_plain_sentence(foreign: BaseException, ours: type[GenerationError]):
    error = in_our_words(foreign)
    assert type(error) is ours
    assert "\n" not in error.message
    assert error.hint


def test_our_own_errors_pass_unchanged():
    error = ModelError("no such thing")
    with pytest.raises(ModelError) as caught, foreign_errors():
        raise error
    assert caught.value is error


def test_cause_is_kept_for_the_log():
    with pytest.raises(GenerationError, match="ValueError: odd") as caught, foreign_errors():
        raise ValueError("odd")
    assert isinstance(caught.value.__cause__, ValueError)


def test_unknown_error_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture):
    with pytest.raises(GenerationError), foreign_errors():
        raise KeyError("x" * 1000)
    assert caplog.records[0].exc_info
    assert len(in_our_words(ValueError("x" * 1000)).message) < 300


def test_interrupts_are_not_swallowed():
    with pytest.raises(KeyboardInterrupt), foreign_errors():
        raise KeyboardInterrupt
