"""A CUDA error in the middle of a reply: the text stays, the CPU is offered, the next message works (R30)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.tree import NodeStatus
from chatrwkv.engine import placement
from tests.fakes import ScriptedModel, fake_loader
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path

ERROR = "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"


class Gpu:
    """Fails from a pass on, and for good, as CUDA does; on the CPU nothing fails."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.is_used = True

    def __call__(self) -> None:
        self.left -= 1
        if self.is_used and self.left < 0:
            raise RuntimeError(ERROR)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    monkeypatch.setattr(placement, "_lost", set())
    return Gpu(at=6)


@pytest.fixture
def loader(gpu: Gpu) -> fake_loader:
    made = fake_loader(ScriptedModel("Hello there.", before=gpu), gpu="cuda:0")

    def moved() -> None:
        gpu.is_used = made.devices[-1] != "cpu"

    made.gate = moved
    return made


async def test_the_text_stays_and_the_cpu_goes_on(tmp_path: Path, loader: fake_loader):
    """Losing the reply, or every later one until a restart, would be worse than being slow."""
    async with running(tmp_path, loader=loader) as app:
        await app.send("hi")
        await app.until(lambda: "Go on with the CPU?" in app.text())
        assert "cuda:0 stopped answering; what was written is kept." in app.text()
        assert app.answers() == ["hi", "Hello"]
        assert app.session.path()[-1].status is NodeStatus.FAILED
        await app.press("y")
        await app.until(lambda: loader.devices == ["auto", "cpu"])
        await app.ready()
        await app.send("again")
        assert app.answers() == ["hi", "Hello", "again", "Hello there."]
        await app.sees("cpu")


async def test_refusing_the_offer_leaves_everything_as_it_is(tmp_path: Path, loader: fake_loader):
    """It is asked again after the next failure, and /cpu does it at any time."""
    async with running(tmp_path, loader=loader) as app:
        await app.send("hi")
        await app.until(lambda: "Go on with the CPU?" in app.text())
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        assert loader.devices == ["auto"]
        await app.send("more")
        await app.until(lambda: "Go on with the CPU?" in app.text())
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        await app.type("/cpu")
        await app.press("enter")
        await app.until(lambda: loader.devices == ["auto", "cpu"])
        await app.ready()
        await app.type("/cpu")
        await app.press("enter")
        await app.sees("fake is on the CPU.")
        assert loader.devices == ["auto", "cpu"]


async def test_several_replies_that_fail_ask_once(tmp_path: Path, loader: fake_loader):
    async with running(tmp_path, loader=loader) as app:
        await app.send("hi")
        await app.until(lambda: app.app.screen is not app.screen)
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        await app.type("/retry 3")
        await app.press("enter")
        await app.until(lambda: app.app.screen is not app.screen and not app.session.replies)
        await app.press("escape")
        await app.until(lambda: app.app.screen is app.screen)
        await app.quiet()
        assert app.app.screen is app.screen
        assert [
            worker for worker in app.screen.workers if worker.name == "cpu" and not worker.is_finished
        ] == []
