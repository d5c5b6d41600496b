"""One message of the transcript: who, which version of how many, thoughts, text, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.containers import Vertical
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from chatrwkv.text import Sanitiser, sanitise
from chatrwkv.tui import keys, messages
from chatrwkv.tui.widgets.rows import cut_cells
from chatrwkv.tui.widgets.thinking import Thoughts

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult, RenderResult
    from textual.binding import BindingType

    from chatrwkv.tui.widgets.fence import ReplyMarkdown

# A pasted book is a click away, not in the way; wrapping 1 MB takes seconds.
_FOLD_CHARS, _FOLD_LINES, _SHOWN_CHARS = 3_000, 40, 1_200
_LONGEST_SHOWN = 200_000
# Every block of Markdown is a widget; beyond this a finished reply is shown as the text it is.
_LONGEST_MARKDOWN = 60_000


@dataclass(frozen=True, slots=True)
class Shown:
    """What a message view needs to know of a node; the texts are raw."""

    node_id: str
    who: str
    """The name in the header."""
    is_reply: bool
    text: str
    """The user's text, or the answer of a reply."""
    thoughts: str = ""
    thought_measure: str = ""
    place: tuple[int, int] = (1, 1)
    """Which sibling of how many, from 1."""
    detail: str = ""
    """What the header says while the message has the focus."""
    note: str = ""
    """How it ended, when that is worth saying."""
    error: str = ""
    name: str = ""
    """A bookmark."""
    is_streaming: bool = False


def _whole_parts(detail: str, cells: int) -> str:
    """As many of the facts as there is room for: half a number misleads."""
    while cell_len(detail) > cells:
        detail = detail.rpartition(" · ")[0]
    return detail


class MessageHeader(Widget):
    """Name on the left, `‹ 2/3 ›` on the right."""

    ALLOW_SELECT = False
    shown: reactive[Shown | None] = reactive(None)
    is_focused: reactive[bool] = reactive(False)

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self.set_reactive(MessageHeader.shown, shown)

    @property
    def arrows(self) -> str:
        """`‹ 2/3 ›`; empty for a message without siblings."""
        index, count = self.shown.place if self.shown else (1, 1)
        return f"‹ {index}/{count} ›" if count > 1 else ""

    def render(self) -> RenderResult:
        """One line that fits."""
        shown = self.shown
        if shown is None:
            return ""
        width, arrows = self.size.width, self.arrows
        mark = "◆ " if shown.name else ""
        who = f"{shown.who}  {mark}{sanitise(shown.name)}".rstrip()
        room = width - cell_len(arrows) - 2
        who = cut_cells(who, room)
        detail = _whole_parts(shown.detail, room - cell_len(who) - 2) if self.is_focused else ""
        gap = " " * max(1, width - cell_len(who) - cell_len(detail) - cell_len(arrows) - (2 if detail else 0))
        return Content.assemble(
            (who, "bold $accent" if self.is_focused else "$muted"),
            gap,
            (detail, "$muted"),
            "  " if detail else "",
            (arrows, "$accent"),
        )

    def on_click(self, event: events.Click) -> None:
        """The arrows switch versions; the rest of the line gives the message the focus."""
        start = self.size.width - cell_len(self.arrows)
        if self.arrows and event.x >= start and self.shown:
            step = -1 if event.x < start + cell_len(self.arrows) / 2 else 1
            self.post_message(messages.StepSibling(self.shown.node_id, step))
        elif isinstance(self.parent, MessageView):
            self.parent.focus()


