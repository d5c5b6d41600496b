"""A device that stops answering in the middle of replies: what they have said stays, and it is not chosen again."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.engine import placement
from chatrwkv.engine.placement import choose_device
from chatrwkv.errors import DeviceLost
from tests.engine.replying import Outlet, ask, together
from tests.fakes import FakeModel, loaded


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "_lost", set())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


class Failing:
    """Raises what torch raises, from a pass on."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure\nadvice", 719)


def replies(device: str) -> list[Outlet]:
    return together(loaded(FakeModel(before=Failing(at=5)), device=device), [ask(), ask("User: other")])


def test_every_reply_keeps_its_text_and_says_why_it_ended():
    for outlet in replies("cuda:0"):
        assert outlet.streamed
        assert isinstance(outlet.failed.error, DeviceLost)
        assert "unspecified launch failure" in outlet.failed.error.message


@pytest.mark.parametrize("device", ["cuda:0", "cuda fp16 *1 -> cpu fp32"])
def test_a_device_that_stopped_answering_is_not_chosen_again(device: str):
    """CUDA gives the same error to everything that follows in the process: a load there would only fail later."""
    assert choose_device("auto") == torch.device("cuda", 0)
    replies(device)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceLost, match="cuda:0 stopped answering before") as refused:
        choose_device("cuda:0")
    assert "start the program again" in refused.value.hint
    assert choose_device("cpu") == torch.device("cpu")


def test_a_failure_on_the_cpu_gives_up_no_other_device():
    replies("cpu")
    assert choose_device("auto") == torch.device("cuda", 0)
