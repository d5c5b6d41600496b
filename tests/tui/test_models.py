"""Models, state files, exports: what takes time says so, and what fails leaves everything as it was."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from chatrwkv.engine import NativeStatus, export_state
from chatrwkv.errors import ModelFormatError
from chatrwkv.tui.verbs import _runs_on
from tests.fakes import FakeModel, Gate, ScriptedModel, fake_loader
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_model_is_switched_in_a_running_chat(tmp_path: Path):
    """The text stays; the next reply is the other model's and reads everything anew."""
    async with running(tmp_path, loader=fake_loader()) as app:
        (tmp_path / "models" / "other.pth").touch()
        await app.type("hi")
        await app.press("enter")
        await app.until(lambda: app.session.replies and app.session.replies[0].view.n_tokens > 3)
        await app.press("escape")
        await app.quiet()
        await app.press("ctrl+l")
        await app.until(lambda: app.app.screen is not app.screen)
        await app.type("oth")
        await app.press("enter")
        await app.until(lambda: app.app.workspace.model and app.app.workspace.model.name == "other")
        await app.until(lambda: "other" in app.text().splitlines()[0])
        before = app.session.head
        await app.press("ctrl+r")
        await app.until(lambda: app.session.head != before)
        # a fast machine may have written all of it between two looks
        await app.until(lambda: not app.session.replies or app.session.replies[0].view.n_tokens > 3)
        await app.press("escape")
        await app.quiet()
        first, second = [app.session.node(i) for i in app.session.conversation.siblings(app.session.head)]
        assert first.meta
        assert second.meta
        assert (first.meta.model, second.meta.model) == ("fake", "other")
        assert second.meta.stats
        assert second.meta.stats.prompt_tokens > 0


async def test_a_model_that_fails_keeps_the_old_one(tmp_path: Path):
    """One plain sentence with the next step, and the chat goes on."""
    error = ModelFormatError("broken.pth is an HTML page.", hint="Download it again.")
    loader = fake_loader(ScriptedModel("Hello."), failures={"broken.pth": error})
    async with running(tmp_path, loader=loader) as app:
        (tmp_path / "models" / "broken.pth").touch()
        await app.type(f"/model {tmp_path / 'models' / 'broken.pth'}")
        await app.press("enter")
        await app.until(lambda: "broken.pth is an HTML page. Download it again." in app.text())
        assert app.app.workspace.model is not None
        assert app.app.workspace.model.name == "fake"
        await app.send("hi")
        assert app.answers() == ["hi", "Hello."]


async def test_a_model_that_does_not_exist_is_a_sentence(tmp_path: Path):
    """Any path may be typed, also a wrong one."""
    async with running(tmp_path) as app:
        await app.press("ctrl+l")
        await app.until(lambda: app.app.screen is not app.screen)
        await app.type("/no/such/model.pth")
        await app.press("enter")
        await app.until(lambda: "There is no file /no/such/model.pth." in app.text())
        assert app.app.workspace.model is not None


async def test_without_any_model_the_app_opens_and_says_what_to_do(tmp_path: Path):
    """The first ten minutes with a wrong setting."""
    async with running(tmp_path, model_path="/nowhere/x.pth", wait=False) as app:
        await app.until(lambda: app.screen.session is not None)
        await app.until(lambda: "There is no file /nowhere/x.pth." in app.text())
        await app.sees("no model: ctrl+l")
        await app.type("hi")
        await app.press("enter")
        await app.until(lambda: "ctrl+l" in app.text())
        assert app.app.is_running


async def test_loading_shows_progress_and_can_be_left_with_escape(tmp_path: Path):
    """What takes time says so, and esc works."""
    gate = Gate()
    async with running(tmp_path, loader=fake_loader(FakeModel(), gate=gate), wait=False) as app:
        await app.until(lambda: "loading fake" in app.text() and "50 %" in app.text())
        assert "esc stop" in app.text()
        gate.open()
        await app.ready()
        assert "loading" not in app.text()


async def test_a_state_is_saved_and_opened_as_a_chat(tmp_path: Path):
    """One file holds the conversation and its mind; a chat made from it prefills nothing old."""
    async with running(tmp_path, "One answer.") as app:
        await app.send("remember this")
        await app.type("/state save mind")
        await app.press("enter")
        file = tmp_path / "saved" / "mind.rwkvstate"
        await app.until(file.exists)
        await app.until(lambda: "Saved the state" in app.text())
        await app.press("ctrl+n")
        await app.until(lambda: not app.session.path())
        await app.type("/state load mind")
        await app.press("enter")
        await app.until(lambda: app.answers() == ["remember this", "One answer."])
        await app.send("more")
        meta = app.session.path()[-1].meta
        assert meta
        assert meta.stats
        assert meta.stats.prompt_tokens < 60


