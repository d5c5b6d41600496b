"""Where the person writes: grows to ten lines, keeps a history, never sends by accident.

A long paste becomes one mark in the text: a key press costs 4 ms in a short text and 370 in one of 100 kB,
and pasting 1 MB takes seven seconds (measured with Textual 8.2.8). The text comes back when it is sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from textual.widgets import TextArea

from chatrwkv.text import sanitise
from chatrwkv.tui import keys, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events
    from textual.binding import BindingType

_LONGEST_TYPED = 4_000
_MOST_LINES = 60
_MARK = re.compile(r"⟦pasted ([\d,]+) characters #(\d+)⟧")

LIST_KEYS = frozenset({"up", "down", "tab", "enter", "escape"})


class PromptArea(TextArea):
    """The prompt; see the module."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.PROMPT)

    def __init__(self) -> None:
        super().__init__(
            id="prompt",
            placeholder="ask, or / for commands",
            highlight_cursor_line=False,
            soft_wrap=True,
            tab_behavior="focus",
        )
        self.send_key = "enter"
        self.offers_key: Callable[[str], bool] = lambda _: False
        """Asked first about `LIST_KEYS`: whether the list of commands took the key."""
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
        self.load_text(self._shortened(_clean(text)))
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
        text = _clean(event.text)
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
        if await self._takes(event):
            event.stop()
            event.prevent_default()
        else:
            await super()._on_key(event)

    async def _takes(self, event: events.Key) -> bool:
        """Do at once what a key means here.

        Bindings would be looked at only after the event has climbed to the app, while letters are inserted
        at once: of "ab", left, "c" typed in a burst, the left would come last.
        """
        if event.key in LIST_KEYS and self.offers_key(event.key):
            return True
        if event.key in ("enter", "ctrl+j"):
            if (event.key == "enter") == (self.send_key == "enter"):
                self.action_submit()
            else:
                self.action_newline()
            return True
        if event.is_printable:
            return False
        active = self.screen.active_bindings.get(event.key)
        if active is None or active.node is not self:
            return False
        return await self.app.run_action(active.binding.action, self)

    def action_submit(self) -> None:
        """Hand the text to the screen; what cannot be sent comes back with `give_back`."""
        text = self.full_text
        if text.strip():
            self.empty()
            # Its own sender: a message that an ancestor seems to have sent does not bubble past that ancestor.
            self.post_message(messages.Submitted(text).set_sender(self))

    def give_back(self, text: str) -> None:
        """Put a text back that was not sent, before what was typed since."""
        self.put(text + self.full_text)

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


def _clean(text: str) -> str:
    """A long text made safe line by line: one bad character in 1 MB must not cost a look at every other.

    No escape sequence goes over the end of a line, so this equals cleaning the whole.
    """
    return "\n".join(sanitise(line) for line in text.replace("\r\n", "\n").split("\n"))
