"""Verbs about learning: a state tuned on examples or on the replies that were kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from chatrwkv.errors import BadValue
from chatrwkv.text import safe_file_name
from chatrwkv.tui.screens.dialogs import as_path
from chatrwkv.tui.verbs_files import free_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from chatrwkv.engine import Tuned
    from chatrwkv.tui.screens.core import ChatCore


async def tune(screen: ChatCore, argument: str) -> None:
    """Train the state that a chat begins with."""
    from chatrwkv.chat.lessons import lessons_of, read_lessons, tuning
    from chatrwkv.paths import private_dir

    session, workspace = screen.session, screen.workspace
    assert session is not None
    if workspace.model is None:
        raise BadValue("There is no model to tune yet.", hint="Wait until one is loaded, or choose one.")
    if screen.app.side_task is not None:
        raise BadValue("Something else is under way.", hint="Wait for it, or stop it with esc.")
    if argument:
        source = as_path(argument)
        lessons, name = read_lessons(source, session.template), source.stem
    else:
        lessons, name = lessons_of(session.conversation, session.template), session.title
    folder = private_dir(workspace.paths.saved_states)
    path = _place(folder / f"{safe_file_name(name, default='persona')}.pth")

    def tuned(result: object) -> None:
        screen.say(_told(cast("Tuned", result)), stays=True)

    screen.app.follow_task("tuning", workspace.engine.call(tuning(lessons, path)), tuned)
    n = len(lessons)
    screen.say(
        f"Learning from {n} example{'' if n == 1 else 's'}; you can go on writing. esc keeps the best so far."
    )


def _place(path: Path) -> Path:
    """Where a run that was stopped left its place, else a name that is free."""
    from chatrwkv.engine import progress_file

    return path if progress_file(path).exists() else free_path(path)


def _told(result: Tuned) -> str:
    """What came of it, in a line."""
    loss = f"loss {result.before:.2f} to {result.after:.2f} ({-100 * result.gain:+.0f} %)"
    if not result.is_complete:
        return (
            f"Stopped after {result.n_steps} steps, {loss}: the best is in {result.path.name}; /tune goes on."
        )
    return f"Learnt, {loss}. /state load {result.path.name} opens a chat with it."


TUNE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {"tune": tune}
