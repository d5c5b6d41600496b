"""The right margin: tree, sampling, state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from chatrwkv.text import format_bytes
from chatrwkv.tui.widgets.rows import cut_cells
from chatrwkv.tui.widgets.status import progress_bar
from chatrwkv.tui.widgets.tree_view import TreeView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from chatrwkv.chat.tree import Conversation, Node
    from chatrwkv.chat.vault import VaultUsage
    from chatrwkv.engine.params import SamplingParams

_WIDTH = 20  # cells inside the margin

Pair = tuple[str, str]


class Side(Vertical):
    """Three parts between thin rules; see the module."""

    def __init__(self) -> None:
        super().__init__(id="side")
        self.tree_view = TreeView()
        self._count = Static("", classes="side-text muted", markup=False)
        self._sampling = Static("", classes="side-text", id="side-sampling", markup=False)
        self._shown_state: tuple[str, int, VaultUsage] | None = None
        self._state = Static("", classes="side-text", markup=False)

    def compose(self) -> ComposeResult:
        """Tree above, numbers below."""
        yield Static("Tree", classes="side-heading")
        yield self.tree_view
        yield self._count
        with Vertical(classes="side-part"):
            yield Static("Sampling", classes="side-heading")
            yield self._sampling
        with Vertical(classes="side-part"):
            yield Static("State", classes="side-heading")
            yield self._state

    def show_tree(self, conversation: Conversation, label_of: Callable[[Node], str]) -> None:
        """The tree and how many messages it has."""
        self.tree_view.show(conversation, label_of)
        n_nodes = len(conversation.nodes) - 1
        self._count.update(Content(f"{n_nodes:,} message{'' if n_nodes == 1 else 's'}" if n_nodes else ""))

    def show_sampling(self, params: SamplingParams) -> None:
        """The settings that matter: the common ones, and others that are switched on."""
        self._sampling.update(pairs(sampling_pairs(params)))

    def show_state(self, tokens: str, state_bytes: int, usage: VaultUsage) -> None:
        """What the path costs and how full the memory for snapshots is; called many times a second."""
        if (tokens, state_bytes, usage) == self._shown_state:
            return
        is_first, self._shown_state = self._shown_state is None, (tokens, state_bytes, usage)
        rows: list[Pair] = [(tokens, format_bytes(state_bytes))]
        bar = progress_bar(usage.ram_bytes, usage.budget, 6)
        rows.append((f"RAM {bar}", format_bytes(usage.ram_bytes)))
        rows.append((f"{usage.n_ram} in RAM", f"{usage.n_disk} on disk"))
        self._state.update(pairs(rows), layout=is_first)


def sampling_pairs(params: SamplingParams) -> list[Pair]:
    """Names and values for the margin."""
    rows = [("temperature", f"{params.temperature:.2f}"), ("top-p", f"{params.top_p:.2f}")]
    if params.has_mirostat:  # it takes the place of the temperature after the cut and of every filter
        rows = [("mirostat", f"{params.mirostat:.2f}")]
    if params.temp_first:
        rows.append(("temp. first", f"{params.temperature:.2f}"))
    if params.cfg != 1:
        rows.append(("cfg", f"{params.cfg:.2f}"))
    if params.top_k:
        rows.append(("top-k", str(params.top_k)))
    if params.top_a:
        rows.append(("top-a", f"{params.top_a:.2f}"))
    if params.min_p:
        rows.append(("min-p", f"{params.min_p:.2f}"))
    if params.typical < 1:
        rows.append(("typical", f"{params.typical:.2f}"))
    rows.append(("presence", f"{params.presence:.2f}"))
    rows.append(("frequency", f"{params.frequency:.2f}"))
    rows.append(("seed", "fresh" if params.seed is None else str(params.seed)))
    return rows


def pairs(rows: Sequence[Pair], width: int = _WIDTH) -> Content:
    """Names on the left, values right-aligned."""
    lines: list[Content] = []
    for name, value in rows:
        right = cut_cells(value, width - 2)
        left = cut_cells(name, width - cell_len(right) - 1)
        gap = " " * max(1, width - cell_len(left) - cell_len(right))
        lines.append(Content.assemble((left, "$muted"), gap, right))
    return Content("\n").join(lines)
