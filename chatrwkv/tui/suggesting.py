"""A text that the model writes into the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatrwkv.chat.impersonate import Suggestion
    from chatrwkv.errors import ChatRWKVError
    from chatrwkv.tui.widgets.prompt import PromptArea


class Suggesting:
    """Puts a suggestion into the prompt as it grows; whoever types meanwhile has the prompt.

    Args:
        prompt: empty.
        suggestion: polled here.
    """

    def __init__(self, prompt: PromptArea, suggestion: Suggestion) -> None:
        self._prompt = prompt
        self._suggestion = suggestion
        self._put = prompt.text

    @property
    def error(self) -> ChatRWKVError | None:
        """Why it failed."""
        return self._suggestion.error

    def stop(self) -> None:
        """Stop at once; what is there stays."""
        self._suggestion.stop()

    def poll(self) -> bool:
        """Take what has come; whether more may come."""
        has_more = self._suggestion.poll()
        if self._prompt.text != self._put:
            self.stop()
            return False
        if has_more:
            self._prompt.put(self._suggestion.text)
            self._put = self._prompt.text
        return self._suggestion.is_running
