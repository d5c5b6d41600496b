"""The real app in a real terminal over a fake engine: `python -m tests.e2e.fake_app DATA_DIR [KIND [SPEED]]`.

KIND says what the model says: `story` (default), `endless`, `escapes`; or what goes wrong: `stuck` (the event
loop hangs when it should quit), `no-torch` (the first screen says whether torch is loaded by then).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.options import AppOptions
from chatrwkv.config import Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from chatrwkv.tui.app import ChatApp, run_app
from tests.fakes import FakeModel, ScriptedModel, fake_loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.engine import LoadedModel

STORY = (
    " A fox named **Mia** lived beside an old mill.\n\n- she drank from the river\n- she greeted 三体\n",
    " She found a small silver key under the stone, and nobody knew what it opened.",
    "> The user wants more.\nLet me think about foxes and mills for a while.\n</think>\nIn a far land, another fox slept.",
)
# Clipboard, title, clear, alternate screen left, device control, application command, 8-bit forms.
PAYLOADS = (
    "\x1b]52;c;cGF5bG9hZA==\x07", "\x1b]0;pwned\x1b\\", "\x1b[2J", "\x1b[?1049l", "\x1bPq#0\x1b\\",
    "\x1b_Gpayload\x1b\\", "\x9b2J", "\x9d0;pwned\x9c", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "\x07",
)  # fmt: skip
ESCAPES = " begin " + "".join(f"<{payload}>" for payload in PAYLOADS) + " [/] [red [@click=app.quit]x[/] end"


class Stuck(ChatApp):
    """Its event loop hangs once a message was sent, as after a mistake of ours."""

    async def leave(self, code: int) -> None:
        while True:
            time.sleep(0.05)  # noqa: ASYNC251 -- the mistake that is played


class Candid(ChatApp):
    """Says on its first screen whether torch is loaded."""

    async def _begin(self) -> None:
        words = "torch is loaded" if "torch" in sys.modules else "torch is not loaded"
        await super()._begin()
        self.chat_screen.say(words, stays=True)


def main() -> int:
    root = Path(sys.argv[1])
    kind = sys.argv[2] if len(sys.argv) > 2 else "story"
    speed = float(sys.argv[3]) if len(sys.argv) > 3 else 200.0
    model_file = root / "models" / "fake.pth"
    model_file.parent.mkdir(parents=True, exist_ok=True)
    model_file.touch()
    own = {"stuck": Stuck, "no-torch": Candid}.get(kind)
    if own is not None:
        import chatrwkv.tui.app as module

        module.ChatApp = own  # type: ignore[misc] # the class that `run_app` makes
    engine = EngineThread(loader=_loader(kind, speed))
    paths = Paths(root / "config", root, root / "state", root / "cache")
    options = AppOptions(settings=Settings(), model=str(model_file))
    return run_app(options, engine=engine, paths=paths)


def _loader(kind: str, speed: float) -> Callable[..., LoadedModel]:
    """The model is made on the engine thread, which is where torch may be imported."""
    pause = 1 / speed

    def load(path: Path, **options: Any) -> LoadedModel:
        def wait() -> None:
            time.sleep(pause)

        texts = {"escapes": (ESCAPES,), "endless": ()}.get(kind, STORY)
        model = ScriptedModel(*texts, before=wait) if texts else FakeModel(before=wait)
        return fake_loader(model)(path, **options)

    return load


if __name__ == "__main__":
    sys.exit(main())
