"""The thoughts of a reply, folded to one line that says how long they took."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widgets import Static

# A thought is looked at while it grows; wrapping more than this at every step would cost more than it shows.
_SHOWN_WHILE_GROWING = 2_000


class Thoughts(Static):
    """`▸ thought 312 tokens, 4.1 s`; a click or enter opens it. Hidden while there are none."""

    ALLOW_SELECT = True

    is_open: reactive[bool] = reactive(False, init=False)

    def __init__(self) -> None:
        super().__init__("", classes="thoughts", markup=False)
        self._text = ""
        self._measure = ""
        self._is_growing = False
        self.display = False

    @property
    def text(self) -> str:
        """The thoughts so far, clean."""
        return self._text

    def show(self, text: str, measure: str, *, growing: bool) -> None:
        """Put in the thoughts.

        Args:
            text: clean text.
            measure: how long, "312 tokens, 4.1 s".
            growing: whether the model still thinks.
        """
        if (text, measure, growing) == (self._text, self._measure, self._is_growing):
            return
        self._text, self._measure, self._is_growing = text, measure, growing
        self.display = bool(text) or growing
        self._draw()

    def toggle(self) -> None:
        """Open or fold."""
        self.is_open = not self.is_open

    def watch_is_open(self) -> None:
        """Draw the other shape."""
        self._draw()

    def on_click(self) -> None:
        """A click on the line opens or folds."""
        if not self.screen.get_selected_text():
            self.toggle()

    def _draw(self) -> None:
        word = "thinking" if self._is_growing else "thought"
        line = f"{'▾' if self.is_open else '▸'} {word} {self._measure}".rstrip()
        if not self.is_open:
            self.update(Content(line))
            return
        text = self._text
        if self._is_growing and len(text) > _SHOWN_WHILE_GROWING:
            text = "…" + text[-_SHOWN_WHILE_GROWING:]
        self.update(Content(f"{line}\n{text.strip()}\n"))


def thought_measure(n_tokens: int, seconds: float) -> str:
    """How long a thought was, as far as it is known."""
    parts = []
    if n_tokens:
        parts.append(f"{n_tokens:,} token{'' if n_tokens == 1 else 's'}")
    if seconds:
        parts.append(f"{seconds:.1f} s")
    return ", ".join(parts)
