"""The choice between RWKV-7's two kernels: by measurement, once for each kind of shape, and kept."""

from __future__ import annotations

import json

import pytest
import torch

from chatrwkv.cuda import abi
from chatrwkv.engine import cuda_kernels, cuda_ops
from chatrwkv.engine.cuda_forms import CHUNKED, SEQUENTIAL, Forms
from tests.cuda.test_ops import arguments, launch_of

LONG = (1, 512, 12, 64)


class Clock:
    """Says how long each kernel takes; notes what it was asked."""

    def __init__(self, **seconds: float) -> None:
        self.of = seconds
        self.ran: list[str] = []

    def seconds(self, work):
        work()
        return self.of[self.ran[-1]]


def forms(clock, place=None, *, has_chunked=True):
    return Forms(has_chunked=has_chunked, place=place, seconds=clock.seconds)


@pytest.mark.parametrize(("sequential", "chunked", "best"), [(2.0, 1.0, CHUNKED), (1.0, 2.0, SEQUENTIAL)])
def test_the_faster_one_is_taken(sequential, chunked, best):
    clock = Clock(wkv7=sequential, wkv7_chunked=chunked)
    assert forms(clock).best(LONG, torch.float16, clock.ran.append) == best
    assert clock.ran == [SEQUENTIAL, CHUNKED]


@pytest.mark.parametrize("shape", [(1, 31, 12, 64), (1, 512, 12, 96)])
def test_what_the_chunked_kernel_cannot_do_well_is_not_measured(shape):
    """31 tokens are one chunk and padding; a head of 96 does not fit."""
    clock = Clock()
    assert forms(clock).best(shape, torch.float16, clock.ran.append) == SEQUENTIAL
    assert clock.ran == []


def test_a_chunked_kernel_that_failed_its_test_is_never_run():
    clock = Clock()
    assert forms(clock, has_chunked=False).best(LONG, torch.float32, clock.ran.append) == SEQUENTIAL
    assert clock.ran == []


def test_a_kind_of_shape_is_measured_once_also_by_the_next_process(tmp_path):
    """A prompt of one token more must not cost six prefills again."""
    place = tmp_path / "forms.json"
    clock = Clock(wkv7=2.0, wkv7_chunked=1.0)
    first = forms(clock, place)
    for tokens in (512, 513, 1023):
        assert first.best((1, tokens, 12, 64), torch.float16, clock.ran.append) == CHUNKED
    assert len(clock.ran) == 2
    assert forms(clock, place).best(LONG, torch.float16, clock.ran.append) == CHUNKED
    assert len(clock.ran) == 2
    first.best((8, 512, 12, 64), torch.float16, clock.ran.append)
    assert len(clock.ran) == 4, "eight rows fill a GPU that one does not"


@pytest.mark.parametrize("text", ["", "[1]", '{"a": "rm", "b": 3}', "\0"])
def test_a_damaged_file_is_measured_again(tmp_path, text):
    """A name from the file becomes the name of a kernel."""
    place = tmp_path / "forms.json"
    place.write_text(text)
    clock = Clock(wkv7=2.0, wkv7_chunked=1.0)
    again = forms(clock, place)
    assert again.choices == {}
    assert again.best(LONG, torch.float16, clock.ran.append) == CHUNKED
    assert list(json.loads(place.read_text()).values()) == [CHUNKED]


def test_a_folder_that_cannot_be_written_costs_a_measurement_only(tmp_path):
    clock = Clock(wkv7=2.0, wkv7_chunked=1.0)
    place = tmp_path / "absent" / "forms.json"
    assert forms(clock, place).best(LONG, torch.float16, clock.ran.append) == CHUNKED
    assert not place.exists()


def test_measuring_leaves_the_state_of_the_call_alone(shim, monkeypatch):
    """Six runs of a prompt on one state would be six prompts."""
    shim.shim_backwards(0)
    launch, used = launch_of(shim), []

    def noted(kernel, *rest):
        used.append(kernel)
        return launch(kernel, *rest)

    clock = Clock(wkv7=2.0, wkv7_chunked=1.0)
    clock.ran = used
    monkeypatch.setattr(cuda_ops, "_launcher", lambda *_: noted)
    monkeypatch.setattr(cuda_kernels, "forms", lambda _: forms(clock))
    found, want = (arguments("wkv7", T=40, lengths=None) for _ in range(2))
    y = torch.ops.chatrwkv.wkv7(*found)
    assert used == [SEQUENTIAL, CHUNKED, CHUNKED]
    wanted = cuda_ops._heads_by_ops(
        dict(zip(("r", "log_decay", "k", "v", "a", "b"), want[:6], strict=True)), want[6], None
    )
    torch.testing.assert_close(y, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[6], want[6], rtol=1e-5, atol=1e-5)


def test_architectures_without_tf32_are_not_offered_the_chunked_kernel():
    """Its products are empty there."""
    assert set(abi.KERNELS) - set(abi.kernels_for("sm_75")) == {"wkv7_chunked"}
    assert abi.kernels_for("sm_80") == abi.kernels_for("sm_120") == abi.KERNELS
