"""Verbs about single tokens: what was likely, and another way from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.errors import BadValue
from chatrwkv.tui.demands import open_session
from chatrwkv.tui.screens.probs import ProbsScreen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from chatrwkv.tui.screens.core import ChatCore


async def probs(screen: ChatCore, _: str) -> None:
    """Show the tokens of a reply with their candidates; choosing one branches there."""
    session = open_session(screen)
    node_id = screen.target or screen.last_reply()
    if node_id is None:
        raise BadValue("There is no reply yet.", hint="Write a message first.")
    record, reply = session.record(node_id), session.reply_to(node_id)
    text = reply.view.text if reply else session.node(node_id).text
    rows = record.drawn(text) if record else []
    if record is None or not rows:
        raise BadValue(
            "Nothing is known about the tokens of this message.",
            hint="What the model writes from now on is kept; ctrl+r regenerates a reply.",
        )
    model = screen.workspace.model
    fits = model is not None and model.tokenizer_id == record.tokenizer_id
    ids = {token_id for row in rows for token_id, _ in row.top}
    words = session.token_bytes(ids) if fits else None
    choice = await screen.app.ask(ProbsScreen(rows, text, words, is_running=reply is not None))
    if choice is not None:
        session.branch_at(node_id, *choice)
        await screen.refresh_path(follow=True)
        screen.say("This version goes on from the other token; the one before stays beside it.")
        screen.focus_prompt()


TOKEN_VERBS: Mapping[str, Callable[[ChatCore, str], Awaitable[None]]] = {"probs": probs}
