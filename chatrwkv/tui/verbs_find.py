"""Verbs that go to a message: by its words, its name or its id, in this chat or another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.chat.search import matches, terms_of
from chatrwkv.errors import BadValue, ChatRWKVError
from chatrwkv.text import sanitise_name
from chatrwkv.tui.demands import open_session
from chatrwkv.tui.screens.find import FindDialog, PickDialog
from chatrwkv.tui.widgets.rows import Row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from chatrwkv.chat.search import Hit
    from chatrwkv.chat.tree import Conversation, Node
    from chatrwkv.tui.screens.core import ChatCore

SHORT_ID = 8  # characters of an id shown; any unambiguous beginning is understood
_LEAST_OF_AN_ID = 4
_LABEL_CHARS = 60


# -- by words -----------------------------------------------------------------------------------------------


async def find(screen: ChatCore, argument: str) -> None:
    """Look for words in all chats, and go to what was found."""
    open_chat = open_session(screen).id

    def search(query: str, here: bool) -> Sequence[Hit]:
        return screen.workspace.search(query, chat_id=open_chat if here else None)

    dialog = FindDialog(argument or screen.found_last, search)

    async def answered(chosen: str | None) -> None:
        if chosen:
            screen.found_last = dialog.query_text
            chat, _, node = chosen.partition(" ")
            try:
                await jump(screen, chat, node)
            except ChatRWKVError as error:  # another window deleted it meanwhile
                screen.say_error(error)
            else:
                screen.say(_count(screen, node))

    await screen.app.push_screen(dialog, answered)


async def next_(screen: ChatCore, argument: str) -> None:
    """The next message shown in which the words occur."""
    await _step(screen, argument, 1)


async def previous(screen: ChatCore, argument: str) -> None:
    """The one before."""
    await _step(screen, argument, -1)


async def _step(screen: ChatCore, argument: str, step: int) -> None:
    screen.found_last = argument or screen.found_last
    if not terms_of(screen.found_last):
        await find(screen, "")
        return
    session = open_session(screen)
    path = [node.id for node in session.path()]
    places = [i for i, node in enumerate(session.path()) if matches(node.text, screen.found_last)]
    if not places:
        raise BadValue(
            f"{sanitise_name(screen.found_last)!r} does not occur in the messages shown.",
            hint="ctrl+f looks in all chats.",
        )
    at = path.index(screen.target) if screen.target in path else (-1 if step > 0 else len(path))
    beyond = [place for place in places if (place - at) * step > 0]
    place = (beyond or places)[0 if step > 0 else -1]
    await jump(screen, session.id, path[place])
    screen.say(_count(screen, path[place]))


def _count(screen: ChatCore, node_id: str) -> str:
    found = [node.id for node in open_session(screen).path() if matches(node.text, screen.found_last)]
    if node_id not in found:
        return ""
    return f"{found.index(node_id) + 1} of {len(found)} here: {sanitise_name(screen.found_last)}. F3 next, F4 before."


# -- by name or id ------------------------------------------------------------------------------------------


async def goto(screen: ChatCore, argument: str) -> None:
    """Go to a message of this chat."""
    session = open_session(screen)
    node_id = place_of(session.conversation, argument) if argument else await pick(screen, "Go to")
    if node_id:
        await jump(screen, session.id, node_id)


async def bookmarks(screen: ChatCore, argument: str) -> None:
    """Named messages of all chats."""
    marks = screen.workspace.bookmarks()
    if argument:
        marks = [mark for mark in marks if mark.name.casefold() == argument.casefold()]
        if not marks:
            raise BadValue(
                f"No message is named {sanitise_name(argument)!r}.", hint="/bookmarks lists the names."
            )
    rows = [
        Row(
            f"{mark.chat} {mark.node}",
            (("◆ ", "accent"), (sanitise_name(mark.name), ""), (f"  {sanitise_name(mark.text)}", "muted")),
            ((f" {sanitise_name(mark.title)[:20]}", "muted"),)
            if mark.chat != open_session(screen).id
            else (),
        )
        for mark in marks
    ]
    empty = "no message has a name yet: b on a message, or /bookmark NAME"
    chosen: str | None = rows[0].key if rows else None
    if not argument:
        chosen = await screen.app.ask(PickDialog("Bookmarks", rows, empty=empty))
    if chosen:
        chat, _, node = chosen.partition(" ")
        await jump(screen, chat, node)


async def jump(screen: ChatCore, chat_id: str, node_id: str) -> None:
    """Show a message on its branch, of whichever chat, and give it the focus."""
    session = open_session(screen)
    if chat_id != session.id:
        session = screen.workspace.open_chat(chat_id)
        await screen.show_chat(session)
    if node_id not in [node.id for node in session.path()]:
        session.select(node_id)
    await screen.refresh_path()
    screen.close_overlays()
    view = await screen.transcript.reveal(node_id)
    if view is not None:
        screen.set_focus(view, scroll_visible=False)
    else:  # the first message of a chat without a system text
        screen.focus_prompt()


def place_of(conversation: Conversation, words: str) -> str:
    """The message with this name, or whose id begins so.

    Raises:
        BadValue: there is none, or more than one.
    """
    wanted = words.casefold()
    named = [node.id for node in conversation.nodes.values() if node.name.casefold() == wanted]
    begins = [node_id for node_id in conversation.nodes if node_id.startswith(wanted)]
    found = named or (begins if len(wanted) >= _LEAST_OF_AN_ID else [])
    if len(found) == 1:
        return found[0]
    which = f"{len(found)} messages have" if found else "No message has"
    raise BadValue(
        f"{which} the name {sanitise_name(words)!r} or an id that begins so.",
        hint="Without a name the command lists them.",
    )


async def pick(screen: ChatCore, title: str, *, without: frozenset[str] = frozenset()) -> str | None:
    """Ask for a message of the open chat."""
    session = open_session(screen)
    nodes = session.conversation.nodes
    order = [node_id for node_id in depth_first(session.conversation) if node_id not in without]
    on_path = {node.id for node in session.conversation.path()}
    rows = [_row(screen, nodes[node_id], is_on=node_id in on_path) for node_id in order]
    return await screen.app.ask(PickDialog(title, rows, current=screen.target or session.head))


def depth_first(conversation: Conversation) -> list[str]:
    """Every message, each branch whole before the next."""
    found, todo = [], [conversation.root]
    while todo:
        at = todo.pop()
        found.append(at)
        todo.extend(reversed(conversation.children.get(at, ())))
    return found


def _row(screen: ChatCore, node: Node, *, is_on: bool) -> Row:
    assert screen.presenter is not None, "a chat is open"
    words = " ".join(screen.presenter.label(node)[: 4 * _LABEL_CHARS].split())[:_LABEL_CHARS]
    words = words or ("the beginning of the chat" if node.parent is None else f"({node.status})")
    who = {"user": "You  ", "assistant": "Reply"}.get(node.role, "     ")
    mark = ("◆ " if node.name else "● " if is_on else "○ ", "accent" if is_on or node.name else "muted")
    name = ((f"{sanitise_name(node.name)}  ", "accent"),) if node.name else ()
    return Row(
        node.id,
        (mark, (f"{who} ", "muted"), *name, (sanitise_name(words), "" if is_on else "muted")),
        ((f" {node.id[:SHORT_ID]}", "muted"),),
    )


FIND_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {
    "find": find, "next": next_, "previous": previous, "goto": goto, "bookmarks": bookmarks,
}  # fmt: skip
