"""Verbs about copies of all chats: make one, bring one back, and what is offered when the chats were damaged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chatrwkv.chat.portable import has_conversation
from chatrwkv.errors import BadValue, ChatRWKVError
from chatrwkv.text import format_bytes, sanitise_name
from chatrwkv.tui.demands import open_session
from chatrwkv.tui.screens.dialogs import as_path
from chatrwkv.tui.verbs_files import in_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from chatrwkv.chat.workspace import Workspace
    from chatrwkv.tui.screens.core import ChatCore


async def backup(screen: ChatCore, argument: str) -> None:
    """Copy all chats now, or bring the chats of a copy back."""
    word, _, name = argument.partition(" ")
    if word not in ("", "restore"):
        raise BadValue(
            f"/backup {sanitise_name(word)} is not known.",
            hint="/backup copies all chats, /backup restore brings a copy back.",
        )
    if not word:
        path = await asyncio.to_thread(screen.workspace.backup)
        screen.say(f"Copied all chats to {path}. /backup restore brings them back.")
    elif name.strip():
        await _restore(screen, _meant(screen.workspace.paths.backups, as_path(name.strip())))
    else:
        await _choose(screen, "Bring back the chats of a backup")


async def offer_after_damage(screen: ChatCore) -> None:
    """The chats were put aside because they were damaged: the newest backup is one key away."""
    try:
        await _choose(screen, "The chats were damaged; bring back a backup?")
    except ChatRWKVError as error:
        screen.say_error(error)
    screen.refresh_margins()


def words_after_damage(workspace: Workspace) -> str:
    """What happened to the chats and where their text still is; empty when they were whole."""
    damage = workspace.damage
    if damage is None:
        return ""
    words = [f"The chats were damaged; the file is now {damage.moved_to.name}."]
    if damage.backup is not None:
        words.append(f"/backup restore brings {damage.backup.name} back.")
    if n := sum(entry.info is not None and has_conversation(entry.info) for entry in workspace.states()):
        words.append(
            f"{n} saved state{' holds a' if n == 1 else 's hold'} conversation{'s' * (n > 1)}: /state list."
        )
    return " ".join(words)


async def _choose(screen: ChatCore, title: str) -> None:
    rows = _rows(screen.workspace)
    if not rows:
        raise BadValue(
            "There is no backup yet.", hint="/backup makes one now; one a day is made at the start."
        )
    damage = screen.workspace.damage
    whole = damage.backup.stem if damage and damage.backup else rows[0][0]
    chosen = await screen.app.choose(title, rows, whole, takes_path=True)
    if chosen:
        await _restore(screen, _meant(screen.workspace.paths.backups, as_path(chosen)))


async def _restore(screen: ChatCore, path: Path) -> None:
    n = await asyncio.to_thread(screen.workspace.restore_backup, path)
    open_session(screen).refresh()
    await screen.refresh_path()
    name = sanitise_name(path.stem)
    came = (
        f"Brought back {n:,} chat{'' if n == 1 else 's'} of {name}" if n else f"No chat of {name} was missing"
    )
    screen.say(f"{came}; what is here stays as it is. ctrl+s lists the chats.")


def _rows(workspace: Workspace) -> list[tuple[str, str]]:
    found = []
    for path in workspace.backups():
        about = path.stat()
        when = datetime.fromtimestamp(about.st_mtime, UTC).astimezone()
        found.append((path.stem, f"{when:%Y-%m-%d %H:%M}  {format_bytes(about.st_size)}"))
    return found


def _meant(folder: Path, path: Path) -> Path:
    """A name of the list, or a path."""
    found = in_folder(folder, path)
    return found if found.suffix == ".db" else found.with_name(f"{found.name}.db")


BACKUP_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {"backup": backup}


def backup_choices(screen: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow the command."""
    if kind == "backup":
        return [("restore", "bring the chats of a copy back, beside those that are here")]
    if kind == "backup restore":
        return [(f"restore {stem}", words) for stem, words in _rows(screen.workspace)]
    return ()
