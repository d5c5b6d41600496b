"""Every key of the interface in one table: id, key, action, short name for the footer, sentence for help.

Ids are what `[interface.keys]` of the settings file rebinds. Not used, because terminals or input methods
take them: ctrl+i, ctrl+m, ctrl+h, ctrl+[, ctrl+space, ctrl+b, ctrl+a, alt+letter. Where a key needs the
Kitty protocol (shift+enter), another one does the same.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.binding import Binding
from textual.widgets import Input, TextArea

if TYPE_CHECKING:
    from textual.screen import Screen


def _key(
    name: str,
    key: str,
    action: str,
    label: str,
    tip: str,
    *,
    show: bool = True,
    priority: bool = False,
    display: str | None = None,
) -> Binding:
    return Binding(
        key, action, label, id=name, tooltip=tip, show=show, priority=priority, key_display=display
    )


APP = (
    _key("interrupt", "ctrl+c", "interrupt", "copy, stop", "Copy what is selected, else stop the reply; twice quits", show=False, priority=True),
    _key("quit", "ctrl+q", "quit", "quit", "Save everything and leave", show=False, priority=True),
    _key("commands", "ctrl+p", "command_palette", "commands", "Find any command by its name", priority=True),
    _key("help", "f1", "help", "help", "Keys of what has the focus, and all commands"),
)  # fmt: skip

# Priority where no editing key is hidden, here and below: then a key counts before the next one is read, also
# in a burst.
CHAT = (
    _key("stop", "escape", "stop", "stop", "Stop the reply at once; its text stays", display="esc", priority=True),
    _key("back", "escape", "back", "prompt", "Back to the prompt; closes what lies over the transcript", display="esc", priority=True),
    _key("retry", "ctrl+r", "command('retry')", "again", "Another reply to the same message; the old one stays beside it", priority=True),
    _key("sibling_left", "alt+left", "sibling(-1)", "siblings", "The version before this one", display="alt+←→", priority=True),
    _key("sibling_right", "alt+right", "sibling(1)", "next sibling", "The version after this one", show=False, priority=True),
    _key("parent", "alt+up", "walk(-1)", "message above", "Go to the message above", show=False, priority=True),
    _key("child", "alt+down", "walk(1)", "message below", "Go to the message below", show=False, priority=True),
    _key("chats", "ctrl+s", "chats", "chats", "Show and search the chats", priority=True),
    _key("new", "ctrl+n", "command('new')", "new chat", "Start a new chat", show=False, priority=True),
    _key("models", "ctrl+l", "command('model')", "models", "Choose the model", show=False, priority=True),
    _key("tree", "ctrl+t", "command('tree')", "tree", "Show all versions of this chat as a tree", priority=True),
    _key("find", "ctrl+f", "command('find')", "find", "Find a message in all chats", show=False, priority=True),
    _key("find_next", "f3", "command('next')", "find next", "The next message here in which the words occur", show=False, priority=True),
    _key("find_previous", "f4,shift+f3", "command('previous')", "find before", "The one before", show=False, priority=True),
    _key("impersonate", "f6", "command('impersonate')", "your side", "The model writes your side into the empty prompt", show=False, priority=True),
    _key("sampling", "f2", "command('set')", "sampling", "How replies are drawn", show=False, priority=True),
    _key("export", "ctrl+e", "command('export')", "export", "Write this chat to a file", show=False),
    _key("next_area", "tab", "area(1)", "next area", "Go to the next part of the screen", show=False),
    _key("previous_area", "shift+tab", "area(-1)", "previous area", "Go to the part before", show=False),
    _key("page_up", "pageup", "page(-1)", "page up", "Scroll the transcript up", show=False),
    _key("page_down", "pagedown", "page(1)", "page down", "Scroll the transcript down", show=False),
    _key("to_end", "ctrl+end", "to_end", "to the end", "Scroll to the newest message", show=False, priority=True),
)  # fmt: skip

PROMPT = (
    _key("send", "enter", "submit", "send", "Send the message", show=False),
    _key("newline", "ctrl+j,shift+enter,alt+enter", "newline", "new line", "New line in the message", show=False),
    _key("editor", "ctrl+g", "screen.editor", "editor", "Write the message in $EDITOR", show=False),
    _key("history_back", "up", "recall(-1)", "older", "The line above; at the first line, what was sent before", show=False),
    _key("history_on", "down", "recall(1)", "newer", "The line below; at the last line, what was sent after", show=False),
    _key("empty_left", "left", "edge(-1)", "sibling before", "With an empty prompt: the version before of the last reply", show=False),
    _key("empty_right", "right", "edge(1)", "sibling after", "With an empty prompt: the next version of the last reply; past the last, a new one", show=False),
)  # fmt: skip

MESSAGE = (
    _key("message.down", "j,down", "screen.walk(1)", "down", "The message below", show=False, priority=True),
    _key("message.up", "k,up", "screen.walk(-1)", "up", "The message above", show=False, priority=True),
    _key("message.first", "g,home", "screen.walk('first')", "first", "The first message", show=False, priority=True),
    _key("message.last", "G,end", "screen.walk('last')", "last", "The last message", show=False, priority=True),
    _key("message.left", "h,left", "screen.sibling(-1)", "version", "The version before this one", display="h l", priority=True),
    _key("message.right", "l,right", "screen.sibling(1)", "next version", "The version after this one", show=False, priority=True),
    _key("message.retry", "r", "screen.command('retry')", "again", "Another reply here", priority=True),
    _key("message.replies", "n", "screen.replies", "several", "Several replies at once; asks how many", priority=True),
    _key("message.edit", "e", "screen.command('edit')", "edit", "Change this message: yours as a new version, a reply in place", priority=True),
    _key("message.edit_in_place", "E", "screen.command('rewrite')", "edit in place", "Change this text itself; the messages below are read again", show=False, priority=True),
    _key("message.continue", "c", "screen.command('continue')", "continue", "Let a stopped reply go on", priority=True),
    _key("message.fork", "f", "screen.command('fork')", "fork", "Start a new chat from here; nothing is read again", priority=True),
    _key("message.fork_as", "F", "screen.fork_as", "fork more", "A new chat with more than this path; asks how much", show=False, priority=True),
    _key("message.bookmarks", "B", "screen.command('bookmarks')", "bookmarks", "Go to a named message of any chat", show=False, priority=True),
    _key("message.graft", "X", "screen.command('graft')", "copy branch", "Copy this message and all below it below another one", show=False, priority=True),
    _key("message.move", "x", "screen.command('move')", "move branch", "Move this message and all below it below another one", show=False, priority=True),
    _key("message.merge", "J", "screen.command('merge')", "merge", "Make one of this message and its neighbour of the same side", show=False, priority=True),
    _key("message.split", "S", "screen.command('split')", "split", "Make two messages of this one; asks where", show=False, priority=True),
    _key("message.bookmark", "b", "screen.command('bookmark')", "bookmark", "Give this message a name", show=False, priority=True),
    _key("message.save", "s", "screen.command('state', 'save')", "save state", "Save the model's mind after this message to a file", show=False, priority=True),
    _key("message.delete", "d,delete", "screen.command('drop')", "delete", "Remove this message and all below; u brings them back", priority=True),
    _key("message.copy", "y", "screen.command('copy')", "copy", "Copy this message", priority=True),
    _key("message.copy_code", "Y", "screen.command('copy', 'code')", "copy code", "Copy its next block of code", show=False, priority=True),
    _key("message.probs", "p", "screen.command('probs')", "tokens", "How likely each token was; choose another one and branch there", show=False, priority=True),
    _key("message.undo", "u", "screen.command('undo')", "undo", "Undo the last change to the tree", show=False, priority=True),
    _key("message.redo", "U", "screen.command('redo')", "redo", "Do it again", show=False, priority=True),
    _key("message.open", "enter,o", "unfold", "unfold", "Open or fold the thoughts or a long text", show=False, priority=True),
)  # fmt: skip

ROWS = (
    _key("list.down", "down,j", "step(1)", "down", "One row down", show=False),
    _key("list.up", "up,k", "step(-1)", "up", "One row up", show=False),
    _key("list.first", "home,g", "step(-1000000)", "first", "The first row", show=False),
    _key("list.last", "end,G", "step(1000000)", "last", "The last row", show=False),
    _key("list.page_down", "pagedown", "page(1)", "page down", "A page down", show=False),
    _key("list.page_up", "pageup", "page(-1)", "page up", "A page up", show=False),
    _key("list.choose", "enter", "choose", "open", "Open the row"),
)  # fmt: skip

CHATS = (
    _key("chats.new", "n", "screen.command('new')", "new", "Start a new chat"),
    _key("chats.rename", "r", "rename", "rename", "Give the chat another name"),
    _key("chats.delete", "d,delete", "delete", "delete", "Delete the chat; u brings it back"),
    _key("chats.undo", "u", "undo", "undo", "Bring back the chat that was deleted last"),
    _key("chats.filter", "slash", "filter", "filter", "Show only the chats whose names fit", display="/"),
)  # fmt: skip

TREE = (
    _key("tree.left", "left,h", "across(-1)", "version before", "The version before this one", show=False),
    _key("tree.right", "right,l", "across(1)", "version after", "The version after this one", show=False),
    _key("tree.undo", "u", "screen.command('undo')", "undo", "Undo the last change to the tree"),
    _key("tree.redo", "U", "screen.command('redo')", "redo", "Do it again", show=False),
)  # fmt: skip

PROBS = (
    _key("probs.left", "left,h", "step(-1)", "token before", "The token before"),
    _key("probs.right", "right,l", "step(1)", "next token", "The next token"),
    _key("probs.first", "home,g", "step(-1000000)", "first", "The first token", show=False),
    _key("probs.last", "end,G", "step(1000000)", "last", "The last token", show=False),
    _key("probs.line_up", "pageup", "line(-1)", "line up", "A line up", show=False),
    _key("probs.line_down", "pagedown", "line(1)", "line down", "A line down", show=False),
    _key("probs.surprise", "n", "surprise(1)", "surprise", "The next token that was unlikely"),
    _key("probs.surprise_back", "N", "surprise(-1)", "surprise before", "The unlikely token before", show=False),
    _key("probs.up", "up,k", "candidate(-1)", "candidate", "A likelier candidate"),
    _key("probs.down", "down,j", "candidate(1)", "next candidate", "A less likely candidate", show=False),
    _key("probs.take", "enter", "take", "branch", "Another version of the reply that goes on from this candidate"),
)  # fmt: skip

DIALOG = (
    _key("dialog.close", "escape", "close", "close", "Close without changing anything", display="esc"),
)  # fmt: skip

LINK = (
    _key("link.copy", "y,enter", "answer('copy')", "copy", "Copy the address"),
    _key("link.open", "o", "answer('open')", "open", "Open it in the browser"),
)  # fmt: skip

EDIT = (
    _key("edit.take", "ctrl+s", "take", "take it", "Keep the text", priority=True),
)  # fmt: skip

SPLIT = (
    _key("split.take", "enter,ctrl+s", "take", "split", "Split before the cursor", priority=True),
)  # fmt: skip

FIND = (
    _key("find.scope", "tab", "scope", "scope", "Look only in this chat, or in all", priority=True),
)  # fmt: skip

CONFIRM = (
    _key("confirm.yes", "y", "confirm", "yes", "Do it", priority=True),
)  # fmt: skip

EVERY = (
    *APP,
    *CHAT,
    *PROMPT,
    *MESSAGE,
    *ROWS,
    *CHATS,
    *TREE,
    *PROBS,
    *DIALOG,
    *LINK,
    *EDIT,
    *SPLIT,
    *FIND,
    *CONFIRM,
)
"""Every binding; ids are unique."""

_BY_ID = {binding.id: binding for binding in EVERY}
_SIGNS = {
    "left": "←", "right": "→", "up": "↑", "down": "↓", "enter": "enter", "escape": "esc", "slash": "/",
    "pageup": "pgup", "pagedown": "pgdn", "delete": "del", "plus": "+",
}  # fmt: skip


def display(binding: Binding) -> str:
    """A key as the footer shows it: `^r`, `alt+←`, `esc`."""
    if binding.key_display:
        return binding.key_display
    *modifiers, key = binding.key.split(",")[0].split("+")
    sign = _SIGNS.get(key, key.upper() if key[0] == "f" and key[1:].isdecimal() else key)
    if "ctrl" in modifiers and len(sign) == 1:
        modifiers.remove("ctrl")
        sign = f"^{sign}"
    return "+".join([*modifiers, sign])


def named(name: str) -> str:
    """The key of the binding with this id, as it is shown; empty for none."""
    return display(_BY_ID[name]) if name in _BY_ID else ""


def selected_text(screen: Screen[object]) -> str:
    """What is selected with the mouse or in the field that has the focus."""
    focused = screen.focused
    if isinstance(focused, TextArea | Input) and focused.selected_text:
        return focused.selected_text
    return screen.get_selected_text() or ""


class _Alt(StrEnum):
    ENTER = "alt+enter"


def teach_alt_enter() -> None:
    """Make alt+enter a key of its own in every terminal.

    Without the Kitty protocol it arrives as ESC CR, and Textual 8.2.8 drops the ESC: what was meant as a new
    line would send the message.
    """
    table: dict[str, Any] = cast("dict[str, Any]", ANSI_SEQUENCES_KEYS)
    table.setdefault("\x1b\r", (_Alt.ENTER,))
