"""Verbs about the tree: where one is, and what hangs where."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import TYPE_CHECKING, Literal, cast

from chatrwkv.chat.tree import Role
from chatrwkv.errors import BadValue
from chatrwkv.text import format_bytes, sanitise, sanitise_name
from chatrwkv.tui.demands import open_session, refuse_second_task
from chatrwkv.tui.screens.dialogs import ConfirmDialog, SplitDialog, TextDialog
from chatrwkv.tui.verbs_find import FIND_VERBS, jump, pick, place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from chatrwkv.chat.rearrange import Scope
    from chatrwkv.tui.screens.core import ChatCore


SCOPES = {
    "path": "this path",
    "siblings": "this path and the other versions of its messages",
    "tree": "this path and all below the message",
}
_SIDES: Mapping[str, Literal[Role.USER, Role.ASSISTANT]] = {"user": Role.USER, "bot": Role.ASSISTANT}


async def fork(screen: ChatCore, argument: str) -> None:
    """A new chat that goes on from here, with as much of this one as is wished."""
    session = open_session(screen)
    scope = argument.strip() or "path"
    if scope not in SCOPES:
        raise BadValue(f"/fork {sanitise_name(scope)} is not known.", hint=f"One of {', '.join(SCOPES)}.")
    made = session.fork(screen.target or session.head, scope=cast("Scope", scope))
    await screen.show_chat(screen.workspace.open_chat(made))
    screen.say(f"This is a new chat with {SCOPES[scope]}; nothing has to be read again. /undo takes it away.")
    screen.focus_prompt()


async def undo(screen: ChatCore, _: str) -> None:
    """Undo the last change."""
    session = open_session(screen)
    step = session.undo()
    if step is not None and session.id in step.chats:
        is_there = any(chat.id == step.chat_id for chat in screen.workspace.chats())
        above = screen.workspace.open_chat(step.chat_id) if is_there else screen.app.fresh_chat()
        await screen.show_chat(above)
    for gone in step.chats if step else ():
        screen.workspace.close_chat(gone)
    await screen.refresh_path()
    screen.say(
        f"Undone: {step.label}. /redo does it again." if step else "There is nothing to undo in this chat."
    )


async def redo(screen: ChatCore, _: str) -> None:
    """Do it again."""
    step = open_session(screen).redo()
    if step is not None and step.chats:
        await screen.show_chat(screen.workspace.open_chat(step.chats[0]))
    await screen.refresh_path()
    screen.say(f"Done again: {step.label}." if step else "There is nothing to do again.")


async def drop(screen: ChatCore, _: str) -> None:
    """Remove a message and all below."""
    session = open_session(screen)
    if not session.path():
        raise BadValue("There is no message to remove.", hint="Write one first.")
    had_focus, node_id = screen.target is not None, screen.target or session.head
    depth = len(session.conversation.path(node_id))
    n = len(session.conversation.subtree(node_id))
    session.delete(node_id)
    await screen.refresh_path()
    here = session.conversation.path()[:depth][-1]
    view = await screen.transcript.reveal(here.id) if had_focus else None
    if view is None:
        screen.focus_prompt()
    else:  # the keys go on to mean what they mean to a message: u brings back, k goes up
        screen.set_focus(view, scroll_visible=False)
    undo = "/undo" if view is None else "u"
    screen.say(
        f"Removed {n} message{'' if n == 1 else 's'}. {undo} brings {'it' if n == 1 else 'them'} back."
    )


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


async def version(screen: ChatCore, argument: str) -> None:
    """Version N of the message in focus, or of the last reply."""
    session = open_session(screen)
    node_id = screen.target or screen.last_reply()
    if node_id is None:
        raise BadValue("There is no reply yet.", hint="Write a message first.")
    row = session.conversation.siblings(node_id)
    place = number_in(argument, "The version", 1, len(row))
    session.select(row[place - 1])
    await screen.refresh_path(steady=row[place - 1])


# -- putting messages elsewhere -----------------------------------------------------------------------------


async def graft(screen: ChatCore, argument: str) -> None:
    """Copy a branch below another message."""
    await _graft(screen, argument, move=False)


async def move(screen: ChatCore, argument: str) -> None:
    """Move a branch below another message."""
    await _graft(screen, argument, move=True)


async def _graft(screen: ChatCore, argument: str, *, move: bool) -> None:
    session = open_session(screen)
    refuse_second_task(screen)
    node_id = _chosen(screen)
    branch = frozenset(session.conversation.subtree(node_id)) if move else frozenset[str]()
    if argument:
        below: str | None = place_of(session.conversation, argument)
    else:
        below = await pick(screen, f"{'Move' if move else 'Copy'} this branch below", without=branch)
    if below is None:
        return
    going = session.graft(node_id, below, move=move)

    def arrived(_: object) -> None:
        top = going.finish()
        screen.call_next(jump, screen, session.id, top)
        screen.say(
            f"{'Moved' if move else 'Copied'} {_messages(len(session.conversation.subtree(top)))}. /undo takes it back."
        )

    screen.app.follow_task("moving" if move else "copying", going.job, arrived)


async def merge(screen: ChatCore, _: str) -> None:
    """One message out of two neighbours of one side."""
    session = open_session(screen)
    made = session.merge(_chosen(screen))
    await jump(screen, session.id, made)
    screen.say("Merged; what follows is read again when it is needed. /undo takes it back.")


async def split(screen: ChatCore, argument: str) -> None:
    """Two messages of one side out of one."""
    session = open_session(screen)
    node = session.node(_chosen(screen))
    lead = len(node.text) - len(node.text.lstrip())  # not on the screen, so nobody counts it
    text = node.text[lead:]
    if argument:
        place: int | None = number_in(argument, "The character", 1, max(1, len(sanitise(text)) - 1))
    else:
        place = await screen.app.ask(SplitDialog(text))
    if place is None:
        return
    # The text on the screen lacks what a terminal would act on.
    at = bisect_left(range(len(text)), place, key=lambda i: len(sanitise(text[:i])))
    await jump(screen, session.id, session.split(node.id, lead + at))
    screen.say("Split in two; what follows is read again when it is needed. /undo takes it back.")


async def as_(screen: ChatCore, argument: str) -> None:
    """Add a message of either side, without a reply."""
    side, _, text = argument.partition(" ")
    if side not in _SIDES:
        raise BadValue(f"/as {sanitise_name(side)} is not known.", hint="/as user TEXT or /as bot TEXT.")
    open_session(screen).say(_SIDES[side], text)
    await screen.refresh_path(follow=True)
    screen.focus_prompt()


async def impersonate(screen: ChatCore, _: str) -> None:
    """Let the model write what the person might say next."""
    if screen.prompt.text.strip():
        raise BadValue("There is a text in the prompt.", hint="Send or clear it first, then try again.")
    screen.start_suggestion(open_session(screen).impersonate())


async def purge(screen: ChatCore, argument: str) -> None:
    """Erase for good what deletion hid."""
    session = open_session(screen)
    if argument not in ("", "all"):
        raise BadValue(
            f"/purge {sanitise_name(argument)} is not known.", hint="/purge, or /purge all for every chat."
        )
    chat_id = None if argument else session.id
    found = screen.workspace.purgeable(chat_id)
    if not found:
        where = "any chat" if argument else "this chat; /purge all looks at every one"
        screen.say(f"Nothing is deleted in {where}.")
        return
    frees = format_bytes(found.text_bytes + found.state_bytes)
    words = f"{found.words} that were deleted or undone, {frees}. Undo will not bring them back; backups still hold them."
    if await screen.app.ask(ConfirmDialog("Erase for good?", words)):
        gone = await asyncio.to_thread(screen.workspace.purge, chat_id)
        screen.say(f"Erased {gone.words}, {frees}.")


def _chosen(screen: ChatCore) -> str:
    """The message in focus, else the last one."""
    session = open_session(screen)
    if not session.path():
        raise BadValue("There is no message yet.", hint="Write one first.")
    return screen.target or session.head


def _messages(n: int) -> str:
    return f"{n:,} message{'' if n == 1 else 's'}"


def number_in(text: str, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, as somebody typed it."""
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise BadValue(f"{what} is {text!r}; it must be a number from {low} to {high}.", hint="Try again.")
    return int(text)


TREE_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {
    "fork": fork, "undo": undo, "redo": redo, "drop": drop, "bookmark": bookmark, "tree": tree,
    "version": version, "graft": graft, "move": move, "merge": merge, "split": split, "as": as_,
    "impersonate": impersonate, "purge": purge, **FIND_VERBS,
}  # fmt: skip


def tree_choices(screen: ChatCore, kind: str) -> Sequence[tuple[str, str]]:
    """Values that can follow these commands."""
    if kind == "scopes":
        return list(SCOPES.items())
    if kind == "sides":
        return [("user ", "what you say"), ("bot ", "what the model says")]
    if kind == "purge":
        return [("all", "in every chat, and deleted chats")]
    if kind == "bookmarks":
        return [(mark.name, sanitise_name(mark.text)) for mark in screen.workspace.bookmarks()]
    if kind == "places":
        nodes = open_session(screen).conversation.nodes.values()
        return [(node.name, sanitise_name(node.text[:60])) for node in nodes if node.name]
    return ()