async def test_a_state_of_another_program_begins_a_chat(tmp_path: Path):
    """As `/state load FILE`; what does not fit is told and makes no chat."""
    model = FakeModel(end_rate=32)
    export_state(tmp_path / "theirs.pth", model.blank(), model.spec.generation, "package")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "theirs.pth").read_bytes()[:-40])
    async with running(tmp_path, loader=fake_loader(model)) as app:
        before = app.session.id
        await app.type(f"/state load {tmp_path / 'cut.pth'}")
        await app.press("enter")
        await app.until(lambda: app.screen.notice.has_class("-problem"))
        assert app.session.id == before
        await app.type(f"/state load {tmp_path / 'theirs.pth'}")
        await app.press("enter")
        await app.until(lambda: app.session.id != before)
        assert app.session.title == "theirs"
        await app.send("hello")
        assert app.answers()[0] == "hello"


async def test_the_app_opens_with_a_state_of_another_program(tmp_path: Path):
    """`chatrwkv --state FILE`: held against the model as soon as it is there."""
    model = FakeModel()
    export_state(tmp_path / "theirs.pth", model.blank(), model.spec.generation, "pth")
    async with running(tmp_path, loader=fake_loader(model), state=tmp_path / "theirs.pth") as app:
        await app.until(lambda: app.session.title == "theirs")
        assert app.session.conversation.nodes[app.session.conversation.root].base


async def test_the_save_dialog_proposes_a_free_name(tmp_path: Path):
    """`s` on a message, enter: no typing needed, nothing overwritten."""
    async with running(tmp_path) as app:
        await app.send("三体")
        for n in (1, 2):
            await app.press("alt+up", "s")
            await app.until(lambda: app.app.screen is not app.screen)
            await app.press("enter")
            await app.until(partial(_has_states, tmp_path, n))
            await app.until(lambda: app.app.side_task is None and app.app.screen is app.screen)


async def test_a_damaged_state_is_refused_with_the_reason(tmp_path: Path):
    """A flipped bit must not become a mind."""
    async with running(tmp_path) as app:
        await app.send("hi")
        await app.type("/state save mind")
        await app.press("enter")
        file = tmp_path / "saved" / "mind.rwkvstate"
        await app.until(file.exists)
        await app.until(lambda: app.app.side_task is None)
        damaged = bytearray(file.read_bytes())
        damaged[-10] ^= 1
        file.write_bytes(damaged)
        before = app.session.id
        await app.type("/state load mind.rwkvstate")
        await app.press("enter")
        await app.until(lambda: app.screen.notice.has_class("-problem"))
        assert app.session.id == before


async def test_a_chat_is_exported(tmp_path: Path):
    """Three formats; a name in Chinese is kept; an existing file is not replaced without a word."""
    async with running(tmp_path, "A fox.") as app:
        await app.send("三体")
        for name in ("a.md", "a.json", "a.txt"):
            await app.type(f"/export {name}")
            await app.press("enter")
            await app.until((tmp_path / "exports" / name).exists)
        assert "A fox." in (tmp_path / "exports" / "a.md").read_text(encoding="utf-8")
        await app.type("/export a.md")
        await app.press("enter")
        await app.until(lambda: "exists already" in app.text())
        assert "--force" not in app.text(), "an option of the command line, not of the app"
        await app.type("/export")
        await app.press("enter")
        await app.until(lambda: app.app.screen is not app.screen)
        await app.press("enter")
        await app.until((tmp_path / "exports" / "三体.md").exists)


async def test_the_pages_of_facts_open_and_close(tmp_path: Path):
    """/stats, /paths and F1 from the tables; esc closes."""
    async with running(tmp_path) as app:
        await app.send("hi")
        for command, words in (("/stats", "parameters"), ("/paths", "chats.db"), ("/help", "Keys here")):
            await app.type(command)
            await app.press("enter")
            await app.sees(words)
            await app.press("escape")
            await app.until(lambda: app.app.screen is app.screen)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (NativeStatus(is_available=True, isa="avx2", why_not=""), "cpu, int8, native code (avx2)"),
        (NativeStatus(is_building=True, why_not=""), "cpu, int8, torch; native code is being built"),
        (NativeStatus(why_not="No C++ compiler."), "cpu, int8, torch; no native code: No C++ compiler."),
    ],
)
async def test_the_page_of_facts_tells_whether_native_code_computes(
    tmp_path: Path, monkeypatch, status, words
):
    monkeypatch.setattr("chatrwkv.engine.native_status", lambda: status)
    async with running(tmp_path) as app:
        await app.send("hi")
        model = app.app.workspace.model
        assert model
        assert _runs_on(model) == f"{model.device}, {model.dtype}"
        assert _runs_on(replace(model, device="cpu", dtype="int8", has_native_path=True)) == words


async def test_why_native_code_does_not_serve_is_said_once(tmp_path: Path, monkeypatch):
    status = NativeStatus(why_not="No C++ compiler was found.", has_failed=True, log="Install g++.")
    monkeypatch.setattr("chatrwkv.engine.native_status", lambda: status)
    async with running(tmp_path) as app:
        await app.send("hi")
        model = app.app.workspace.model
        assert model
        words = "No C++ compiler"
        assert words not in app.text(), "nothing native could compute this one"
        monkeypatch.setattr(type(app.app.workspace), "model", replace(model, has_native_path=True))
        await app.sees(words)
        await app.send("again")
        await app.until(lambda: words not in app.text())


def _has_states(root: Path, n: int) -> bool:
    return len(list((root / "saved").glob("三体*.rwkvstate"))) == n
