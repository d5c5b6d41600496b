"""Pictures of the screens at both sizes; look at each change before taking it over with `--snapshot-update`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import textual

from chatrwkv.chat.tree import Conversation, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.chat.vault import Vault, VaultUsage
from chatrwkv.commands.options import AppOptions
from chatrwkv.config import InterfaceSettings, Settings
from chatrwkv.engine import EngineThread
from chatrwkv.engine.events import GenerationStats
from chatrwkv.engine.params import SamplingParams
from chatrwkv.paths import Paths
from chatrwkv.tui import status_of
from chatrwkv.tui.app import ChatApp
from tests.fakes import Gate, ScriptedModel, fake_loader
from tests.tui.driver import NOW, Driver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

pytestmark = pytest.mark.skipif(textual.__version__ != "8.2.8", reason="pictures of Textual 8.2.8")

SIZES = [(120, 40), (80, 24)]
both = pytest.mark.parametrize("size", SIZES, ids=["120x40", "80x24"])

FOX = """A fox named **Mia** lived beside an old mill. Every morning she

1. drank from the river,
2. greeted 三体 and her `neighbours`.

```python
def fox(name):
    return f"hello {name}"
```

| day | found |
|-----|-------|
| one | a key |
"""


def fox_chat() -> Conversation:
    stats = GenerationStats(prompt_tokens=31, reply_tokens=312, prefill_s=0.4, decode_s=4.0)
    thinking = ReplyMeta("rwkv7-g1d-0.4b", "f" * 64, "g1-chat", "think", SamplingParams(), 7, "end", stats)

    conversation = Conversation.start("The fox and the mill", template="g1-chat")

    def add(parent: str, role: Role, text: str, **more: Any) -> str:
        nonlocal conversation
        meta = thinking if "</think>" in text else replace(thinking, thinking="off")
        node = new_node(parent, role, text, meta=meta if role is Role.ASSISTANT else None, **more)
        conversation = conversation.with_node(node)
        return node.id

    ask = add(conversation.root, Role.USER, "Tell me a story about a fox.")
    add(ask, Role.ASSISTANT, "Once upon a time, a fox slept.")
    told = add(ask, Role.ASSISTANT, f">\nThe user wants a story.\n</think>\n{FOX}")
    add(ask, Role.ASSISTANT, "In a far land another fox slept.")
    then = add(told, Role.USER, "What did she find?")
    add(then, Role.ASSISTANT, "A door.", name="the door")
    last = add(then, Role.ASSISTANT, "She found a small silver key under the", status=NodeStatus.STOPPED)
    return conversation.with_head(last)


class Studio:
    """Makes the app and what is done before the picture is taken."""

    def __init__(self, tmp_path: Path, compare: Callable[..., bool]) -> None:
        self.tmp_path = tmp_path
        self.compare = compare
        self.engines: list[EngineThread] = []
        self.gates: list[Gate] = []

    def take(
        self,
        size: tuple[int, int],
        before: Callable[[Driver], Awaitable[None]],
        *,
        theme: str = "chatrwkv-dark",
        loader: fake_loader | None = None,
    ) -> None:
        models = self.tmp_path / "models"
        models.mkdir(exist_ok=True)
        for name, n_bytes in (("rwkv7-g1d-0.4b", 900), ("rwkv7-g1d-1.5b", 3000), ("三体-world", 1_500_000)):
            (models / f"{name}.pth").write_bytes(bytes(n_bytes))
        loader = loader or fake_loader(ScriptedModel("Hello."))
        engine = EngineThread(loader=loader)
        self.engines.append(engine)
        paths = Paths(
            self.tmp_path / "config", self.tmp_path, self.tmp_path / "state", self.tmp_path / "cache"
        )
        settings = Settings(interface=InterfaceSettings(theme=theme))
        options = AppOptions(settings=settings, model=str(models / "rwkv7-g1d-0.4b.pth"))
        app = ChatApp(options, engine, paths, clock=lambda: NOW)

        async def run_before(pilot: Pilot[int]) -> None:
            driver = Driver(app, pilot, loader)
            driver.screen.prompt.cursor_blink = False
            await driver.ready()
            await before(driver)
            await pilot.pause()

        assert self.compare(app, terminal_size=size, run_before=run_before)


@pytest.fixture
def studio(
    tmp_path: Path, snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Studio]:
    monkeypatch.setattr(status_of, "_speed", lambda _: 78.0)
    usage = VaultUsage(ram_bytes=312_000_000, budget=512_000_000, n_ram=6, n_disk=20, disk_bytes=800_000_000)
    monkeypatch.setattr(Vault, "usage", lambda _: usage)
    made = Studio(tmp_path, snap_compare)
    yield made
    for gate in made.gates:
        gate.open()
    for engine in made.engines:
        engine.close(5.0)


async def show_fox(app: Driver) -> None:
    workspace = app.app.workspace
    for title in ("State of the union", "三体问答"):
        workspace.import_chat(Conversation.start(title))
    await app.screen.show_chat(workspace.import_chat(fox_chat()))
    await app.quiet()


def keys(*pressed: str) -> Callable[[Driver], Awaitable[None]]:
    async def before(app: Driver) -> None:
        await show_fox(app)
        for key in pressed:
            await app.press(key)
        await app.pilot.pause()

    return before


@both
def test_empty_chat(studio: Studio, size: tuple[int, int]):
    async def nothing(_: Driver) -> None:
        return

    studio.take(size, nothing)


@both
def test_chat(studio: Studio, size: tuple[int, int]):
    studio.take(size, show_fox)


@both
def test_message_in_focus(studio: Studio, size: tuple[int, int]):
    studio.take(size, keys("alt+up"))


@both
def test_commands(studio: Studio, size: tuple[int, int]):
    async def before(app: Driver) -> None:
        await show_fox(app)
        await app.type("/st")
        await app.until(lambda: app.screen.prompt_box.slash.display)

    studio.take(size, before)


@both
def test_models(studio: Studio, size: tuple[int, int]):
    studio.take(size, keys("ctrl+l"))


@both
def test_sampling(studio: Studio, size: tuple[int, int]):
    studio.take(size, keys("f2"))


@both
def test_help(studio: Studio, size: tuple[int, int]):
    studio.take(size, keys("f1"))


@both
def test_streaming_and_a_notice(studio: Studio, size: tuple[int, int]):
    gate = Gate()

    async def before(app: Driver) -> None:
        await show_fox(app)
        await app.type("And then?")
        await app.press("enter")
        gate.allow(30)
        await app.until(lambda: gate.waiting and gate.n_passed == 30 and "▎The key opened" in app.text())
        app.screen.say(
            "A reply here is still being written. Stop it with esc, or wait for its end.", is_problem=True
        )
        reply = app.session.replies[0]
        n_tokens = app.session.n_tokens() + reply.view.n_tokens
        await app.until(lambda: app.screen.title_line.status.n_tokens == n_tokens)
        # The text is saved, and with it the tree, after a second.
        await app.until(lambda: app.session.node(app.session.head).text)
        app.screen.refresh_margins()
        await app.until(lambda: size == (80, 24) or "● The key" in app.text())
        await app.until(lambda: "The key opened nothing at" in app.text())
        studio.gates.append(gate)

    story = "The key opened nothing at all, said the " + "very " * 400 + "old miller."
    studio.take(size, before, loader=fake_loader(ScriptedModel(story, before=gate)))


@pytest.mark.parametrize("theme", ["chatrwkv-light", "ansi-dark"])
def test_themes(studio: Studio, theme: str):
    studio.take((120, 40), keys("alt+up"), theme=theme)


def test_without_colour(studio: Studio, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    studio.take((80, 24), keys("alt+up"))


@pytest.mark.parametrize("panel", ["ctrl+s", "ctrl+t"])
def test_overlays(studio: Studio, panel: str):
    studio.take((80, 24), keys(panel))


def test_minimal(studio: Studio):
    studio.take((50, 15), show_fox)
