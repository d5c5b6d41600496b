"""What the tools for states found, as pages to read."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from textual.content import Content

from chatrwkv.text import format_bytes, sanitise_name
from chatrwkv.tui.widgets.rows import cut_cells, pad_cells
from chatrwkv.tui.widgets.status import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chatrwkv.chat.catalog import StateEntry
    from chatrwkv.chat.state_tools import Compared, MindAt, Recalled, Verified
    from chatrwkv.chat.vault import VaultUsage
    from chatrwkv.engine import HeadDifference, ModelInfo, StateInfo

Rows = list[tuple[str, str]]

_BLOCKS = " ▁▂▃▄▅▆▇█"
_NAME_CELLS = 36
_BAR_CELLS = 12
# A message that the state helps with by so much a token fills the bar; a sentence repeated reaches it.
_WHOLE_NATS = 4.0


def saved_rows(entries: Sequence[StateEntry]) -> list[tuple[str, str]]:
    """Saved states to choose from: stem; date, size, title."""
    return [(entry.path.stem, _about(entry)) for entry in entries]


def _about(entry: StateEntry) -> str:
    info = entry.info
    if info is None:
        return sanitise_name(entry.problem)
    title = entry.title if entry.title != entry.path.stem else ""
    words = [
        _day(info.created),
        f"{info.n_tokens:,} tok",
        format_bytes(info.n_bytes),
        _kind(info),
        sanitise_name(title),  # last, because it may be long and the end is what is cut
    ]
    return "  ".join(word for word in words if word)


def _kind(info: StateInfo) -> str:
    if info.metadata.get("kind") != "document":
        return ""
    return "document, read twice" if info.metadata.get("readings") == "2" else "document"


def _day(created: str) -> str:
    try:
        return dt.datetime.fromisoformat(created).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return ""


def file_rows(path: Path, info: StateInfo, loaded: ModelInfo | None) -> Rows:
    """What a state file says of itself."""
    fits = "yes" if loaded and loaded.fingerprint == info.fingerprint else "no, load the model it names first"
    notes = info.metadata
    rows = [
        ("file", str(path)), ("chat", notes.get("title", "") or "–"), ("model", info.model or "–"),
        ("fits the model here", fits), ("tokens read", f"{info.n_tokens:,}"),
        ("size", format_bytes(info.n_bytes)), ("precision", precision(is_rounded=info.is_rounded)),
        ("made", _day(info.created) or "–"), ("fingerprint", info.fingerprint[:16]),
    ]  # fmt: skip
    if source := notes.get("source", ""):
        rows.insert(2, ("document", f"{source}, {_kind(info)}"))
    return rows


def precision(*, is_rounded: bool) -> str:
    """How exactly a state is stored."""
    return "half, rounded to 1 part in 2,048" if is_rounded else "exact"


def mind_rows(at: MindAt, usage: VaultUsage, state_bytes: int, fp16_after_days: int) -> Rows:
    """Where the state of a message is, and how full memory and disk are."""
    old = f"half precision after {fp16_after_days} days" if fp16_after_days else "stay exact"
    placed = at.placed
    where = [place for place, there in (("memory", placed.in_memory), ("disk", placed.disk_bytes)) if there]
    unread = f"no, {at.n_unread:,} of its tokens have to be read" if at.n_unread else "yes, nothing to read"
    rows = [
        ("The state of this message", ""), ("tokens", f"{at.n_tokens:,}"), ("size", format_bytes(state_bytes)),
        ("ready", unread), ("kept", " and ".join(where) or "nowhere"),
        ("rebuildable", _rebuildable(at)),
        ("pinned", "yes, /state unpin ends it" if placed.is_pinned else "no, /state pin does"),
    ]  # fmt: skip
    if placed.disk_bytes:
        rows.append(
            ("its file", f"{format_bytes(placed.disk_bytes)}, {precision(is_rounded=placed.is_rounded)}")
        )
    return [*rows, ("", ""), *usage_rows(usage), ("unused ones", old)]


def _rebuildable(at: MindAt) -> str:
    if at.has_base:
        return f"from {at.n_tokens:,} stored tokens on top of the state that the chat begins with, which is pinned"
    return f"yes, from {at.n_tokens:,} stored tokens"


def usage_rows(usage: VaultUsage) -> Rows:
    """How much of memory and disk the states of all chats take."""
    return [
        ("States of all chats", ""),
        ("in memory", _share(usage.n_ram, usage.ram_bytes, usage.budget)),
        ("on disk", _share(usage.n_disk, usage.disk_bytes, usage.disk_budget)),
        ("pinned", f"{usage.n_pinned:,}"),
        ("others", "rebuilt from their tokens when needed"),
    ]


def _share(n: int, n_bytes: int, budget: int) -> str:
    bar = progress_bar(n_bytes, budget)
    return f"{bar} {n:,}, {format_bytes(n_bytes)} of {format_bytes(budget)}"


def verified_words(found: Verified) -> str:
    """One sentence on a check."""
    if found.distance is None:
        return "No state is kept here; it will be read from its text when it is needed."
    numbers = f"largest difference {found.distance.max_difference:.2g}, KL {found.distance.kl:.2g} nats"
    if found.is_good:
        return f"The state follows from its text: {found.n_tokens:,} tokens read again, {numbers}."
    return f"The state does not follow from its text ({numbers}). /refresh puts the right one in its place."


def compared_page(title: str, found: Compared) -> Content:
    """Two states: a row a layer, a block a head, and the tokens that moved it."""
    apart = found.difference.distance
    lines = [
        Content.styled(title, "bold $accent"),
        _pair("cosine", f"{found.difference.cosine:.6f}"),
        _pair("largest", f"{apart.max_difference:.4g}"),
        _pair("KL", f"{apart.kl:.4g} nats between the next tokens"),
        Content(""),
        Content.styled(
            "Layers: a block a head, the higher the more it changed; cosine; norms", "bold $accent"
        ),
    ]
    most = max((1 - head.cosine for layer in found.difference.heads for head in layer), default=0.0)
    for number, layer in enumerate(found.difference.heads):
        lines.append(_layer(number, layer, most))
    if found.moved:
        lines += [
            Content(""),
            Content.styled("Tokens that moved it most, as a share of its norm", "bold $accent"),
        ]
        top = found.moved[0][1] or 1.0
        for text, share in found.moved:
            bar = progress_bar(round(1000 * share), round(1000 * top), _BAR_CELLS)
            lines.append(_pair(cut_cells(sanitise_name(repr(text)[1:-1]), 20), f"{bar} {share:.1%}", 22))
    return Content("\n").join(lines)


def _layer(number: int, heads: Sequence[HeadDifference], most: float) -> Content:
    top = len(_BLOCKS) - 1
    blocks = "".join(_BLOCKS[round(top * (1 - head.cosine) / most) if most else 0] for head in heads)
    mean = sum(head.cosine for head in heads) / len(heads)
    norms = f"{_norm([head.norm_a for head in heads])} to {_norm([head.norm_b for head in heads])}"
    return Content.assemble((f"{number:>3}  ", "$muted"), blocks, f"  {mean:.4f}  ", (norms, "$muted"))


def _norm(values: Sequence[float]) -> str:
    return f"{sum(value * value for value in values) ** 0.5:.1f}"


def recalled_page(found: Sequence[Recalled], words: Callable[[str], str]) -> Content:
    """A bar a message: how much the state helps to say it again.

    Args:
        found: by message.
        words: the beginning of a message's text.
    """
    lines = [
        Content.styled("nats a token more than from an empty state; 0 is forgotten", "$muted"),
        Content(""),
    ]
    for each in found:
        bar = progress_bar(round(1000 * max(0.0, each.nats)), round(1000 * _WHOLE_NATS), _BAR_CELLS)
        name = pad_cells(cut_cells(words(each.node_id), _NAME_CELLS), _NAME_CELLS + 2)
        lines.append(
            Content.assemble((name, ""), f"{bar} {each.nats:+.2f}", (f"  {each.n_tokens:,} tok", "$muted"))
        )
    return Content("\n").join(lines)


def _pair(name: str, value: str, width: int = 9) -> Content:
    return Content.assemble((pad_cells(name, width), "$muted"), value)
