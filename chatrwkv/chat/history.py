"""The prompts that were sent, for the arrow keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatrwkv.chat.store import Store

_KEY = "prompt_history"
_MAX_LINES = 500


class PromptHistory:
    """Prompts, the oldest first; each one once, where it was sent last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lines: list[str] | None = None

    def lines(self) -> list[str]:
        """All of them."""
        if self._lines is None:
            self._lines = [str(line) for line in self._store.setting(_KEY, [])]
        return list(self._lines)

    def add(self, text: str) -> None:
        """Remember one."""
        lines = [line for line in self.lines() if line != text]
        self._lines = [*lines, text][-_MAX_LINES:]
        self._store.set_setting(_KEY, self._lines)
