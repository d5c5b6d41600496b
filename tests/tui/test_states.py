"""The commands about states, typed as a person types them."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine import Snapshot, State
from tests.fakes import FakeModel, Gate
from tests.tui.driver import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.tui.driver import Driver

TALK = ("Hello there.", "Quite so.")


@asynccontextmanager
async def talked(tmp_path: Path) -> AsyncIterator[Driver]:
    """The app, after a message and its reply."""
    async with running(tmp_path, *TALK) as driver:
        await driver.send("hi")
        yield driver


@asynccontextmanager
async def learnt(tmp_path: Path) -> AsyncIterator[Driver]:
    """The app, after it has learnt a document as `lamp`."""
    async with running(tmp_path, *TALK) as driver:
        await driver.command(f"/learn {tmp_path / 'book.txt'} as lamp")
        await driver.sees("Learnt lamp")
        yield driver


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("The lamp burns whale oil. " * 60, encoding="utf-8")
    return path


async def test_where_the_state_of_a_chat_is_can_be_seen(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/state info")
        await driver.sees("yes, nothing to read")
        await driver.sees("of 4.0 GB")
        await driver.sees("stay exact")


async def test_a_good_state_is_verified(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/state verify")
        await driver.sees("The state follows from its text")


async def test_a_wrong_state_is_seen_and_refreshed(tmp_path: Path):
    async with talked(tmp_path) as driver:
        vault = driver.session.vault
        vault.flush()
        for kept in list(vault._ram.values()):
            tensors = {name: tensor + 1 for name, tensor in kept.state.tensors.items()}
            wrong = Snapshot(State(tensors), kept.logits * 0, kept.n_tokens, kept.chain, kept.fingerprint)
            vault.renew(wrong)
        await driver.command("/state verify")
        await driver.sees("does not follow from its text")
        await driver.command("/refresh")
        await driver.sees("renewed")
        await driver.command("/state verify")
        await driver.sees("The state follows from its text")


async def test_a_document_is_learnt_and_asked(tmp_path: Path, book: Path):
    async with running(tmp_path, *TALK) as driver:
        await driver.command(f"/learn {book} as lamp --twice")
        await driver.sees("Learnt lamp")
        await driver.command("/state load lamp")
        await driver.sees("nothing has to be read again")
        await driver.send("what does it burn?")
        node = driver.session.path()[-1]
        assert node.meta
        assert node.meta.stats
        assert node.meta.stats.prompt_tokens < 64


async def test_learning_can_be_stopped_with_esc(tmp_path: Path, book: Path):
    gate = Gate()
    model = FakeModel(before=gate)
    async with running(tmp_path, model=model) as driver:
        await driver.command(f"/learn {book}")
        await driver.until(lambda: gate.waiting)
        await driver.press("escape")
        gate.open()
        await driver.sees("Nothing was saved")
        assert not list(driver.app.paths.saved_states.glob("*"))


async def test_a_second_task_waits_for_the_person(tmp_path: Path, book: Path):
    gate = Gate()
    async with running(tmp_path, model=FakeModel(before=gate)) as driver:
        await driver.command(f"/learn {book}")
        await driver.until(lambda: gate.waiting)
        for line in ("/refresh", "/state save early", "/tune", "/museum"):
            driver.screen.say("")
            await driver.command(line)
            await driver.sees("Something else is under way")
        gate.open()
        await driver.sees("Learnt book")


async def test_saved_states_are_listed_by_name_and_dropped_after_asking(tmp_path: Path, book: Path):
    async with learnt(tmp_path) as driver:
        await driver.command("/state list")
        await driver.sees("document")
        assert ".rwkvstate" not in driver.text()
        await driver.press("escape")
        await driver.command("/state drop lamp")
        await driver.sees("Delete the saved state lamp?")
        await driver.press("down", "enter")
        await driver.sees("Deleted the saved state lamp")
        assert not list(driver.app.paths.saved_states.glob("*"))


async def test_a_long_title_does_not_push_the_size_of_a_saved_state_off_the_list(tmp_path: Path):
    async with running(tmp_path, *TALK, size=(80, 24)) as driver:
        await driver.send("one")
        await driver.command(f"/rename {'a very long title of a chat ' * 3}")
        await driver.command("/state save sea")
        await driver.sees("Saved the state")
        await driver.command("/state list")
        await driver.until(lambda: re.search(r"sea .* tok .* k?B  a very long", driver.text()))


async def test_keeping_a_state_that_was_to_be_dropped_keeps_it(tmp_path: Path, book: Path):
    async with learnt(tmp_path) as driver:
        await driver.command("/state drop lamp")
        await driver.sees("Delete the saved state lamp?")
        await driver.press("enter")
        await driver.out_of_dialog()
        assert list(driver.app.paths.saved_states.glob("*"))


async def test_two_states_are_compared(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/state save early")
        await driver.sees("Saved the state")
        await driver.send("and more")
        await driver.command("/state diff early")
        await driver.sees("Tokens that moved it most")


async def test_what_is_recalled_is_shown_for_every_message(tmp_path: Path):
    async with running(tmp_path, *TALK) as driver:
        await driver.send("my word is kestrel")
        await driver.command("/recall")
        await driver.sees("What the state recalls")
        await driver.sees("my word is kestrel")


async def test_a_pin_is_seen_and_taken_back(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/state pin")
        await driver.sees("Pinned:")
        await driver.command("/state info")
        await driver.sees("/state unpin ends it")
        await driver.press("escape")
        await driver.command("/state unpin")
        await driver.sees("No longer pinned")


@pytest.mark.parametrize(
    "line", ["/state", "/state frobnicate", "/state diff", "/learn /no/such/file", "/state drop nothing"]
)
async def test_what_cannot_be_done_is_said_with_a_next_step(tmp_path: Path, line: str):
    async with running(tmp_path, *TALK) as driver:
        await driver.command(line)
        await driver.until(lambda: driver.screen.notice.has_class("-problem"))


async def test_words_and_names_are_offered_while_typing(tmp_path: Path, book: Path):
    async with learnt(tmp_path) as driver:
        await driver.type("/state ")
        await driver.sees("read the text again and compare")
        await driver.type("load ")
        await driver.sees("load lamp")


async def test_a_chat_is_replayed(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/replay")
        await driver.sees("No difference: 1 reply drawn again")


async def test_a_mix_opens_a_chat_and_a_chorus_makes_a_reply(tmp_path: Path):
    async with talked(tmp_path) as driver:
        await driver.command("/state save one")
        await driver.sees("Saved the state")
        await driver.command("/state chorus one")
        await driver.quiet()
        await driver.until(lambda: driver.session.node(driver.session.head).text)
        meta = driver.session.node(driver.session.head).meta
        assert meta
        assert meta.voices == ("one",)
        await driver.command("/state mix one one 0")
        await driver.sees("A chat on the mixed state")
        assert driver.session.title == "1 of one, 0 of one"


@pytest.mark.parametrize(
    "line", ["/state mix one", "/state mix one two three", "/state chorus", "/state chorus none"]
)
async def test_what_cannot_be_mixed_is_said(tmp_path: Path, line: str):
    async with talked(tmp_path) as driver:
        await driver.command(line)
        await driver.until(lambda: driver.screen.notice.has_class("-problem"))
