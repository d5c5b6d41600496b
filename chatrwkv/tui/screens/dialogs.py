"""Small questions: one line of text, a file, a link, a page of facts. `esc` closes each without a change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from chatrwkv.text import sanitise, sanitise_name
from chatrwkv.tui import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

ResultType = TypeVar("ResultType")


class Dialog(ModalScreen[ResultType]):
    """A sheet with a heading; `esc` gives back None."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.DIALOG)
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012 -- Textual declares no class variable

    def __init__(self, title: str, *, hint: str = "") -> None:
        super().__init__()
        self._heading = Static(Content(title), classes="dialog-title", markup=False)
        self._hint = hint
        self.said = Static("", classes="dialog-said", markup=False)

    def compose(self) -> ComposeResult:
        """Heading, content, one line of what is wrong or what to do."""
        with Vertical(classes="dialog"):
            yield self._heading
            yield from self.content()
            yield self.said

    def content(self) -> ComposeResult:
        """The middle."""
        yield from ()

    def on_mount(self) -> None:
        """Say what can be done here."""
        self.say(self._hint)

    def set_heading(self, title: str) -> None:
        """Put another heading."""
        self._heading.update(Content(title))

    def say(self, words: str, *, is_problem: bool = False) -> None:
        """Put one sentence on the last line."""
        self.said.set_class(is_problem, "-problem")
        self.said.update(Content(sanitise(words)))

    def action_close(self) -> None:
        """Change nothing."""
        self.dismiss(None)


class TextDialog(Dialog[str]):
    """One line of text.

    Args:
        title: the heading.
        value: what stands there first.
        check: what is wrong with a text; empty when nothing is.
        hint: the last line.
    """

    def __init__(
        self,
        title: str,
        value: str = "",
        *,
        check: Callable[[str], str] | None = None,
        hint: str = "enter takes it, esc leaves everything as it is",
    ) -> None:
        super().__init__(title, hint=hint)
        self._value = sanitise_name(value)
        self._check = check or (lambda _: "")

    def content(self) -> ComposeResult:
        """The line."""
        yield Input(self._value, compact=True, classes="dialog-input")

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what is wrong."""
        problem = self._check(event.value)
        self.say(problem or self._hint, is_problem=bool(problem))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Give the text back."""
        if problem := self._check(event.value):
            self.say(problem, is_problem=True)
        else:
            self.dismiss(event.value)


class PathDialog(TextDialog):
    """A file to write or to read.

    Args:
        title: the heading.
        value: the path that is proposed.
        must_exist: reading; otherwise writing, and an existing file is named before it is replaced.
    """

    def __init__(self, title: str, value: Path, *, must_exist: bool = False) -> None:
        self._must_exist = must_exist
        hint = "enter reads it" if must_exist else "enter writes it"
        super().__init__(
            title, str(value), check=self._problem, hint=f"{hint}, esc leaves everything as it is"
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what the path is."""
        super().on_input_changed(event)
        path = as_path(event.value)
        if not self._must_exist and path.is_file():
            self.say("This file exists; enter replaces it.", is_problem=True)

    def _problem(self, value: str) -> str:
        path = as_path(value)
        if not value.strip():
            return "Type a file name."
        try:
            if self._must_exist:
                return "" if path.is_file() else f"There is no file {path}."
            if path.is_dir():
                return f"{path} is a folder; add a file name."
        except OSError as error:
            return f"{path} cannot be looked at: {error.strerror or error}."
        return ""


def as_path(value: str) -> Path:
    """What a person means by a path: `~` is home, quotes around it are dropped."""
    return Path(value.strip().strip("'\"")).expanduser()


class LinkDialog(Dialog[str]):
    """Where a link leads, before anything opens. Enter copies it; only http and https can be opened."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.LINK)

    def __init__(self, url: str) -> None:
        self.url = sanitise_name(url)
        is_web = self.url.startswith(("https://", "http://"))
        hint = (
            "y copies it, o opens it, esc closes"
            if is_web
            else "y copies it, esc closes; only http links can be opened"
        )
        super().__init__("This link leads to", hint=hint)

    def content(self) -> ComposeResult:
        """The whole address."""
        yield Static(Content(self.url), classes="dialog-text", markup=False)

    def action_answer(self, answer: str) -> None:
        """Copy or open."""
        if answer == "open" and not self.url.startswith(("https://", "http://")):
            return
        self.dismiss(answer)


class PageDialog(Dialog[None]):
    """Facts to read."""

    def __init__(self, title: str, content: Content | Sequence[tuple[str, str]]) -> None:
        super().__init__(title, hint="esc closes")
        self._page = content if isinstance(content, Content) else facts(content)

    def content(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(classes="dialog-page"):
            yield Static(self._page, markup=False)


def facts(rows: Sequence[tuple[str, str]]) -> Content:
    """Names in a column, values beside them; a row without a value is a heading."""
    width = max((len(name) for name, value in rows if value), default=0) + 2
    lines = [
        Content.assemble((name.ljust(width), "$muted"), sanitise(value))
        if value
        else Content.styled(name, "bold $accent")
        for name, value in rows
    ]
    return Content("\n").join(lines)


class EditDialog(Dialog[str]):
    """Several lines of text, for the system text and for edits in place."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.EDIT)

    def __init__(self, title: str, value: str) -> None:
        super().__init__(title, hint="ctrl+s takes it, esc leaves everything as it is")
        self._value = sanitise(value)

    def content(self) -> ComposeResult:
        """The text."""
        area = TextArea(self._value, classes="dialog-area", soft_wrap=True, highlight_cursor_line=False)
        area.move_cursor(area.document.end)
        yield area

    def action_take(self) -> None:
        """Give the text back."""
        self.dismiss(self.query_one(TextArea).text)


class SplitDialog(Dialog[int]):
    """A text to put the cursor in; gives back how many characters stand before it."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.SPLIT)

    def __init__(self, text: str) -> None:
        super().__init__(
            "Split before the cursor", hint="enter splits it there, esc leaves everything as it is"
        )
        self._area = TextArea(sanitise(text), classes="dialog-area", soft_wrap=True, read_only=True)

    def content(self) -> ComposeResult:
        """The text."""
        yield self._area

    def action_take(self) -> None:
        """Give the place back."""
        self.dismiss(len(self._area.get_text_range((0, 0), self._area.cursor_location)))


class ConfirmDialog(Dialog[bool]):
    """For the few things that no undo brings back."""

    BINDINGS: ClassVar[list[BindingType]] = list(keys.CONFIRM)

    def __init__(self, title: str, words: str) -> None:
        super().__init__(title, hint="y does it, esc leaves everything as it is")
        self._words = words

    def content(self) -> ComposeResult:
        """What it means."""
        yield Static(Content(sanitise(self._words)), classes="dialog-text", markup=False)

    def action_confirm(self) -> None:
        """Do it."""
        self.dismiss(True)
