"""The frame of the chat screen: where its parts stand, which of them fit, and the line that says things."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from chatrwkv.text import sanitise
from chatrwkv.tui.widgets.chat_list import ChatPanel
from chatrwkv.tui.widgets.prompt_box import PromptBox
from chatrwkv.tui.widgets.side import Side
from chatrwkv.tui.widgets.status import KeyBar, Seam, TitleLine
from chatrwkv.tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual import events
    from textual.app import ComposeResult
    from textual.timer import Timer
    from textual.widget import Widget

# Columns from which the list and then the margin stand by themselves, below which only the page is left,
# and the least that can be used at all.
_WIDE, _WIDEST, _MINIMAL = 100, 120, 60
_LEAST = (40, 10)
_LIST_WIDTH, _SIDE_WIDTH = 29, 23
_NOTICE_S = 12.0


class ChatFrame(Screen[None]):
    """See the module."""

    AUTO_FOCUS = "#prompt"
    LAYERS: ClassVar[tuple[str, ...]] = ("base", "over")

    def __init__(self) -> None:
        super().__init__()
        self.title_line = TitleLine()
        self.chats = ChatPanel()
        self.transcript = Transcript()
        self.prompt_box = PromptBox(self.choices)
        self.prompt = self.prompt_box.prompt
        self.side = Side()
        self.keybar = KeyBar()
        self.notice = Static("", id="notice", markup=False)
        self._too_small = Static("", id="too-small", markup=False)
        self._top, self._bottom = Seam("┬", "top-seam"), Seam("┴", "bottom-seam")
        self._wants: dict[str, bool | None] = {"chats": None, "side": None}
        """What the person opened or closed; None follows the width."""
        self._notice_timer: Timer | None = None
        self.notice_stays = False

    def compose(self) -> ComposeResult:
        """The picture of screens.md."""
        self.arrange_panels(*self.app.size)  # before the first paint, so that nothing moves after it
        yield self._too_small
        yield self.title_line
        yield self._top
        with Horizontal(id="body"):
            yield self.chats
            with Vertical(id="center"):
                yield self.transcript
                yield self.notice
                yield self.prompt_box
            yield self.side
        yield self._bottom
        yield self.keybar

    def choices(self, _kind: str) -> Sequence[tuple[str, str]]:
        """Values for the argument of a command."""
        return ()

    # -- what fits ------------------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Show what fits; what had the focus may not."""
        self.arrange_panels(event.size.width, event.size.height)
        if self.focused is None:
            self.call_after_refresh(self.focus_prompt)

    def arrange_panels(self, width: int = 0, height: int = 0) -> None:
        """Decide which parts stand, and which lie over the page."""
        width, height = width or self.size.width, height or self.size.height
        auto = {"chats": width >= _WIDE, "side": width >= _WIDEST}
        shows = {name: auto[name] if want is None else want for name, want in self._wants.items()}
        is_tiny = width < _LEAST[0] or height < _LEAST[1]
        self._set_classes(
            {
                "-tiny": is_tiny,
                "-minimal": width < _MINIMAL,
                "-wide": width >= _WIDE and height >= 30,
                "-shows-chats": shows["chats"],
                "-shows-side": shows["side"],
                "-over-chats": shows["chats"] and not auto["chats"],
                "-over-side": shows["side"] and not auto["side"],
            }
        )
        joints = [_LIST_WIDTH - 1] if shows["chats"] and auto["chats"] else []
        joints += [width - _SIDE_WIDTH] if shows["side"] and auto["side"] else []
        self._top.joints = self._bottom.joints = tuple(joints)
        self.keybar.shows_cost = not (shows["side"] and auto["side"])
        self.keybar.is_minimal = width < _MINIMAL
        if is_tiny:
            self._too_small.update(
                Content(f"{width} x {height} is too small;\n{_LEAST[0]} x {_LEAST[1]} is enough.")
            )

    def _set_classes(self, wanted: Mapping[str, bool]) -> None:
        """All at once: each class that changes would restyle every widget on its own."""
        if all(self.has_class(name) == is_set for name, is_set in wanted.items()):
            return
        for name, is_set in wanted.items():
            self.set_class(is_set, name, update=False)
        if self.is_mounted:
            self.update_node_styles()

    @property
    def has_overlay(self) -> bool:
        """Whether the list or the margin lies over the page."""
        return self.has_class("-over-chats") or self.has_class("-over-side")

    def shows(self, name: str) -> bool:
        """Whether "chats" or "side" is on the screen."""
        return self.has_class(f"-shows-{name}")

    def open_panel(self, name: str, *, is_open: bool | None = None) -> bool:
        """Open or close "chats" or "side"; tells which it is now."""
        wanted = (not self.shows(name)) if is_open is None else is_open
        stands_anyway = self.size.width >= (_WIDE if name == "chats" else _WIDEST)
        self._wants[name] = None if wanted and stands_anyway else wanted
        if wanted and self.size.width < _WIDE:
            other = "side" if name == "chats" else "chats"
            self._wants[other] = None  # one overlay at a time
        self.arrange_panels()
        return wanted

    def recall_panels(self, remembered: Mapping[str, str]) -> None:
        """Close what was closed last time; what was opened follows the width again."""
        for name, how in remembered.items():
            if how == "closed":
                self._wants[name] = False
        self.arrange_panels()

    def close_overlays(self) -> None:
        """Take away what lies over the page."""
        for name in ("chats", "side"):
            if self.has_class(f"-over-{name}"):
                self._wants[name] = None
        self.arrange_panels()

    def focus_prompt(self) -> None:
        """Give the prompt the focus now: `Widget.focus` does it later, when the next key has gone elsewhere."""
        self.set_focus(self.prompt)

    def areas(self) -> list[Widget]:
        """The parts that take keys, in the order of tab."""
        found: list[Widget] = [self.prompt]
        if self.shows("chats"):
            found.append(self.chats.rows)
        if self.transcript.views:
            found.append(self.transcript.views[-1])
        if self.shows("side"):
            found.append(self.side.tree_view)
        return found

    # -- saying ---------------------------------------------------------------------------------------------

    def say(self, words: str, *, is_problem: bool = False, stays: bool = False) -> None:
        """One sentence above the prompt.

        Args:
            words: raw; nothing takes it away.
            is_problem: it waits until something else is done.
            stays: it describes what goes on, and only `say` replaces it.
        """
        clean = sanitise(words)
        if self._notice_timer is not None:
            self._notice_timer.stop()
            self._notice_timer = None
        self.notice_stays = stays
        self.notice.set_class(is_problem, "-problem")
        self.notice.update(Content(clean))
        self.notice.display = bool(clean)
        if clean and not stays and not is_problem:
            self._notice_timer = self.set_timer(_NOTICE_S, self.unsay)

    def unsay(self) -> None:
        """Take the sentence away, unless it describes what goes on."""
        if self.notice.display and not self.notice_stays:
            self.say("")
