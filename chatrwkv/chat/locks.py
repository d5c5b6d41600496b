"""Who has a chat open: one byte of a lock file a chat, let go by the system when a process dies."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

from chatrwkv.paths import private_dir

try:
    import fcntl
except ImportError:  # Windows: chats are not locked there; the revision check still keeps writes apart
    fcntl = None  # type: ignore[assignment] # absent there

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.tree import ChatId


class ChatLocks:
    """Advisory locks of this process. They belong to the process, so one file is opened once and stays open."""

    def __init__(self, path: Path) -> None:
        private_dir(path.parent)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._held: dict[ChatId, int] = {}

    def take(self, chat_id: ChatId) -> bool:
        """Whether the chat is ours now; False when another process has it open."""
        if chat_id not in self._held:
            try:
                self._lock(chat_id, take=True)
            except OSError:
                return False
            self._held[chat_id] = 0
        self._held[chat_id] += 1
        return True

    def give(self, chat_id: ChatId) -> None:
        """Let a chat go; as often as it was taken."""
        self._held[chat_id] -= 1
        if not self._held[chat_id]:
            del self._held[chat_id]
            self._lock(chat_id, take=False)

    def close(self) -> None:
        """Let everything go."""
        os.close(self._handle)

    def _lock(self, chat_id: ChatId, *, take: bool) -> None:
        if fcntl is not None:
            # 60 bits of its hash: a byte that no other chat means, far behind the end of an empty file.
            place = int(sha256(chat_id.encode()).hexdigest()[:15], 16)
            how = fcntl.LOCK_EX | fcntl.LOCK_NB if take else fcntl.LOCK_UN
            fcntl.lockf(self._handle, how, 1, place)
