"""Verbs of long tasks beside the chat: a state tuned on examples, a visit to the museum."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from chatrwkv.text import format_bytes, safe_file_name, sanitise_name
from chatrwkv.tui.demands import loaded_model, open_session, refuse_second_task
from chatrwkv.tui.screens.dialogs import PageDialog, as_path
from chatrwkv.tui.verbs_files import free_path

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from chatrwkv.engine import Exhibit, Tuned
    from chatrwkv.tui.screens.core import ChatCore


async def tune(screen: ChatCore, argument: str) -> None:
    """Train the state that a chat begins with."""
    from chatrwkv.chat.lessons import lessons_of, read_lessons, tuning
    from chatrwkv.paths import private_dir

    session, workspace = open_session(screen), screen.workspace
    refuse_second_task(screen)
    loaded_model(screen)
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


async def museum(screen: ChatCore, argument: str) -> None:
    """Ask every generation the same."""
    from chatrwkv.chat.museum import PROMPT, visiting

    refuse_second_task(screen)
    loaded_model(screen)

    def seen(result: object) -> None:
        rows = [row for exhibit in cast("list[Exhibit]", result) for row in _shown(exhibit)]
        screen.app.push_screen(PageDialog(f"Museum: {sanitise_name(argument or PROMPT)}", rows))

    task = visiting(argument, screen.workspace.templates)
    screen.app.follow_task("asking", screen.workspace.engine.call(task), seen)


def _shown(exhibit: Exhibit) -> list[tuple[str, str]]:
    """One model as facts."""
    size = f"{exhibit.n_params / 1e6:.2f} M parameters, state {format_bytes(exhibit.state_bytes)}"
    return [
        (f"RWKV-{exhibit.generation}", ""),
        ("reply", exhibit.reply.replace("\n", " ") or "–"),
        ("loss", f"{exhibit.bits_per_byte:.2f} bits a byte of unseen text"),
        ("speed", f"{exhibit.tok_s:,.0f} tok/s"),
        ("size", size),
    ]


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


TUNE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {"museum": museum, "tune": tune}
