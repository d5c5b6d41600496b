"""A reply as its tokens, each marked by how unlikely it was, with a cursor that walks over them.

Laid out once for a width and drawn line by line, so that a step over four thousand tokens costs two lines. How
surprising a token was is in its colour and in its style (underlined, then bold, too), so that it is seen without
colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len, chop_cells
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

LEVELS = ("likely", "fair", "rare", "odd")
# Probabilities from which a token counts as likely, fair, rare; below the last it is odd.
_LIMITS = (0.5, 0.1, 0.01)
_SURPRISING = 2  # the first level that `n` stops at


@dataclass(frozen=True, slots=True)
class FlowToken:
    """One token as it is drawn: clean text, and its probability; None where nothing is known."""

    text: str
    probability: float | None

    @property
    def level(self) -> int:
        """Place in LEVELS."""
        p = self.probability
        return 0 if p is None else next((i for i, limit in enumerate(_LIMITS) if p >= limit), len(_LIMITS))


class TokenFlow(ScrollView, can_focus=True):
    """See the module."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"token--{level}" for level in LEVELS),
        "token--unknown",
        "token--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = list(keys.PROBS)

    cursor: reactive[int] = reactive(0)
    """Place of the token under the cursor."""

    @dataclass
    class Moved(Message):
        """The cursor stands on another token."""

        place: int

    @dataclass
    class Stepped(Message):
        """Another candidate is wanted."""

        step: int

    class Taken(Message):
        """The candidate is wanted here."""

    def __init__(self, tokens: Sequence[FlowToken]) -> None:
        super().__init__(classes="token-flow")
        self._tokens = tokens
        self._lines: list[list[tuple[int, str]]] = []
        self._line_of: list[int] = []
        self._width = 0

    def on_resize(self, event: events.Resize) -> None:
        """Lay out for the new width."""
        self._lay_out(max(8, self.scrollable_content_region.width or event.size.width))

    def _lay_out(self, width: int) -> None:
        if width == self._width:
            return
        self._width, self._lines, self._line_of = width, [[]], []
        room = width
        for place, token in enumerate(self._tokens):
            first, *rest = token.text.split("\n")
            if cell_len(first) > room < width and cell_len(first) <= width:
                self._lines.append([])
                room = width
            self._line_of.append(len(self._lines) - 1)
            for number, part in enumerate((first, *rest)):
                if number:
                    self._lines.append([])
                    room = width
                for piece_number, piece in enumerate(_pieces(part, room, width)):
                    if piece_number:
                        self._lines.append([])
                        room = width
                    self._lines[-1].append((place, piece))
                    room -= cell_len(piece)
        self.virtual_size = Size(width, len(self._lines))
        self._reveal()

    def render_line(self, y: int) -> Strip:
        """One line of tokens."""
        index = y + int(self.scroll_offset.y)
        width = self.scrollable_content_region.width
        if not 0 <= index < len(self._lines):
            return Strip.blank(width, self.rich_style)
        segments = [Segment(text, self._style(place)) for place, text in self._lines[index]]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _style(self, place: int) -> Style:
        if place == self.cursor:
            return self.get_component_rich_style("token--cursor")
        token = self._tokens[place]
        name = "unknown" if token.probability is None else LEVELS[token.level]
        return self.get_component_rich_style(f"token--{name}")

    def watch_cursor(self) -> None:
        """Keep the cursor in sight."""
        self._reveal()
        self.refresh()
        self.post_message(self.Moved(self.cursor))

    def _reveal(self) -> None:
        if self.cursor < len(self._line_of):
            self.scroll_to_region(Region(0, self._line_of[self.cursor], 1, 1), animate=False, force=True)

    def on_click(self, event: events.Click) -> None:
        """A click puts the cursor there."""
        index, at = event.y + int(self.scroll_offset.y), 0
        for place, text in self._lines[index] if 0 <= index < len(self._lines) else ():
            at += cell_len(text)
            if event.x < at:
                self.cursor = place
                return

    def action_step(self, by: int) -> None:
        """Move over tokens."""
        self.cursor = max(0, min(len(self._tokens) - 1, self.cursor + by))

    def action_line(self, by: int) -> None:
        """Move over lines: to the first token that begins there."""
        wanted = max(0, min(len(self._lines) - 1, self._line_of[self.cursor] + by))
        places = [place for place, line in enumerate(self._line_of) if line == wanted]
        self.cursor = places[0] if places else self.cursor

    def action_surprise(self, by: int) -> None:
        """Move to the next token that was unlikely."""
        ends = len(self._tokens) if by > 0 else -1
        for place in range(self.cursor + by, ends, by):
            if self._tokens[place].level >= _SURPRISING:
                self.cursor = place
                return

    def action_candidate(self, by: int) -> None:
        """Move over candidates."""
        self.post_message(self.Stepped(by))

    def action_take(self) -> None:
        """Branch here."""
        self.post_message(self.Taken())


def _pieces(text: str, room: int, width: int) -> list[str]:
    """`text` cut so that the first piece fits `room` cells and the others `width`."""
    if cell_len(text) <= room:
        return [text]
    first = chop_cells(text, room)[0] if room > 1 else ""
    return [first, *chop_cells(text[len(first) :], width)]
