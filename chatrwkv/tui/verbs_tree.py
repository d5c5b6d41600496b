"""Verbs about the tree: where one is, and what hangs where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.errors import BadValue
from chatrwkv.tui.screens.dialogs import TextDialog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.tui.screens.core import ChatCore


def open_session(screen: ChatCore) -> ChatSession:
    """The chat that is open."""
    assert screen.session is not None, "commands run only when a chat is open"
    return screen.session


async def fork(screen: ChatCore, _: str) -> None:
    """A new chat that goes on from here."""
    session = open_session(screen)
    made = session.fork(screen.target or session.head)
    await screen.show_chat(screen.workspace.open_chat(made))
    screen.say("This is a new chat from that message; nothing has to be read again.")
    screen.focus_prompt()


async def undo(screen: ChatCore, _: str) -> None:
    """Undo the last change."""
    what = open_session(screen).undo()
    await screen.refresh_path()
    screen.say(f"Undone: {what}. /redo does it again." if what else "There is nothing to undo in this chat.")


async def redo(screen: ChatCore, _: str) -> None:
    """Do it again."""
    what = open_session(screen).redo()
    await screen.refresh_path()
    screen.say(f"Done again: {what}." if what else "There is nothing to do again.")


async def drop(screen: ChatCore, _: str) -> None:
    """Remove a message and all below."""
    session = open_session(screen)
    if not session.path():
        raise BadValue("There is no message to remove.", hint="Write one first.")
    node_id = screen.target or session.head
    n = len(session.conversation.subtree(node_id))
    session.delete(node_id)
    await screen.refresh_path()
    screen.say(f"Removed {n} message{'' if n == 1 else 's'}. /undo brings {'it' if n == 1 else 'them'} back.")
    screen.focus_prompt()


async def bookmark(screen: ChatCore, argument: str) -> None:
    """Name a message."""
    session = open_session(screen)
    node = session.node(screen.target or session.head)
    name = argument or await screen.app.ask(TextDialog("Name this message", node.name))
    if name is not None:
        session.bookmark(node.id, name.strip())
        await screen.refresh_path()


async def tree(screen: ChatCore, _: str) -> None:
    """Show or hide the margin."""
    if screen.open_panel("side"):
        screen.refresh_margins()
        screen.set_focus(screen.side.tree_view)
    else:
        screen.focus_prompt()


async def goto(screen: ChatCore, argument: str) -> None:
    """Version N of the message in focus, or of the last reply."""
    session = open_session(screen)
    node_id = screen.target or screen.last_reply()
    if node_id is None:
        raise BadValue("There is no reply yet.", hint="Write a message first.")
    row = session.conversation.siblings(node_id)
    place = number_in(argument, "The version", 1, len(row))
    session.select(row[place - 1])
    await screen.refresh_path(steady=row[place - 1])


def number_in(text: str, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, as somebody typed it."""
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise BadValue(f"{what} is {text!r}; it must be a number from {low} to {high}.", hint="Try again.")
    return int(text)


TREE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {
    "fork": fork, "undo": undo, "redo": redo, "drop": drop, "bookmark": bookmark, "tree": tree, "goto": goto,
}  # fmt: skip
