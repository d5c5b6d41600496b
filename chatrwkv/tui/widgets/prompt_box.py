"""The prompt with its rule above it and the list of commands over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal, Vertical
from textual.widgets import Static, TextArea

from chatrwkv.tui.commands import offers
from chatrwkv.tui.widgets.prompt import PromptArea
from chatrwkv.tui.widgets.slash_list import SlashList
from chatrwkv.tui.widgets.status import Seam

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from chatrwkv.tui.commands import Offer
    from chatrwkv.tui.widgets.rows import RowList

# Longer than any command line; a text this long is not one, and looking at it at every key would cost.
_LONGEST_LINE = 300


class PromptBox(Vertical):
    """See the module.

    Args:
        choices: the values that can follow a command, with a word on each.
    """

    def __init__(self, choices: Callable[[str], Sequence[tuple[str, str]]]) -> None:
        super().__init__(id="prompt-box")
        self._choices = choices
        self._offers: list[Offer] = []
        self._dismissed = ""
        self.slash = SlashList(widget_id="slash")
        self.prompt = PromptArea()
        self.prompt.offers_key = self._offers_key

    def compose(self) -> ComposeResult:
        """List, rule, prompt."""
        yield self.slash
        yield Seam("─", "prompt-seam")
        with Horizontal(id="prompt-row"):
            yield Static(">", id="prompt-mark")
            yield self.prompt

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._look()

    def _look(self) -> None:
        """Offer what fits the text as it is now."""
        text = self.prompt.text if self.prompt.document.line_count == 1 else ""
        if text != self._dismissed:
            self._dismissed = ""
        is_command = text.startswith("/") and len(text) <= _LONGEST_LINE and not self._dismissed
        found = offers(text, self._choices) if is_command else []
        if found != self._offers:
            self._offers = found
            self.slash.show(found)

    @property
    def is_offering(self) -> bool:
        """Whether the list is open."""
        return bool(self._offers)

    def close_list(self) -> None:
        """Hide the list until the text changes."""
        self._dismissed = self.prompt.text
        self._look()

    def _offers_key(self, key: str) -> bool:
        self._look()  # the message about the last letter may still be on its way
        if not self._offers:
            return False
        if key in ("up", "down"):
            self.slash.step(-1 if key == "up" else 1)
        elif key == "escape":
            self.close_list()
        else:
            self._take(self.slash.cursor_key, run=key == "enter")
        return True

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """A click takes the command."""
        event.stop()
        self._take(event.key, run=True)
        self.prompt.focus()

    def _take(self, text: str, *, run: bool) -> None:
        offer = next((offer for offer in self._offers if offer.text == text), None)
        if offer is None:
            self.close_list()
            if run:
                self.prompt.action_submit()
        elif run and offer.is_whole:
            self.prompt.put(offer.text)
            self.close_list()
            self.prompt.action_submit()
        else:
            self.prompt.put(offer.text if offer.text.endswith(" ") or run else f"{offer.text} ")
