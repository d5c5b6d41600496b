"""All chats by day, the newest first; typing after `/` filters them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from chatrwkv.text import sanitise_name
from chatrwkv.tui import keys
from chatrwkv.tui.commands import fits
from chatrwkv.tui.widgets.rows import Row, RowList

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType


@dataclass(frozen=True, slots=True)
class ChatEntry:
    """What the list shows of a chat; the title is raw."""

    id: str
    title: str
    updated: float
    """Seconds since the epoch, of the last message."""
    n_messages: int
    is_running: bool = False


def day_name(moment: float, now: float) -> str:
    """The heading under which a chat stands."""
    day, today = datetime.fromtimestamp(moment).date(), datetime.fromtimestamp(now).date()  # noqa: DTZ006 -- people read local days
    if day >= today:
        return "Today"
    if day == today - timedelta(days=1):
        return "Yesterday"
    if day > today - timedelta(days=7):
        return f"{day:%A}"
    return f"{day:%B}" if day.year == today.year else f"{day:%B %Y}"


class ChatRows(RowList):
    """The rows of the list."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.CHATS)

    @dataclass
    class Request(Message):
        """Do something with the chat under the cursor."""

        what: str
        chat_id: str

    def action_rename(self) -> None:
        """Ask for another name."""
        self._request("rename")

    def action_delete(self) -> None:
        """Delete; `u` brings it back."""
        self._request("delete")

    def action_undo(self) -> None:
        """Bring back what was deleted last."""
        self.post_message(self.Request("undo", ""))

    def action_filter(self) -> None:
        """Type to find."""
        self.post_message(self.Request("filter", ""))

    def _request(self, what: str) -> None:
        if self.cursor_key:
            self.post_message(self.Request(what, self.cursor_key))


class ChatPanel(Vertical):
    """The list with its filter."""

    def __init__(self) -> None:
        super().__init__(id="chats")
        self._entries: list[ChatEntry] = []
        self._current = ""
        self._now = 0.0
        self._filter = Input(placeholder="find a chat", id="chat-filter", compact=True)
        self._filter.display = False
        self.rows = ChatRows(widget_id="chat-rows")

    def compose(self) -> ComposeResult:
        """Filter and rows."""
        yield self._filter
        yield self.rows

    def show(self, entries: Iterable[ChatEntry], current: str, now: float) -> None:
        """List `entries`, the newest first, with `current` marked."""
        fresh = sorted(entries, key=lambda entry: -entry.updated)
        if (fresh, current, day_name(now, now)) == (self._entries, self._current, ""):
            return
        self._entries, self._current, self._now = fresh, current, now
        self._draw()

    def _draw(self) -> None:
        query = self._filter.value.strip() if self._filter.display else ""
        found = [entry for entry in self._entries if fits(query, entry.title)]
        self.rows.set_rows(
            self._rows_of(found) or [Row("", ((" no chat fits" if query else " no chats yet", "muted"),))]
        )

    def _rows_of(self, entries: Sequence[ChatEntry]) -> list[Row]:
        rows: list[Row] = []
        heading = ""
        for entry in entries:
            if (day := day_name(entry.updated, self._now)) != heading:
                rows.append(Row("", ((day, "heading"),)))
                heading = day
            right = (("●", "accent"),) if entry.is_running else ((str(entry.n_messages or ""), "muted"),)
            title = sanitise_name(entry.title) or ("untitled" if entry.n_messages else "new chat")
            rows.append(
                Row(entry.id, ((title, ""),), (*right, (" ", "")), is_current=entry.id == self._current)
            )
        return rows

    def start_filter(self) -> None:
        """Show the filter and type into it."""
        self._filter.display = True
        self._filter.focus()

    def stop_filter(self) -> bool:
        """Forget the filter; tells whether there was one."""
        if not self._filter.display:
            return False
        self._filter.value = ""
        self._filter.display = False
        self._draw()
        self.rows.focus()
        return True

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter at every key."""
        event.stop()
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter opens the first that fits."""
        event.stop()
        self.rows.action_choose()
        self.stop_filter()
