"""The page: the messages of the path shown, of which at most twenty exist as widgets.

One append to a streaming reply costs 4 ms with one message mounted and 105 with three hundred (measured), so
older ones are loaded in steps of five while scrolling and the far end is dropped. Nothing jumps: the message
at the top of the screen keeps its line while others come and go above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from chatrwkv.tui.widgets.message import MessageView, Shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.geometry import Size
    from textual.layout import DockArrangeResult

WINDOW = 20
STEP = 5
_NEAR_EDGE = 2  # lines from the edge at which more messages are loaded

LESSON = (
    "Write below and press enter; ctrl+j makes a new line.",
    "ctrl+r answers again, and the old answer stays beside it.",
    "/ lists all commands, F1 the keys.",
    "ctrl+l chooses the model; the built-in one is a small demo, a toy.",
)


class Transcript(VerticalScroll, can_focus=False):
    """Messages in a scroll; see the module."""

    def __init__(self) -> None:
        super().__init__(id="transcript")
        self._items: list[Shown] = []
        self._first = 0
        self._last = 0
        self._hold: tuple[Widget, int] | None = None
        self._follows = True
        self._is_shifting = False
        self._room = Static("", id="room", markup=False)
        """Empty lines below, so that a shorter version can stand where a longer one stood."""
        self._lesson = Static(Content("\n".join(LESSON)), id="lesson", markup=False)

    def compose(self) -> ComposeResult:
        """Only the lesson of the empty chat."""
        yield self._lesson
        yield self._room

    # -- looking --------------------------------------------------------------------------------------------

    @property
    def views(self) -> list[MessageView]:
        """The live messages from the oldest to the newest."""
        return [child for child in self.children if isinstance(child, MessageView)]

    def view_of(self, node_id: str) -> MessageView | None:
        """The live view of a node, if it has one."""
        return next((view for view in self.views if view.node_id == node_id), None)

    @property
    def shows_end(self) -> bool:
        """Whether the newest message is among the live ones."""
        return self._last == len(self._items)

    @property
    def is_following(self) -> bool:
        """Whether the page stays at the newest line; ends when the reader scrolls away."""
        return self._follows and self.shows_end

    # -- changing -------------------------------------------------------------------------------------------

    async def show(self, items: Sequence[Shown], *, follow: bool = False, steady: str = "") -> None:
        """Show this path; views of nodes that stay are kept.

        Args:
            items: root to leaf.
            follow: go to the newest line and stay there.
            steady: a node whose header should keep its line on the screen.
        """
        was_at_end = self.shows_end
        self._items = list(items)
        if follow or was_at_end or self._first >= len(items):
            self._last = len(items)
            self._first = max(0, self._last - WINDOW)
        else:
            self._last = min(len(items), self._first + WINDOW)
        self._lesson.display = not items
        place = next((i for i, item in enumerate(items) if item.node_id == steady), 0)
        hold = items[place - 1].node_id if steady and place > 0 else ""
        await self._remount(follow=follow, hold=hold)

    async def shift(self, step: int) -> None:
        """Load `step` older (negative) or newer messages."""
        first = max(0, min(self._first + step, len(self._items) - WINDOW))
        if self._is_shifting or first == self._first:
            return
        self._is_shifting = True
        try:
            self._first, self._last = first, min(len(self._items), first + WINDOW)
            await self._remount(follow=False, hold="")
        finally:
            self._is_shifting = False

    async def reveal(self, node_id: str) -> MessageView | None:
        """Make sure that a node has a live view, and bring it on the screen."""
        place = next((i for i, item in enumerate(self._items) if item.node_id == node_id), None)
        if place is None:
            return None
        if not self._first <= place < self._last:
            self._first = max(0, min(place - STEP, len(self._items) - WINDOW))
            self._last = min(len(self._items), self._first + WINDOW)
            await self._remount(follow=False, hold="")
        view = self.view_of(node_id)
        if view is not None:
            view.scroll_visible(animate=False)
        return view

    def follow(self) -> None:
        """Go to the newest line and stay there."""
        self._follows = True
        if self.shows_end:
            self.refresh(layout=True)
        else:
            self.call_next(self.show, self._items, follow=True)

    async def _remount(self, *, follow: bool, hold: str) -> None:
        wanted = self._items[self._first : self._last]
        views = {view.node_id: view for view in self.views}
        kept = {
            item.node_id: views[item.node_id]
            for item in wanted
            # a reply that goes on needs a widget that has only ever been appended to
            if item.node_id in views and (views[item.node_id].shown.is_streaming or not item.is_streaming)
        }
        steady = self._steady(kept, hold)
        with self.app.batch_update():
            self._room.styles.height = self.size.height if hold and not follow else 0
            gone = [view for view in self.views if kept.get(view.node_id) is not view]
            if gone:
                await self.remove_children(gone)
            after: Widget = self._lesson
            fresh: list[Widget] = []
            for item in wanted:
                view = kept.get(item.node_id)
                if view is None:
                    fresh.append(MessageView(item))
                    continue
                if fresh:
                    await self.mount_all(fresh, after=after)
                await view.update(item)
                after, fresh = view, []
            if fresh:
                await self.mount_all(fresh, after=after)
            if follow:
                self._follows = True
            elif steady is not None and (hold or not self.is_following):
                self._hold = steady
        if hold and not follow:
            self.call_after_refresh(self._fit_room)

    def _fit_room(self) -> None:
        """Keep only as many empty lines as the position on the page needs."""
        end = self._room.virtual_region.y
        needed = max(0, round(self.scroll_y) + self.size.height - end)
        self._room.styles.height = needed
        self._follows = self.shows_end and not needed and round(self.scroll_y) + self.size.height >= end

    def _steady(self, kept: dict[str, MessageView], hold: str) -> tuple[Widget, int] | None:
        view = kept.get(hold)
        if view is None:
            top = self.scroll_y
            view = next((v for v in kept.values() if v.virtual_region.bottom > top), None)
        return None if view is None else (view, round(view.virtual_region.y - self.scroll_y))

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Lay out, and move the scroll in the same frame: to the newest line, or so that the held message stays.

        The compositor asks for the arrangement before it reads the scroll position. A later correction would
        show one frame with everything displaced; Textual's own anchor pushes a short page to the bottom.
        """
        result = super().arrange(size, optimal)
        bottom = max(0, result.spatial_map.total_region.bottom - size.height)
        if self._hold is not None:
            view, offset = self._hold
            self._hold = None
            places = (p.region.y for p in result.placements if p.widget is view)
            y = max(0, min(next(places, 0) - offset, bottom))
            self._follows = self.shows_end and y >= bottom
            self._jump(y)
        elif self.is_following:
            self._jump(bottom)
        return result

    def _jump(self, y: int) -> None:
        self.set_reactive(Widget.scroll_y, y)
        self.set_reactive(Widget.scroll_target_y, y)
        self.vertical_scrollbar.position = y

    # -- scrolling ------------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Load more where the reader arrives."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = self.shows_end and new_value >= self.max_scroll_y
        self._load_at_edge(new_value - old_value)

    def on_mouse_scroll_up(self, _: events.MouseScrollUp) -> None:
        """The wheel at the very top moves nothing, and still asks for more."""
        self._load_at_edge(-1)

    def _load_at_edge(self, direction: float) -> None:
        if self._is_shifting:
            return
        if direction < 0 and self._first > 0 and self.scroll_y <= _NEAR_EDGE:
            self.call_next(self.shift, -STEP)
        elif direction > 0 and not self.shows_end and self.scroll_y >= self.max_scroll_y - _NEAR_EDGE:
            self.call_next(self.shift, STEP)
