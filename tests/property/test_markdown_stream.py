"""Markdown that was streamed looks the same as Markdown rendered at once, however it was cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App
from textual.containers import VerticalScroll
from textual.widgets.markdown import MarkdownBlock, MarkdownFence

from chatrwkv.tui.widgets.message import MessageView, Shown

if TYPE_CHECKING:
    from textual.app import ComposeResult
    from textual.widget import Widget

# Every construct that streamed wrongly at least once: reference links, fences in lists, HTML blocks, tables,
# a heading that begins as a paragraph, thinking tags, unfinished everything.
PIECES = (
    "A *word* and **two** words.", "# Title", "Title\n=====", "- one\n- two\n  - deep", "1. first\n2. second",
    "```python\nx = 1\n```", "- item\n  ```\n  code\n  ```", "| a | b |\n|---|---|\n| 1 | 2 |", "> quote\n> more",
    "[ref]: https://example.org\n\n[ref]", "<think>hidden?</think>", "<div>\nhtml\n</div>", "---", "~~~\nopen fence",
    "line  \nbroken", "`code` ~~gone~~", "三体 *问答*", "https://example.org/path", "* * *", "```", "**open", "![alt](x.png)",
)  # fmt: skip
documents = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("\n\n".join)


class Page(App[None]):
    def compose(self) -> ComposeResult:
        yield VerticalScroll(id="page")


def outline(view: Widget) -> list[tuple[str, str]]:
    """Blocks in order with what they show."""
    return [
        (type(block).__name__.replace("StreamingFence", "Fence"), block._content.plain)
        for block in view.query(MarkdownBlock)
    ]


@settings(max_examples=15)
@given(text=documents, data=st.data())
async def test_streamed_markdown_ends_as_if_rendered_at_once(text: str, data: st.DataObject):
    """`append` differs from a full render in a third of all constructs; the end must repair it."""
    n_cuts = data.draw(st.integers(0, 8))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=n_cuts, max_size=n_cuts)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    app = Page()
    async with app.run_test(size=(80, 40)):
        page = app.query_one("#page")
        streamed = MessageView(Shown("a", "Assistant", True, "", is_streaming=True))
        whole = MessageView(Shown("b", "Assistant", True, text))
        await page.mount_all([streamed, whole])
        for piece in pieces:
            await streamed.append(piece)
        await streamed.update(Shown("a", "Assistant", True, text))
        assert outline(streamed) == outline(whole)


@settings(max_examples=15)
@given(text=documents, data=st.data())
async def test_nothing_vanishes_while_it_streams(text: str, data: st.DataObject):
    """`update(partial)` followed by `append` loses text from the screen; appending alone does not."""
    at = data.draw(st.integers(0, len(text)))
    app = Page()
    async with app.run_test(size=(80, 40)):
        view = MessageView(Shown("a", "Assistant", True, "", is_streaming=True))
        await app.query_one("#page").mount(view)
        await view.append(text[:at])
        await view.append(text[at:])
        shown = "".join(plain for _, plain in outline(view))
        for word in ("word", "first", "hidden?", "html", "quote", "问答", "code"):
            if word in text:
                assert word in shown or word in str([fence.code for fence in view.query(MarkdownFence)])
