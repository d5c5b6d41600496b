"""No chat begins with what another one read, whatever happened there (RWKV-Runner#441, langchain#2565)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine import SamplingParams
from tests.chat.conftest import ended, said
from tests.chat.processes.first_logits import first_logits
from tests.fakes import FakeModel, Gate, fake_loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chat.conftest import Desk

ROOT = Path(__file__).parents[2]
SECRET = "my word is K"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The logits of a process that knows of no other chat."""
    command = [
        sys.executable,
        "-m",
        "tests.chat.processes.first_logits",
        str(tmp_path_factory.mktemp("fresh")),
    ]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


class Faulty(FakeModel):
    """Reads a prompt, draws five tokens, then fails once."""

    n_left = 1 + 5

    def _read(self, rows, scratch):
        self.n_left -= 1
        if self.n_left == 0:
            raise RuntimeError("the machine is on fire")
        return super()._read(rows, scratch)


def test_nothing_leaks_from_a_chat_that_ended(make_desk: Callable[..., Desk], fresh: str):
    desk = make_desk(loader=fake_loader())
    said(desk.workspace.new_chat(), SECRET)
    assert first_logits(desk.workspace.new_chat()) == fresh


def test_nothing_leaks_from_a_chat_that_was_stopped(make_desk: Callable[..., Desk], fresh: str):
    gate = Gate()
    desk = make_desk(model=FakeModel("fake", before=gate))
    reply = desk.workspace.new_chat().send(SECRET)
    gate.allow(4)
    gate.wait_until_blocked()
    reply.stop()
    gate.open()
    assert ended(reply).reason == "cancelled"
    assert first_logits(desk.workspace.new_chat()) == fresh


def test_nothing_leaks_from_a_chat_whose_reply_failed(make_desk: Callable[..., Desk], fresh: str):
    desk = make_desk(model=Faulty("fake"))
    assert ended(desk.workspace.new_chat().send(SECRET)).error is not None
    assert first_logits(desk.workspace.new_chat()) == fresh


def test_nothing_leaks_over_a_switch_of_the_model(make_desk: Callable[..., Desk], fresh: str):
    desk = make_desk(loader=fake_loader())
    chat = desk.workspace.new_chat()
    said(chat, SECRET)
    desk.load("other")
    said(chat, SECRET)
    assert first_logits(desk.workspace.new_chat()) != fresh, "the other model speaks for itself"
    desk.load("fake")
    assert first_logits(desk.workspace.new_chat()) == fresh


def test_nothing_leaks_from_a_chat_that_streams_beside_it(make_desk: Callable[..., Desk], fresh: str):
    desk = make_desk(loader=fake_loader(), sampling={"max_tokens": 100_000, "seed": 7})
    chat = desk.workspace.new_chat()
    reply = chat.send(SECRET)
    while not reply.poll().n_tokens:
        reply.job.done.wait(0.001)
    beside = desk.workspace.new_chat()
    beside.set_params(SamplingParams(max_tokens=4))
    assert first_logits(beside) == fresh
    assert reply.poll().is_running
    chat.stop()
    ended(reply)
