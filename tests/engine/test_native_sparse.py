"""Skipping the zeros of the squared ReLU changes what is read, never what comes out."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.engine import quant
from chatrwkv.engine.kernels import Engine
from chatrwkv.engine.models import packing
from chatrwkv.engine.models.native import Native
from chatrwkv.engine.models.rwkv7 import Weights7
from chatrwkv.engine.state import Scratch
from tests.checkpoints import Size, rwkv7
from tests.engine.native_library import LEVELS, library_at, spec_of

KINDS = ("fp32", "bf16", "int8", "int4")
# of ffn: less than a line, no multiple of a group, several groups
SIZES = (Size(1, 32, 16, 20, 5), Size(2, 48, 8, 37, 130), Size(2, 64, 64, 50))
_UNTIL_DECIDED = 48 + 32  # steps: the distance of the prefetch, then pairs of one way and the other


@pytest.fixture(params=LEVELS)
def library(request):
    return library_at(request.config, request.param)


def model(library, size, kind, *, shift=0.0, scale=1.0, n_threads=1):
    """A native model; a negative `shift` of every key of ffn lets more of them be zero."""
    tensors = rwkv7(size)
    for i in range(size.n_layer):
        tensors[f"blocks.{i}.ln2.bias"].fill_(1.0)
        key = tensors[f"blocks.{i}.ffn.key.weight"]
        key.add_(shift / size.n_embd).mul_(scale)
    engine, spec = Engine(library, n_threads), spec_of(tensors)
    return Native(
        spec, packing.pack(Weights7.build(tensors, spec), spec, quant.FORMATS[kind], engine), engine
    )


def replies(native, skip: bool | None, n: int = 6) -> torch.Tensor:
    native.engine.skip_zeros(skip)
    scratch = native.blank().thaw()
    return torch.cat([native.step([3 * i % native.spec.n_vocab], scratch) for i in range(n)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shift", [0.0, -2.0, -1000.0], ids=["half", "most", "all"])
def test_skipped_zeros_leave_every_bit_as_it_was(library, kind, size, shift):
    native = model(library, size, kind, shift=shift, n_threads=2)
    dense, sparse = replies(native, skip=False), replies(native, skip=True)
    assert native.engine.stats().is_skipping
    assert dense.isfinite().all()
    assert torch.equal(dense, sparse)


@pytest.mark.parametrize("kind", KINDS)
def test_huge_activations_are_not_skipped(library, kind):
    native = model(library, SIZES[1], kind, scale=1e6)
    assert torch.equal(replies(native, skip=False), replies(native, skip=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_is_not_skipped(library, kind):
    """A NaN that is taken for a zero would hide that a state is broken."""
    native = model(library, SIZES[2], kind)
    native.engine.skip_zeros(skip=True)
    scratch = native.blank().thaw()
    scratch.tensors["ffn_shift"][:] = torch.nan
    assert not native.step([1], scratch).isfinite().any()


def test_measured_choice_never_changes_what_comes_out(library):
    """While it is measured, every other pass goes the other way."""
    native = model(library, SIZES[2], "int8", shift=-2.0)
    n = _UNTIL_DECIDED + 5
    assert torch.equal(replies(native, skip=False, n=n), replies(native, skip=None, n=n))


def test_several_rows_read_all_lines(library):
    """What is zero for one row is not for another."""
    native = model(library, SIZES[2], "bf16", shift=-2.0)
    expected = []
    for skip in (False, True):
        native.engine.skip_zeros(skip)
        scratch = Scratch.stack([native.blank()] * 3)
        expected.append(torch.cat([native.step([i, i + 7, i + 9], scratch) for i in range(4)]))
    assert torch.equal(*expected)
