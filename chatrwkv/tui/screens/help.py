"""What the keys do for what had the focus, and every command; all of it from the tables."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from textual.content import Content, Span

from chatrwkv.tui import keys
from chatrwkv.tui.commands import COMMANDS
from chatrwkv.tui.screens.dialogs import PageDialog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import Binding
    from textual.screen import Screen

_WIDTH, _WORDS = 20, 46  # cells of the two columns


class HelpDialog(PageDialog):
    """Keys of the focused part first, then those of the screen, then the commands."""

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__("Help", help_page(screen))


def help_page(screen: Screen[Any]) -> Content:
    """The text of the help for what has the focus on `screen`."""
    focused = screen.focused
    own: list[Binding] = []
    others: list[Binding] = []
    seen: set[str] = set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if not binding.tooltip or not binding.id or binding.id in seen:
            continue
        seen.add(binding.id)
        (own if active.node is focused else others).append(binding)
    order = {binding.id: place for place, binding in enumerate(keys.EVERY)}
    for found in (own, others):
        found.sort(key=lambda binding: order.get(binding.id, len(order)))
    lines = [_heading("Keys here")]
    lines += [_line(_keys(screen, binding), binding.tooltip) for binding in own]
    lines += [Content(""), _heading("Keys everywhere")]
    lines += [_line(_keys(screen, binding), binding.tooltip) for binding in others]
    lines += [Content(""), _heading("Commands"), _line("/", "lists them; tab completes, esc closes the list")]
    for command in COMMANDS:
        key = keys.named(command.key)
        words = f"{command.help} ({key})" if key else command.help
        lines.append(_line(f"/{command.name} {command.arguments}", words))
    lines += [Content(""), _heading("As in ChatRWKV")]
    lines += [
        _line("+", "another reply"),
        _line("+++", "let the reply go on"),
        _line("+reset", "a new chat"),
        _line("-temp= -top_p=", "anywhere in a line: sampling from now on"),
        _line("//", "a message that begins with a slash"),
    ]
    return Content("\n").join(lines)


def _keys(screen: Screen[Any], binding: Binding) -> str:
    """All keys that lead to the binding, as people write them."""
    if binding.key_display:
        return binding.key_display
    found: Sequence[str] = [
        key for key, active in screen.active_bindings.items() if active.binding.id == binding.id
    ]
    shown = [screen.app.get_key_display(binding.with_key(key)) for key in found]
    return " ".join(dict.fromkeys(shown))


def _heading(words: str) -> Content:
    return Content.styled(words, "bold $accent")


def _line(left: str, right: str) -> Content:
    """Name and sentence in two columns, whatever their lengths."""
    words = textwrap.wrap(right, _WORDS)
    first = [left.ljust(_WIDTH) + (words[0] if words else "")] if len(left) < _WIDTH else [left]
    rest = words[1:] if len(left) < _WIDTH else words
    text = "\n".join([*first, *(" " * _WIDTH + line for line in rest)])
    return Content(text, spans=[Span(len(left), len(text), "$muted")])
