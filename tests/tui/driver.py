"""The real app over a fake engine, driven as a person does: keys in, conditions awaited, text read back."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from textual import events
from textual.keys import _character_to_key

from chatrwkv.commands.options import AppOptions
from chatrwkv.config import Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from chatrwkv.tui.app import ChatApp
from tests.fakes import WAIT_S, FakeModel, ScriptedModel, fake_loader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from textual.pilot import Pilot

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.engine import Job
    from chatrwkv.tui.screens.chat import ChatScreen
    from chatrwkv.tui.widgets.message import MessageView

NOW = 1_732_185_600.0  # 2024-11-21 10:40 UTC, a Thursday


class Driver:
    """What tests say and ask."""

    def __init__(self, app: ChatApp, pilot: Pilot[int], loader: fake_loader) -> None:
        self.app = app
        self.pilot = pilot
        self.loader = loader

    @property
    def screen(self) -> ChatScreen:
        return self.app.chat_screen

    @property
    def session(self) -> ChatSession:
        assert self.screen.session is not None
        return self.screen.session

    @property
    def views(self) -> list[MessageView]:
        return self.screen.transcript.views

    async def until(self, predicate: Callable[[], object]) -> None:
        """Let the app work until `predicate()` is true."""
        deadline = time.monotonic() + WAIT_S
        while not predicate():
            assert time.monotonic() < deadline, f"waited too long; the screen is\n{self.text()}"
            await self.pilot.pause(0.005)

    async def sees(self, words: str) -> None:
        """Wait until `words` stand on the screen."""
        await self.until(lambda: words in self.text())

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Type a text, key by key; `Pilot.press` would pause after each."""
        for char in text:
            self.app.post_message(events.Key(_character_to_key(char), char))
        await self.pilot.pause()

    async def command(self, line: str) -> None:
        """Type a command and run it; the list of offers is closed first, so that it takes no key."""
        await self.type(line)
        await self.until(lambda: self.screen.prompt.text == line)
        if self.screen.prompt_box.is_offering:  # else esc would stop what is under way
            await self.press("escape")
        await self.press("enter")
        await self.pilot.pause()

    async def in_dialog(self) -> None:
        """Wait until a dialog has the keys."""
        await self.until(lambda: self.app.screen is not self.screen)
        await self.pilot.pause()

    async def out_of_dialog(self) -> None:
        """Wait until every dialog is closed, and what follows from its answer has begun."""
        await self.until(lambda: self.app.screen is self.screen)
        await self.pilot.pause()

    async def ready(self) -> None:
        """A chat is open and the model is loaded."""
        await self.until(lambda: self.screen.session is not None and self.app.has_workspace)
        await self.until(lambda: self.app.workspace.model is not None and not self.app.is_loading)

    async def send(self, text: str) -> None:
        """Type and send a message; returns when its reply has ended and stands on the screen."""
        n = len(self.views)
        await self.type(text)
        await self.press("enter")
        await self.until(lambda: len(self.views) >= min(n + 2, 20) and self.session.path())
        await self.quiet()

    async def quiet(self) -> None:
        """No reply is being written, and what is shown is final."""
        await self.until(lambda: not self.screen.is_writing)
        await self.until(lambda: all(view.is_ready and not view.shown.is_streaming for view in self.views))
        await self.pilot.pause()

    def text(self) -> str:
        """The screen as lines of text."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return "\n".join(strip.text[:width].rstrip() for strip in strips[:height])

    def answers(self) -> list[str]:
        """The texts of the path."""
        return [node.text.strip() for node in self.session.path()]

    def jobs(self) -> list[Job[Any]]:
        return [reply.job for reply in self.session.replies]


@asynccontextmanager
async def running(
    tmp_path: Path,
    *texts: str,
    size: tuple[int, int] = (120, 40),
    model: FakeModel | None = None,
    loader: fake_loader | None = None,
    settings: Settings | None = None,
    wait: bool = True,
    model_path: str = "",
    **options: Any,
) -> AsyncIterator[Driver]:
    """Open the app over a model that says `texts`; everything is below `tmp_path`."""
    if loader is None:
        loader = fake_loader(model or ScriptedModel(*(texts or ("Hello there.",))))
    models = tmp_path / "models"
    models.mkdir(exist_ok=True)
    (models / "fake.pth").touch()
    paths = Paths(tmp_path / "config", tmp_path, tmp_path / "state", tmp_path / "cache")
    engine = EngineThread(loader=loader)
    options.setdefault("model", model_path or str(models / "fake.pth"))
    app = ChatApp(AppOptions(settings=settings or Settings(), **options), engine, paths, clock=time.time)
    try:
        async with app.run_test(size=size, notifications=True) as pilot:
            driver = Driver(app, pilot, loader)
            try:
                if wait:
                    await driver.ready()
                yield driver
            finally:
                await app.leave(0)
    finally:
        engine.close(5.0)