class MessageView(Vertical, can_focus=True):
    """A message; see the module.

    Only the pump writes to a reply that streams: `append`, `show_thoughts`, `show_waiting`, `fall_back`.
    """

    # A click selects text; taking the focus away from the prompt would turn the next letters into commands.
    FOCUS_ON_CLICK = False
    BINDINGS: ClassVar[list[BindingType]] = list(keys.MESSAGE)

    def __init__(self, shown: Shown) -> None:
        super().__init__(classes="-reply" if shown.is_reply else "-user")
        self.shown = shown
        self._sanitiser = Sanitiser()
        self._streamed = ""
        self._header = MessageHeader(shown)
        self._thoughts = Thoughts()
        self._note = Static("", classes="note", markup=False)
        self._is_whole = False
        self.is_ready = False
        """Whether it is mounted with all its parts; before, nothing can be appended."""
        self._markdown: ReplyMarkdown | None = None
        self._plain = Static("", classes="plain", markup=False)
        if shown.is_reply and (shown.is_streaming or len(shown.text) <= _LONGEST_MARKDOWN):
            # The Markdown parser takes 50 ms to import; the first screen has no reply to show.
            from chatrwkv.tui.widgets.fence import ReplyMarkdown

            self._markdown = ReplyMarkdown()
            self._markdown.is_streaming = shown.is_streaming

    @property
    def node_id(self) -> str:
        """The node shown."""
        return self.shown.node_id

    @property
    def place(self) -> tuple[int, int]:
        """Which sibling of how many."""
        return self.shown.place

    def compose(self) -> ComposeResult:
        """Header, then everything else behind the bar."""
        yield self._header
        with Vertical(classes="body"):
            yield self._thoughts
            yield self._markdown or self._plain
            yield self._note

    async def on_mount(self) -> None:
        """Put the text in."""
        await self._draw()
        self.is_ready = True

    async def update(self, shown: Shown) -> None:
        """Show the node as it is now; cheap when only its place among its siblings changed."""
        old, self.shown = self.shown, shown
        self._header.shown = shown
        if (old.text, old.thoughts, old.note, old.error, old.is_streaming) != (
            shown.text, shown.thoughts, shown.note, shown.error, shown.is_streaming
        ):  # fmt: skip
            await self._draw()

    async def _draw(self) -> None:
        shown = self.shown
        self.set_class(shown.is_streaming, "-live")
        self.set_class(bool(shown.error), "-failed")
        if shown.is_streaming:
            return  # the pump fills it, by appending only
        self._thoughts.show(sanitise(shown.thoughts), shown.thought_measure, growing=False)
        if self._markdown is not None:
            self._markdown.is_streaming = False
            with self.app.batch_update():
                await self._markdown.update(sanitise(shown.text))
                self._markdown.mark_first()
        else:
            self._draw_plain()
        self._draw_note()

    def _draw_plain(self) -> None:
        text = sanitise(self.shown.text)
        more = ""
        if not self._is_whole and (len(text) > _FOLD_CHARS or text.count("\n") > _FOLD_LINES):
            kept = "\n".join(text[:_SHOWN_CHARS].split("\n")[:20])
            more, text = f"{len(text) - len(kept):,} characters more: enter or click shows them", kept
        elif len(text) > _LONGEST_SHOWN:
            more, text = (
                f"{len(text) - _LONGEST_SHOWN:,} characters more: y copies all",
                text[:_LONGEST_SHOWN],
            )
        parts: list[str | tuple[str, str]] = [text]
        if more:
            parts.append((f"\n▸ {more}", "$muted"))
        self._plain.update(Content.assemble(*parts))

    def _draw_note(self) -> None:
        shown = self.shown
        if shown.error:
            self._note.update(Content(sanitise(shown.error)))
        else:
            self._note.update(Content(shown.note))
        self._note.display = bool(shown.error or shown.note)

    # -- while it streams -----------------------------------------------------------------------------------

    def show_waiting(self, words: str) -> None:
        """Say why there is no text yet, on the line where the text will begin; empty for text."""
        if words or self._note.display:
            self._note.update(Content(words))
            self._note.display = bool(words)

    def show_thoughts(self, text: str, measure: str, *, growing: bool) -> None:
        """The thoughts so far."""
        self._thoughts.show(sanitise(text), measure, growing=growing)

    async def append(self, text: str) -> None:
        """More of the answer, raw."""
        clean = self._sanitiser.feed(text)
        self._streamed += clean
        if self._markdown is None:
            self._plain.update(Content(self._streamed))
        elif clean:
            with self.app.batch_update():
                await self._markdown.append(clean)
                self._markdown.mark_first()

    async def fall_back(self) -> None:
        """Show the text as it is, since Markdown could not."""
        if self._markdown is not None:
            await self._markdown.remove()
            self._markdown = None
            self._plain.update(Content(self._streamed))
            await self.query_one(".body").mount(self._plain, before=self._note)

    # -- the person -----------------------------------------------------------------------------------------

    def action_unfold(self) -> None:
        """Open or fold thoughts or a long text."""
        if self._thoughts.display:
            self._thoughts.toggle()
        elif self._markdown is None:
            self._is_whole = not self._is_whole
            self._draw_plain()

    def on_click(self, event: events.Click) -> None:
        """A click on a folded text opens it."""
        if event.widget is self._plain and not self._is_whole and len(self.shown.text) > _FOLD_CHARS:
            self.action_unfold()

    def watch_has_focus(self, has_focus: bool) -> None:
        """The header shows the details of the message in focus."""
        super().watch_has_focus(has_focus)
        self._header.is_focused = has_focus
