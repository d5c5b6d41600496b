"""The line above (chat, model, speed) and the line below (keys, tokens): numbers that keep their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from chatrwkv.text import format_bytes
from chatrwkv.tui.widgets.rows import cut_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import RenderResult
    from textual.binding import ActiveBinding

_BAR = 8  # cells of a progress bar
_UNSAVED = "not saved"


@dataclass(frozen=True, slots=True)
class Status:
    """Everything the two lines say; the texts are clean."""

    chat: str = ""
    model: str = ""
    precision: str = ""
    device: str = ""
    speed: float = 0.0
    """Tokens a second of the running reply, or of the last one."""
    is_alive: bool = False
    """Whether a reply is being written."""
    work: str = ""
    """What takes time now: "loading", "reading"; shown with a bar."""
    done: int = 0
    total: int = 0
    n_tokens: int = 0
    """On the path shown."""
    n_context: int = 0
    """Tokens that the model can look at; 0 where there is no end."""
    state_bytes: int = 0
    template: str = ""
    problem: str = ""
    """Why there is no model."""
    is_unsaved: bool = False
    """Whether a text of this chat is only in memory, since the disk does not take it."""


def progress_bar(done: int, total: int, cells: int = _BAR) -> str:
    """A bar for any terminal: filled and empty blocks."""
    filled = round(cells * min(1.0, done / total)) if total else 0
    return "▆" * filled + "▁" * (cells - filled)


def percent(done: int, total: int) -> str:
    """Right-aligned, so that it keeps its place."""
    return f"{min(100, 100 * done // total) if total else 0:>3} %"


def tokens_words(n_tokens: int, n_context: int, unit: str) -> str:
    """How much has been read, and for a model whose context ends how much of it still counts."""
    if not n_context:
        return f"{n_tokens:,} {unit}"
    if n_tokens <= n_context:
        return f"{n_tokens:,} of {n_context:,} {unit}"
    return f"last {n_context // 2:,}+ of {n_tokens:,} {unit}"


class TitleLine(Widget):
    """Chat on the left; model, precision, device and speed on the right."""

    status: reactive[Status] = reactive(Status())

    def render(self) -> RenderResult:
        """One line; what is least needed goes first when it is narrow."""
        width = self.size.width - 2
        status = self.status
        right: list[tuple[str, str]] = []
        if status.work:
            words = f"{status.work} {progress_bar(status.done, status.total)} "
            right = [(words, "$muted"), (percent(status.done, status.total), "$accent")]
        elif status.problem:
            right = [(status.problem, "$text-warning")]
        else:
            right = _model_words(status, width)
        length = sum(cell_len(text) for text, _ in right)
        if length > width:
            right = [(cut_cells("".join(text for text, _ in right), width), "$muted")]
            length = cell_len(right[0][0])
        mark = f"{_UNSAVED}  " if status.is_unsaved else ""
        chat = cut_cells(status.chat, width - length - 2 - cell_len(mark))
        gap = " " * max(0, width - cell_len(mark) - cell_len(chat) - length)
        return Content.assemble(" ", (mark, "bold $text-error"), (chat, "bold"), gap, *right, " ")


def _model_words(status: Status, width: int) -> list[tuple[str, str]]:
    if not status.model:
        return []
    dot = ("● " if status.is_alive else "○ ", "$accent" if status.is_alive else "$muted")
    speed = (
        f"{status.speed:>4.0f} tok/s" if status.speed else "   – tok/s",
        "" if status.is_alive else "$muted",
    )
    parts = [status.model]
    if width >= 70:
        parts += [status.precision, status.device]
    room = max(8, width // 2 - 12)
    return [(cut_cells("  ".join(part for part in parts if part), room) + "  ", "$muted"), dot, speed]


class Seam(Widget):
    """A thin rule, with joints where upright ones meet it."""

    ALLOW_SELECT = False
    joints: reactive[tuple[int, ...]] = reactive(())

    def __init__(self, joint: str, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._joint = joint

    def render(self) -> RenderResult:
        """The rule."""
        line = ["─"] * self.size.width
        for x in self.joints:
            if 0 <= x < len(line):
                line[x] = self._joint
        return Content("".join(line))


class KeyBar(Widget):
    """Keys that work for what has the focus; on the right what the path costs. A click presses the key."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"keybar--key", "keybar--label"}
    status: reactive[Status] = reactive(Status())
    shows_cost: reactive[bool] = reactive(True)
    """Whether tokens and state size stand here; with the side panel open they stand there."""
    is_minimal: reactive[bool] = reactive(False)
    """Whether this is the only line: then model and speed stand here."""

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._places: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, _: object) -> None:
        self.refresh()

    def render(self) -> RenderResult:
        """One line; keys that do not fit are left out from the end."""
        width = self.size.width - 2
        right = self._right(width)
        room = width - cell_len(right) - 2
        parts: list[str | tuple[str, str]] = [" "]
        x, self._places = 1, []
        for active in self._live_keys():
            key = self.app.get_key_display(active.binding)
            length = cell_len(key) + 1 + cell_len(active.binding.description)
            if x - 1 + length > room:
                break
            parts += [(key, "$accent"), " ", (active.binding.description, "$muted"), "   "]
            self._places.append((x, x + length, active.binding.key))
            x += length + 3
        parts += [" " * max(0, width + 1 - x - cell_len(right)), (right, "$muted")]
        return Content.assemble(*parts)

    def _right(self, width: int) -> str:
        status = self.status
        if self.is_minimal:
            if status.is_unsaved:
                return _UNSAVED
            sign = "●" if status.is_alive else "○"
            return (
                f"{status.work} {percent(status.done, status.total)}"
                if status.work
                else f"{sign} {status.speed:.0f} tok/s"
            )
        if not self.shows_cost:
            return cut_cells(status.template, width // 3)
        if not status.n_tokens:
            return cut_cells(status.template, width // 3) if width > 70 else ""
        tokens = tokens_words(status.n_tokens, status.n_context, "tok")
        return f"{tokens}  {format_bytes(status.state_bytes)}"

    def _live_keys(self) -> Sequence[ActiveBinding]:
        seen: set[str] = set()
        found = []
        for active in self.screen.active_bindings.values():
            label = active.binding.description
            if active.binding.show and active.enabled and label not in seen:
                seen.add(label)
                found.append(active)
        return sorted(found, key=lambda active: active.binding.id not in ("stop", "back"))

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        for start, end, key in self._places:
            if start <= event.x < end:
                self.app.simulate_key(key.split(",")[0])
                return
