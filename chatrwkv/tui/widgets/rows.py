"""A list of one-line rows drawn line by line: as fast with a thousand rows as with ten.

Used by the chat list, the tree, the slash list and the model list. Widths are terminal cells, so that wide
characters never push a column. Text given to it must be clean already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from chatrwkv.tui import keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.style import Style
    from textual import events
    from textual.binding import BindingType

Piece = tuple[str, str]
"""Text and the name of its style: "", "muted", "faint", "accent", "heading", "warning"."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Args:
        key: what choosing it means; empty for a heading, which cannot be chosen.
        left: pieces that are cut when the line is too narrow.
        right: pieces kept whole at the right edge.
        is_current: whether it is the open one; it gets the bar.
    """

    key: str
    left: tuple[Piece, ...]
    right: tuple[Piece, ...] = ()
    is_current: bool = False


def cut_cells(text: str, cells: int) -> str:
    """`text` in at most `cells` columns, with an ellipsis where something is missing.

    Measured as the renderer measures, which is what keeps the columns straight.
    """
    if cells <= 0:
        return ""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"


def pad_cells(text: str, cells: int) -> str:
    """`text` in exactly `cells` columns."""
    return set_cell_size(cut_cells(text, cells), cells)


class RowList(ScrollView, can_focus=True):
    """Rows with a cursor; see the module."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "row--plain",
        "row--muted",
        "row--faint",
        "row--accent",
        "row--heading",
        "row--warning",
        "row--cursor",
        "row--current",
    }
    BINDINGS: ClassVar[list[BindingType]] = list(keys.ROWS)

    cursor: reactive[int] = reactive(-1)
    """Index of the row under the cursor; -1 when there is none."""

    @dataclass
    class Chosen(Message):
        """A row was chosen with enter or the mouse."""

        rows: RowList
        key: str

        @property
        def control(self) -> RowList:
            """The list."""
            return self.rows

    @dataclass
    class Moved(Message):
        """The cursor stands on another row."""

        rows: RowList
        key: str

        @property
        def control(self) -> RowList:
            """The list."""
            return self.rows

    def __init__(self, *, widget_id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=widget_id, classes=classes)
        self._rows: list[Row] = []

    @property
    def rows(self) -> Sequence[Row]:
        """What is listed."""
        return self._rows

    @property
    def cursor_key(self) -> str:
        """The key under the cursor; empty when there is none."""
        return self._rows[self.cursor].key if 0 <= self.cursor < len(self._rows) else ""

    def set_rows(self, rows: Sequence[Row], key: str = "") -> None:
        """Replace the rows; the cursor goes to `key`, or stays with its own row, or goes to the first.

        Args:
            rows: all of them.
            key: where the cursor should be.
        """
        wanted = key or self.cursor_key
        self._rows = list(rows)
        self.virtual_size = Size(0, len(self._rows))
        places = {row.key: index for index, row in enumerate(self._rows) if row.key}
        self.cursor = places.get(wanted, min(places.values(), default=-1))
        self.refresh(layout=True)

    def move_to(self, key: str) -> None:
        """Put the cursor on the row called `key`, if it is there."""
        for index, row in enumerate(self._rows):
            if row.key == key and key:
                self.cursor = index
                return

    def step(self, by: int) -> None:
        """Move the cursor over `by` choosable rows, stopping at the ends."""
        places = [index for index, row in enumerate(self._rows) if row.key]
        if not places:
            return
        at = places.index(self.cursor) if self.cursor in places else 0
        self.cursor = places[max(0, min(len(places) - 1, at + by))]

    def watch_cursor(self, _old: int, new: int) -> None:
        """Keep the cursor in sight."""
        self.refresh()
        if 0 <= new < len(self._rows):
            top = new - 1 if new == 1 else new  # a heading above the first row comes along
            self.scroll_to_region(Region(0, top, 1, new - top + 1), animate=False, force=True)
            self.post_message(self.Moved(self, self._rows[new].key).set_sender(self))

    def watch_has_focus(self, has_focus: bool) -> None:
        """The cursor is drawn only with the focus."""
        super().watch_has_focus(has_focus)
        self.refresh()

    def shows_cursor(self) -> bool:
        """Whether the row under the cursor is marked."""
        return self.has_focus

    def render_line(self, y: int) -> Strip:
        """One row."""
        index = y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        if not 0 <= index < len(self._rows):
            return Strip.blank(width, self.rich_style)
        return self._strip(self._rows[index], width, on_cursor=index == self.cursor and self.shows_cursor())

    def _strip(self, row: Row, width: int, *, on_cursor: bool) -> Strip:
        base = self.get_component_rich_style("row--cursor" if on_cursor else "row--plain")
        mark = "▌" if row.is_current else " "
        segments = [Segment(mark, self._style("current" if row.is_current else "", base))]
        room = width - 1 - sum(cell_len(text) for text, _ in row.right) - (1 if row.right else 0)
        for text, name in row.left:
            if room <= 0:
                break
            shown = cut_cells(text, room)
            room -= cell_len(shown)
            segments.append(Segment(shown, self._style(name, base)))
        segments.append(Segment(" " * max(0, room + (1 if row.right else 0)), base))
        for text, name in row.right:
            segments.append(Segment(text, self._style(name, base)))
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, name: str, base: Style) -> Style:
        return base + self.get_component_rich_style(f"row--{name}", partial=True) if name else base

    def on_click(self, event: events.Click) -> None:
        """A click chooses."""
        index = event.y + int(self.scroll_offset.y)
        if 0 <= index < len(self._rows) and self._rows[index].key:
            self.cursor = index
            self.action_choose()

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self.cursor_key:
            # Its own sender, since an ancestor may call this: see `PromptArea.action_submit`.
            self.post_message(self.Chosen(self, self.cursor_key).set_sender(self))

    def action_step(self, by: int) -> None:
        """Move the cursor."""
        self.step(by)

    def action_page(self, by: int) -> None:
        """Move the cursor by a page."""
        self.step(by * max(1, self.size.height - 1))


class LiveRows(RowList, can_focus=False):
    """Rows that an input beside them walks: the cursor is marked although the focus is elsewhere."""

    def shows_cursor(self) -> bool:
        """Always."""
        return True
