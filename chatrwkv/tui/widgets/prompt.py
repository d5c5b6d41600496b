"""Where the person writes: grows to ten lines, keeps a history, never sends by accident.

A long paste becomes one mark in the text: a key press costs 4 ms in a short text and 370 in one of 100 kB,
and pasting 1 MB takes seven seconds (measured with Textual 8.2.8). The text comes back when it is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.message import Message
from textual.widgets import TextArea

from chatrwkv.text import sanitise
from chatrwkv.tui import keys, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.binding import BindingType

_LONGEST_TYPED = 4_000
_MOST_LINES = 60
_MARK = re.compile(r"⟦pasted ([\d,]+) characters #(\d+)⟧")

_NEWLINE_KEYS = frozenset({"ctrl+j", "shift+enter", "alt+enter"})


class PromptArea(TextArea):
    """The prompt; see the module."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.PROMPT)
    COMPONENT_CLASSES: ClassVar[set[str]] = {"prompt--unused"}

    @dataclass
    class ListKey(Message):
        """A key that belongs to the list of commands above the prompt."""

        key: str

    def __init__(self) -> None:
        super().__init__(
            id="prompt",
            placeholder="ask, or / for commands",
            highlight_cursor_line=False,
            soft_wrap=True,
            tab_behavior="focus",
        )
        self.send_key = "enter"
        self.list_is_open = False
        """Whether commands are offered; then up, down, tab and enter belong to them."""
        self._pasted: dict[int, str] = {}
        self._history: list[str] = []
        self._at: int | None = None
        self._draft = ""

    # -- text -----------------------------------------------------------------------------------------------

    @property
    def full_text(self) -> str:
        """What would be sent: the text with every pasted part in its place."""
        return _MARK.sub(lambda m: self._pasted.get(int(m[2]), m[0]), self.text)

    def put(self, text: str) -> None:
        """Replace the text; the cursor goes to its end."""
        self._pasted.clear()
        clean = sanitise(text)
        self.load_text(self._shortened(clean))
        self.move_cursor(self.document.end)

    def empty(self) -> None:
        """Clear the prompt after its text was taken."""
        self._pasted.clear()
        self._at = None
        self.load_text("")

    def _shortened(self, text: str) -> str:
        if len(text) <= _LONGEST_TYPED and text.count("\n") <= _MOST_LINES:
            return text
        number = max(self._pasted, default=0) + 1
        self._pasted[number] = text
        return f"⟦pasted {len(text):,} characters #{number}⟧"

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = sanitise(event.text)
        if len(self.text) + len(text) > 2 * _LONGEST_TYPED or len(text) > _LONGEST_TYPED:
            number = max(self._pasted, default=0) + 1
            self._pasted[number] = text
            text = f"⟦pasted {len(text):,} characters #{number}⟧"
        else:
            text = self._shortened(text)
        if result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)

    # -- keys -----------------------------------------------------------------------------------------------

    async def _on_key(self, event: events.Key) -> None:
        if self.list_is_open and event.key in ("up", "down", "tab", "enter", "escape"):
            event.stop()
            event.prevent_default()
            self.post_message(self.ListKey(event.key))
            return
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if self.send_key == "enter":
                self.action_submit()
            else:
                self.action_newline()
            return
        if event.key == "ctrl+j" and self.send_key == "ctrl+j":
            event.stop()
            event.prevent_default()
            self.action_submit()
            return
        await super()._on_key(event)

    def action_submit(self) -> None:
        """Hand the text to the screen, which empties the prompt once it has taken it."""
        if self.full_text.strip():
            # Its own sender: a message that an ancestor seems to have sent does not bubble past that ancestor.
            self.post_message(messages.Submitted(self.full_text).set_sender(self))

    def action_newline(self) -> None:
        """Begin a new line."""
        self._replace_via_keyboard("\n", *self.selection)

    def action_edge(self, step: int) -> None:
        """An arrow in the empty prompt walks through versions; else it moves the cursor."""
        if not self.text:
            self.post_message(messages.PromptEdged(step))
        elif step < 0:
            self.action_cursor_left()
        else:
            self.action_cursor_right()

    def action_recall(self, step: int) -> None:
        """Move the cursor a line; beyond the first or last line, through the history."""
        if step < 0 and not self.cursor_at_first_line:
            self.action_cursor_up()
        elif step > 0 and not self.cursor_at_last_line:
            self.action_cursor_down()
        elif self._history:
            self._recall(step)

    def _recall(self, step: int) -> None:
        at = len(self._history) if self._at is None else self._at
        new = max(0, min(len(self._history), at + step))
        if new == at:
            return
        if self._at is None:
            self._draft = self.full_text
        if new == len(self._history):
            self.put(self._draft)
            self._at = None
        else:
            self.put(self._history[new])
            self._at = new

    # -- history --------------------------------------------------------------------------------------------

    def set_history(self, texts: Sequence[str]) -> None:
        """What was sent before, oldest first."""
        self._history = list(texts)
        self._at = None

    def remember(self, text: str) -> None:
        """Add what was just sent; the same text twice in a row is kept once."""
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self._at = None
