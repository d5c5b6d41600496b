"""Which model answers: the built-in one, those in the folders, or any file that is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.widgets import Input

from chatrwkv.text import format_bytes, sanitise_name
from chatrwkv.tui.commands import fits
from chatrwkv.tui.screens.dialogs import Dialog
from chatrwkv.tui.widgets.rows import LiveRows, Row, RowList, pad_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What the list shows of a model; the texts are raw."""

    ref: str
    """What loads it: a name or a path."""
    name: str
    detail: str
    n_bytes: int
    group: str
    is_loaded: bool = False


class ModelsScreen(Dialog[str]):
    """A list that is filtered by what is typed; something with a slash is taken as a path.

    Args:
        choices: the models found, in order.
        folders: where they were looked for, for the empty list.
    """

    def __init__(self, choices: Sequence[ModelChoice], folders: Sequence[str]) -> None:
        super().__init__(
            "Models",
            hint="enter loads it, or type the path of any .pth or .safetensors file;\n"
            "files in the models folder, which /paths names, are listed here",
        )
        self._choices = list(choices)
        self._folders = folders
        self.rows = LiveRows(classes="dialog-rows")

    def content(self) -> ComposeResult:
        """Input and list."""
        yield Input(placeholder="name or path", compact=True, classes="dialog-input")
        yield self.rows

    def on_mount(self) -> None:
        """Show everything."""
        super().on_mount()
        self._draw("")

    def _draw(self, query: str) -> None:
        rows: list[Row] = []
        group = ""
        width = min(40, max((cell_len(choice.name) for choice in self._choices), default=0) + 2)
        for choice in self._choices:
            if not _is_path(query) and not fits(query, choice.name):
                continue
            if choice.group != group:
                rows.append(Row("", ((choice.group, "heading"),)))
                group = choice.group
            name = pad_cells(sanitise_name(choice.name), width)
            right = ((format_bytes(choice.n_bytes), "muted"), (" ", "")) if choice.n_bytes else ()
            rows.append(
                Row(
                    choice.ref, ((name, ""), (sanitise_name(choice.detail), "muted")), right, choice.is_loaded
                )
            )
        if not rows:
            rows = [Row("", ((f" {line}", "muted"),)) for line in ("nothing fits; looked in", *self._folders)]
        self.rows.set_rows(rows)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter."""
        event.stop()
        self._draw("" if _is_path(event.value) else event.value)
        self.say(f"enter loads the file {event.value}" if _is_path(event.value) else self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the path, or the row under the cursor."""
        event.stop()
        if _is_path(event.value):
            self.dismiss(event.value.strip())
        elif self.rows.cursor_key:
            self.dismiss(self.rows.cursor_key)
        elif event.value.strip():
            self.dismiss(event.value.strip())

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """A click loads."""
        event.stop()
        self.dismiss(event.key)

    def on_key(self, event: events.Key) -> None:
        """The arrows walk the list while the input has the focus."""
        if event.key in ("up", "down"):
            event.stop()
            self.rows.step(-1 if event.key == "up" else 1)


def _is_path(text: str) -> bool:
    text = text.strip()
    return "/" in text or text.startswith(("~", ".")) or text.endswith((".pth", ".safetensors"))
