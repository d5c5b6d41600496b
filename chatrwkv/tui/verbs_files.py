"""Verbs about files and models: load, export, where things are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.export import WRITERS, write_file
from chatrwkv.errors import BadValue
from chatrwkv.text import format_bytes, safe_file_name, sanitise_name
from chatrwkv.tui.demands import open_session
from chatrwkv.tui.screens.dialogs import ConfirmDialog, PageDialog, PathDialog, as_path
from chatrwkv.tui.screens.models import ModelChoice, ModelsScreen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from chatrwkv.chat.catalog import ModelEntry
    from chatrwkv.tui.screens.core import ChatCore

_GROUPS = {
    "builtin": "Built in",
    "museum": "Museum",
    "models": "Models folder",
    "folder": "Other folders",
    "path": "Files",
}
_FORMATS = {"md": "Markdown", "json": "the whole tree, to be read back", "txt": "plain text"}


async def model(screen: ChatCore, argument: str) -> None:
    """Choose the model."""
    ref = argument
    if not ref:
        loaded = screen.workspace.model
        path = loaded.path if loaded else ""
        found = [_choice(entry, path) for entry in screen.workspace.models()]
        folders = [str(screen.workspace.paths.models), *screen.workspace.settings.model.folders]
        ref = await screen.app.ask(ModelsScreen(found, folders)) or ""
    if ref:
        screen.app.start_load(ref)


async def cpu(screen: ChatCore, _: str) -> None:
    """Load the model again on the CPU."""
    loaded = screen.workspace.model
    if loaded is None:
        raise BadValue("No model is loaded.", hint="/model chooses one.")
    if loaded.device == "cpu":
        screen.say(f"{sanitise_name(loaded.name)} is on the CPU.")
        return
    screen.app.start_load(loaded.path, device="cpu", dtype="auto")


async def offer_cpu(screen: ChatCore) -> None:
    """The device of the model stopped answering: ask whether to go on without it."""
    loaded = screen.workspace.model
    if loaded is None or loaded.device == "cpu" or screen.app.screen is not screen:
        return  # several replies may have failed: one question is enough
    words = (
        f"{loaded.device} stopped answering; what was written is kept. {sanitise_name(loaded.name)} can be"
        " loaded on the CPU, where it is slower; /cpu does it later. The device can be used again when the"
        " program is started again."
    )
    if await screen.app.ask(ConfirmDialog("Go on with the CPU?", words)):
        await screen.run_command("cpu")


def _choice(entry: ModelEntry, loaded_path: str) -> ModelChoice:
    return ModelChoice(
        ref=str(entry.path),
        name=entry.name,
        detail=entry.problem or (entry.family if entry.family != "builtin" else ""),
        n_bytes=entry.size_bytes,
        group=_GROUPS.get(entry.source, entry.source),
        is_loaded=loaded_path.startswith(str(entry.path)),
    )


async def export(screen: ChatCore, argument: str) -> None:
    """Write the chat to a file."""
    session = open_session(screen)
    if not session.path():
        raise BadValue("This chat is empty; there is nothing to export.", hint="Write a message first.")
    word, _, rest = argument.partition(" ")
    kind, name = (word, rest.strip()) if word in _FORMATS else ("", argument)
    path = as_path(name) if name else None
    if path is None:
        default = f"{safe_file_name(session.title)}.{kind or 'md'}"
        proposed = free_path(screen.workspace.paths.exports / default)
        path = await screen.app.ask_path(PathDialog("Export to (.md, .json or .txt)", proposed))
        if path is None:
            return
        overwrite = True  # the dialog said so
    else:
        path, overwrite = in_folder(screen.workspace.paths.exports, path), False
    kind = kind or path.suffix.lstrip(".")
    if kind not in WRITERS:
        raise BadValue(f"{path.name} has no format of ours.", hint="End it with .md, .json or .txt.")
    if path.exists() and not overwrite:
        raise BadValue(
            f"{path} exists already.", hint="Choose another name; /export alone asks, and can replace it."
        )
    from chatrwkv.paths import private_dir

    if path.parent == screen.workspace.paths.exports:
        private_dir(path.parent)
    # The JSON holds what was likely at each token, which the open chat does not.
    conversation = screen.workspace.whole(session.id) if kind == "json" else session.conversation
    write_file(path, WRITERS[kind](conversation), force=overwrite)
    screen.say(f"Wrote {path}.")


async def import_(screen: ChatCore, argument: str) -> None:
    """Add the chats of a file."""
    folder = screen.workspace.paths.exports
    path = as_path(argument) if argument else None
    if path is None:
        path = await screen.app.ask_path(PathDialog("Import the chats of", folder / "", must_exist=True))
        if path is None:
            return
    # A file of years takes seconds, and the interface goes on meanwhile.
    session = open_session(screen)
    made = await asyncio.to_thread(screen.workspace.import_file, in_folder(folder, path), undo_in=session.id)
    await screen.show_chat(screen.workspace.open_chat(made[0]))
    n = len(made)
    what = "the chat" if n == 1 else f"{n:,} chats; ctrl+s lists them. This is the first"
    screen.say(
        f"Imported {what}. Nothing is read before you write; /undo takes {'it' if n == 1 else 'them'} away."
    )


async def paths(screen: ChatCore, _: str) -> None:
    """Where the files are."""
    own = screen.workspace.paths
    rows = [
        ("settings", str(own.config_file)), ("own templates", str(own.user_prompts)), ("chats", str(own.database)),
        ("models", str(own.models)), ("saved states", str(own.saved_states)), ("states", str(own.states)),
        ("exports", str(own.exports)), ("backups", str(own.backups)), ("log", str(own.log_file)),
    ]  # fmt: skip
    screen.app.push_screen(PageDialog("Where the files are", rows))


FILE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {
    "model": model,
    "cpu": cpu,
    "export": export,
    "import": import_,
    "paths": paths,
}


def file_choices(screen: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow these commands."""
    if kind == "models":
        return [
            (sanitise_name(entry.name), format_bytes(entry.size_bytes)) for entry in screen.workspace.models()
        ]
    if kind == "export":
        return list(_FORMATS.items())
    return ()


def in_folder(folder: Path, path: Path) -> Path:
    """A bare name is meant in its own folder; anything with a folder is taken as it is."""
    return folder / path if path.parent == Path() and not path.exists() else path.absolute()


def free_path(path: Path) -> Path:
    """The path, or the first numbered one that is not taken."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem} {number}{path.suffix}")
    return found
