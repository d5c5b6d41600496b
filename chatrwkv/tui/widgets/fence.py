"""Markdown of a reply: code stays plain while it streams, HTML is text, links are shown before opened.

Facts of Textual 8.2.8 that this module is built on (measured; see the design, section 11):
a growing fence is highlighted as a whole on every append, up to 0.4 s a time, so it is highlighted once, at
the end; `<think>` and every other HTML block vanish from Markdown, so HTML is switched off in the parser.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from textual.content import Content
from textual.widgets import Label, Markdown, Static
from textual.widgets.markdown import MarkdownBlock, MarkdownFence

from chatrwkv.tui import messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult

# Highlighting 64 kB takes about 0.3 s in one piece; longer code stays plain.
_LONGEST_HIGHLIGHT = 64_000


@cache
def markdown_parser() -> MarkdownIt:
    """The parser of all replies: tables, links and strikes, but no HTML."""
    return MarkdownIt("gfm-like", {"html": False})


class Fence(MarkdownFence):
    """A block of code with its language above it."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """Colours for a language that is named; guessing one colours prose at random."""
        word = language.split(maxsplit=1)[0].strip("{}.") if language.strip() else ""
        if not word or len(code) > _LONGEST_HIGHLIGHT:
            return Content(code)
        return super().highlight(code, word, ansi=ansi, dark=dark)

    def compose(self) -> ComposeResult:
        """The language, then the code."""
        if self.lexer:
            yield Static(self.lexer.split(maxsplit=1)[0], classes="fence-language", markup=False)
        yield Label(self._highlighted_code, id="code-content", expand=True)


class StreamingFence(Fence):
    """The same without colours, for code that still grows."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:  # noqa: ARG003 -- the signature is Textual's
        """Plain text: 3 ms where highlighting takes 300."""
        return Content(code)


class ReplyMarkdown(Markdown):
    """Markdown that is appended to while a reply streams and rendered once more when it ends.

    Exactly one task may write to it, and it awaits every call: two appends at once double a block.
    """

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(None, classes=classes, parser_factory=markdown_parser, open_links=False)
        self.is_streaming = False

    def get_block_class(self, block_name: str) -> type[MarkdownBlock]:
        """Our fences instead of the stock ones."""
        if block_name in ("fence", "code_block"):
            return StreamingFence if self.is_streaming else Fence
        return super().get_block_class(block_name)

    def on_markdown_link_clicked(self, event: Markdown.LinkClicked) -> None:
        """Ask the screen to show where the link leads."""
        event.stop()
        self.post_message(messages.OpenLink(event.href))

    def mark_first(self) -> None:
        """The first block stands at the top; the others keep a line above them. Call it after every change."""
        for place, child in enumerate(self.children):
            if place == 0:
                child.add_class("-first")
            elif child.has_class("-first"):
                child.remove_class("-first")
                break


def _fences(source: str) -> Iterator[str]:
    for token in markdown_parser().parse(source):
        if token.type in ("fence", "code_block"):
            yield token.content.rstrip("\n")


def code_blocks(source: str) -> list[str]:
    """The blocks of code in a Markdown text, in order."""
    return list(_fences(source))
