"""Verbs about states: save, open, look at, compare, read again, documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.errors import BadValue
from chatrwkv.text import format_bytes, safe_file_name, sanitise_name
from chatrwkv.tui.screens.dialogs import PageDialog, PathDialog, as_path
from chatrwkv.tui.verbs_files import free_path, in_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from chatrwkv.tui.screens.core import ChatCore


async def state(screen: ChatCore, argument: str) -> None:
    """Save, load or look at a state file."""
    what, _, rest = argument.partition(" ")
    verbs = {"save": _save_state, "load": _load_state, "info": _state_info}
    if what not in verbs:
        raise BadValue(
            f"/state {sanitise_name(what)} is not known." if what else "/state needs a word.",
            hint="/state save, /state load or /state info.",
        )
    await verbs[what](screen, rest.strip())


async def _save_state(screen: ChatCore, argument: str) -> None:
    session = screen.session
    assert session is not None
    node_id = screen.target
    folder = screen.workspace.paths.saved_states
    proposed = free_path(folder / f"{safe_file_name(session.title, default='chat')}.rwkvstate")
    path = (
        as_path(argument)
        if argument
        else await screen.app.ask_path(PathDialog("Save the state to", proposed))
    )
    if path is None:
        return
    if not path.suffix:
        path = path.with_suffix(".rwkvstate")
    if not path.is_absolute():
        path = folder / path

    def saved(_: object) -> None:
        screen.say(f"Saved the state to {path}.")

    screen.app.follow_task("saving", session.save_state(path, node_id), saved)


async def _load_state(screen: ChatCore, argument: str) -> None:
    path = as_path(argument) if argument else None
    if path is None:
        known = [
            (
                str(entry.path),
                entry.problem
                or f"{sanitise_name(entry.title)}  {entry.info.n_tokens if entry.info else 0:,} tokens",
            )
            for entry in screen.workspace.states()
        ]
        if known:
            chosen = await screen.app.choose("Saved states", known, "", takes_path=True)
            path = as_path(chosen) if chosen else None
        else:
            folder = screen.workspace.paths.saved_states
            path = await screen.app.ask_path(PathDialog("Load a state from", folder / "", must_exist=True))
    if path is None:
        return
    session = screen.workspace.load_state(_state_file(screen, path))
    await screen.show_chat(session)
    screen.say("This chat goes on from the file; nothing has to be read again.")


async def _state_info(screen: ChatCore, argument: str) -> None:
    from chatrwkv.engine import peek_state

    path = as_path(argument) if argument else None
    if path is None:
        path = await screen.app.ask_path(
            PathDialog("Look at the state file", screen.workspace.paths.saved_states / "", must_exist=True)
        )
    if path is None:
        return
    path = _state_file(screen, path)
    info = peek_state(path)
    loaded = screen.workspace.model
    fits = "yes" if loaded and loaded.fingerprint == info.fingerprint else "no, load the model it names first"
    rows = [
        ("file", str(path)), ("chat", info.metadata.get("title", "") or "–"), ("model", info.model or "–"),
        ("fits the model here", fits), ("tokens read", f"{info.n_tokens:,}"),
        ("size", format_bytes(info.n_bytes)), ("made", info.created or "–"), ("fingerprint", info.fingerprint[:16]),
    ]  # fmt: skip
    screen.app.push_screen(PageDialog("State file", rows))


def _state_file(screen: ChatCore, path: Path) -> Path:
    """The state meant by a path or by the bare name it was saved under."""
    found = in_folder(screen.workspace.paths.saved_states, path)
    return (
        found
        if found.exists() or found.suffix == ".rwkvstate"
        else found.with_name(f"{found.name}.rwkvstate")
    )


STATE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {"state": state}


def state_choices(_: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow these commands."""
    if kind == "state":
        return [
            ("save", "write it to a file"),
            ("load", "a new chat from a file"),
            ("info", "what a file holds"),
        ]
    return ()
