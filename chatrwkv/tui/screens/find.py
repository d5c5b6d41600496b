"""Looking for a message: over all chats, or among rows that are given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual.widgets import Input

from chatrwkv.errors import ChatRWKVError
from chatrwkv.text import sanitise_name
from chatrwkv.tui import keys
from chatrwkv.tui.commands import fits
from chatrwkv.tui.screens.dialogs import Dialog
from chatrwkv.tui.widgets.rows import LiveRows, Row, RowList, pad_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.binding import BindingType

    from chatrwkv.chat.search import Hit

_TITLE_CELLS = 16
# A scan of 100,000 messages takes a tenth of a second, so it waits until the fingers rest.
_REST_S = 0.12


class RowsDialog(Dialog[str]):
    """A line to type in above rows that it chooses from; gives back the key of a row."""

    def __init__(self, title: str, *, query: str = "", hint: str) -> None:
        super().__init__(title, hint=hint)
        self._query = query
        self.rows = LiveRows(classes="dialog-rows")

    def content(self) -> ComposeResult:
        """Line and rows."""
        yield Input(self._query, placeholder="type to find", compact=True, classes="dialog-input")
        yield self.rows

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the row under the cursor."""
        event.stop()
        self.take()

    def take(self) -> None:
        """Give the row under the cursor back."""
        if self.rows.cursor_key:
            self.dismiss(self.rows.cursor_key)

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """A click takes it."""
        event.stop()
        self.dismiss(event.key)

    def on_key(self, event: events.Key) -> None:
        """The arrows walk the rows while the line has the focus."""
        steps = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
        if event.key in steps:
            event.stop()
            self.rows.step(steps[event.key])


class PickDialog(RowsDialog):
    """One of some rows, filtered by what is typed.

    Args:
        title: the heading.
        rows: all of them.
        current: the key that the cursor stands on first.
        empty: what is said where there is none.
    """

    def __init__(
        self, title: str, rows: Sequence[Row], *, current: str = "", empty: str = "nothing fits"
    ) -> None:
        super().__init__(title, hint="enter takes it, esc leaves everything as it is")
        self._all = rows
        self._current = current
        self._empty = empty

    def on_mount(self) -> None:
        """Show all."""
        super().on_mount()
        self._draw("")
        self.rows.move_to(self._current)

    def _draw(self, query: str) -> None:
        found = [
            row for row in self._all if fits(query, "".join(text for text, _ in (*row.left, *row.right)))
        ]
        self.rows.set_rows(found or [Row("", ((f" {self._empty}", "muted"),))])

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter."""
        event.stop()
        self._draw(event.value)


class FindDialog(RowsDialog):
    """Messages in which all words occur; gives back chat and message with a space between.

    Args:
        query: what is looked for first.
        search: the words, and whether only in the open chat; called on a thread.
    """

    BINDINGS: ClassVar[list[BindingType]] = list(keys.FIND)

    def __init__(self, query: str, search: Callable[[str, bool], Sequence[Hit]]) -> None:
        super().__init__(
            "Find in all chats", query=query, hint="enter goes there, tab: only this chat, esc closes"
        )
        self._search = search
        self._here = False
        self._looked_for: tuple[str, bool] | None = None
        self._n_looks = 0
        self.query_text = query

    def on_mount(self) -> None:
        """Look for what was given."""
        super().on_mount()
        self.look()

    def action_scope(self) -> None:
        """Between all chats and the open one."""
        self._here = not self._here
        where = "this chat" if self._here else "all chats"
        self.set_heading(f"Find in {where}")
        self.say(f"enter goes there, tab: {'all chats' if self._here else 'only this chat'}, esc closes")
        self.look()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Look for it, once the fingers rest."""
        event.stop()
        self.query_text = event.value
        self.look()

    def take(self) -> None:
        """Go to the row under the cursor; if it is of an older text, look first."""
        self.look(take=True)

    def look(self, *, take: bool = False) -> None:
        """Look for the text as it is now; what was begun before is dropped."""
        self._n_looks += 1
        self.run_worker(self._look(self._n_looks, take=take), group="find")

    async def _look(self, number: int, *, take: bool) -> None:
        wanted = (self.query_text, self._here)
        if wanted != self._looked_for:
            if not take:
                await asyncio.sleep(_REST_S)
            if number != self._n_looks:
                return
            try:
                hits = await asyncio.to_thread(self._search, *wanted)
            except ChatRWKVError as error:
                self.say(str(error), is_problem=True)
                return
            if number != self._n_looks:
                return
            self._looked_for = wanted
            self._draw(hits)
        if take and self.is_current:
            super().take()

    def _draw(self, hits: Sequence[Hit]) -> None:
        empty = (
            " nothing found"
            if self.query_text.strip()
            else ' words in any order; "several words" as they stand'
        )
        self.rows.set_rows([self._row(hit) for hit in hits] or [Row("", ((empty, "muted"),))])

    def _row(self, hit: Hit) -> Row:
        title = (
            ()
            if self._here
            else ((pad_cells(sanitise_name(hit.title) or "untitled", _TITLE_CELLS) + "  ", "muted"),)
        )
        found = ((hit.before, ""), (hit.match, "accent"), (hit.after, ""))
        return Row(
            f"{hit.chat} {hit.node}", (*title, *((sanitise_name(text), style) for text, style in found))
        )
