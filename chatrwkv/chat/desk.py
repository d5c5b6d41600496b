"""What of a workspace needs no model and no open chat: files in and out, drafts, prompts sent, backups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.backup import backups_in, label_by_hand
from chatrwkv.chat.importing import read_chats
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.backup import DatabaseMoved
    from chatrwkv.chat.history import PromptHistory
    from chatrwkv.chat.store import Store
    from chatrwkv.chat.tree import ChatId, Conversation
    from chatrwkv.paths import Paths


class Desk:
    """See the module; `Workspace` makes it whole."""

    paths: Paths
    _store: Store
    _history: PromptHistory
    damage: DatabaseMoved | None

    def whole(self, chat_id: ChatId) -> Conversation:
        """A chat as it is stored, with what was likely at each token: for an export that loses nothing."""
        self._store.flush()
        return self._store.load(chat_id, with_records=True)[0]

    def import_file(self, path: Path, *, undo_in: ChatId = "") -> list[ChatId]:
        """Add the chats of a file, all of them or none, whichever program wrote it; may run on any thread.

        Args:
            path: the file.
            undo_in: the chat whose undo takes them away again; none unless given.

        Raises:
            StoreError: it holds no chat that is understood, or could not be saved.
        """
        chats = read_chats(path)
        self._store.create_chats(chats, undo_in=undo_in, label="import").result()
        return [chat.id for chat in chats]

    def draft(self, chat_id: ChatId) -> str:
        """What was typed there and not sent."""
        return self._store.draft(chat_id)

    def save_draft(self, chat_id: ChatId, text: str) -> None:
        """Keep what is typed."""
        self._store.save_draft(chat_id, text)

    def history(self) -> list[str]:
        """Prompts sent, the oldest first."""
        return self._history.lines()

    def add_history(self, text: str) -> None:
        """Remember a prompt."""
        self._history.add(text)

    @property
    def problem(self) -> StoreError | None:
        """Why the last write failed; None once one succeeded again."""
        return self._store.problem

    def integrity(self) -> list[str]:
        """What a thorough check of the database finds; empty is good."""
        return self._store.integrity()

    def restore_backup(self, backup: Path | None = None) -> int:
        """Bring back the chats of a backup, beside those that are there; returns how many came.

        Args:
            backup: the file; what `damage` offers unless given.

        Raises:
            StoreError: there is no backup, or it cannot be read.
        """
        offered = backup or (self.damage.backup if self.damage else None)
        if offered is None:
            raise StoreError("There is no backup to restore.", hint="Name a file of the backups folder.")
        return self._store.take_over(offered).result()

    def backups(self) -> list[Path]:
        """Copies of the database, the newest first."""
        return backups_in(self.paths.backups)

    def backup(self, label: str = "") -> Path:
        """Copy the database into the backups folder; from any thread. The date is its name unless labelled."""
        return self._store.backup(label or label_by_hand())
