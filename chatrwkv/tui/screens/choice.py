"""One of a list, filtered by what is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.widgets import Input

from chatrwkv.text import sanitise_name
from chatrwkv.tui.commands import fits
from chatrwkv.tui.screens.dialogs import Dialog
from chatrwkv.tui.widgets.rows import LiveRows, Row, RowList, pad_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

_NAME_CELLS = 34


class ChoiceDialog(Dialog[str]):
    """Values with a word on each; gives back the value.

    Args:
        title: the heading.
        values: value and word.
        current: the one in use.
        takes_path: whether something that is not in the list may be given, as a path.
    """

    def __init__(
        self, title: str, values: Sequence[tuple[str, str]], current: str, *, takes_path: bool = False
    ) -> None:
        more = ", or type a path" if takes_path else ""
        super().__init__(title, hint=f"enter takes it{more}, esc leaves everything as it is")
        self._values = list(values)
        self._current = current
        self._takes_path = takes_path
        self.rows = LiveRows(classes="dialog-rows")

    def content(self) -> ComposeResult:
        """Filter and list."""
        yield Input(placeholder="type to find", compact=True, classes="dialog-input")
        yield self.rows

    def on_mount(self) -> None:
        """Show everything, with the cursor on the one in use."""
        super().on_mount()
        self._draw("")
        self.rows.move_to(self._current)

    def _draw(self, query: str) -> None:
        width = min(_NAME_CELLS, max((cell_len(value) for value, _ in self._values), default=0)) + 2
        rows = [
            Row(
                value,
                ((pad_cells(sanitise_name(value), width), ""), (sanitise_name(words), "muted")),
                is_current=value == self._current,
            )
            for value, words in self._values
            if fits(query, f"{value} {words}")
        ]
        self.rows.set_rows(rows or [Row("", ((" nothing fits", "muted"),))])

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter."""
        event.stop()
        self._draw(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the row under the cursor, or the path."""
        event.stop()
        if self.rows.cursor_key:
            self.dismiss(self.rows.cursor_key)
        elif self._takes_path and event.value.strip():
            self.dismiss(event.value.strip())

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """A click takes it."""
        event.stop()
        self.dismiss(event.key)

    def on_key(self, event: events.Key) -> None:
        """The arrows walk the list while the input has the focus."""
        if event.key in ("up", "down"):
            event.stop()
            self.rows.step(-1 if event.key == "up" else 1)
