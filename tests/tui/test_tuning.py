"""/tune and /museum in the app: the screen stays alive, esc keeps the best, kept replies are lessons."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from chatrwkv import paths
from chatrwkv.chat import museum
from chatrwkv.engine import load_model, progress_file
from tests.fakes import WAIT_S
from tests.tui import driver
from tests.tui.driver import running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes import fake_loader

pytestmark = pytest.mark.timeout(400)
SPROUT = paths.bundled_models() / "sprout"
REAL = cast("fake_loader", load_model)


@pytest.fixture(autouse=True)
def long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real model is trained here: 5 s on an idle machine, 20 and more beside other tests."""
    monkeypatch.setattr(driver, "WAIT_S", 120.0)


def examples(folder: Path, n: int) -> Path:
    path = folder / "style.jsonl"
    rows = [{"turns": [["user", f"Hello {i}"], ["assistant", "Arr, matey!"]]} for i in range(n)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


async def test_a_file_of_examples_becomes_a_persona(tmp_path: Path):
    """The file is named, and opens a chat; the losses while it learns are looked at below, where it takes longer."""
    async with running(tmp_path, loader=REAL, model_path=str(SPROUT)) as app:
        await app.type(f"/tune {examples(tmp_path, 12)}")
        await app.press("enter")
        await app.sees("/state load style.pth")
        assert (tmp_path / "saved" / "style.pth").is_file()
        await app.type("/state load style.pth")
        await app.press("enter")
        await app.until(lambda: app.session.title == "style")
        await app.send("Hello 3")
        assert app.answers()[-1].startswith("Arr")


async def test_the_replies_kept_in_a_chat_are_lessons(tmp_path: Path):
    async with running(tmp_path, loader=REAL, model_path=str(SPROUT)) as app:
        await app.send("Hello")
        await app.type("/tune")
        await app.press("enter")
        await app.sees("/state load Hello.pth")


async def test_escape_keeps_the_best_and_the_same_command_goes_on(tmp_path: Path):
    async with running(tmp_path, loader=REAL, model_path=str(SPROUT)) as app:
        line = f"/tune {examples(tmp_path, 40)}"
        await app.type(line)
        await app.press("enter")
        await app.sees("tuning: loss")
        await app.press("escape")
        await app.sees("/tune goes on")
        file = tmp_path / "saved" / "style.pth"
        assert file.is_file()
        assert progress_file(file).is_file()
        await app.until(lambda: not app.app.is_loading and "tuning: loss" not in app.text())
        await app.type(line)
        await app.press("enter")
        await app.sees("tuning: loss")
        await app.press("escape")
        await app.sees("/tune goes on")
        assert [p.name for p in (tmp_path / "saved").glob("*.pth")] == ["style.pth"]


async def test_a_chat_without_replies_has_nothing_to_teach(tmp_path: Path):
    async with running(tmp_path) as app:
        await app.type("/tune")
        await app.press("enter")
        await app.sees("no whole reply")


async def test_the_museum_shows_what_every_generation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The loaded model stays; the page comes when all have answered, here two of them."""
    found, visiting, has_been_seen = museum.exhibits(), museum.visiting, threading.Event()

    def held(*args: Any) -> Callable[..., Any]:
        """The visit, which waits until the screen has shown how far it is."""

        def visit(loaded: Any, cancelled: Any, progress: Callable[[int, int, str], None]) -> Any:
            def told(done: int, total: int, what: str) -> None:
                progress(done, total, what)
                has_been_seen.wait(WAIT_S)

            return visiting(*args)(loaded, cancelled, told)

        return visit

    monkeypatch.setattr(museum, "exhibits", lambda: [found[0], found[3]])
    monkeypatch.setattr(museum, "visiting", held)
    async with running(tmp_path) as app:
        await app.type("/museum Hello!")
        await app.press("enter")
        await app.sees("asking museum-")
        has_been_seen.set()
        await app.sees("Museum: Hello!")
        for words in ("RWKV-1", "RWKV-4", "bits a byte of unseen text", "tok/s"):
            assert words in app.text()
        await app.press("escape")
        assert app.app.workspace.model
        assert app.app.workspace.model.name == "fake"
