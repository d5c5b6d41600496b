"""Another token at some place of a reply: what the sibling begins with, and what is forced after that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import drawn_ids, fed_ids, reply_dialect
from chatrwkv.chat.tree import Node, NodeStatus, new_id
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from chatrwkv.chat.plan import Ids
    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import ReplyMeta


def branch(
    node: Node, record: TokenRecord | None, place: int, token_id: int, template: PromptTemplate
) -> tuple[Node, Ids]:
    """The sibling of a reply that says `token_id` as its token number `place` (from 0), and the ids to force.

    Its text is what stood before that token. Where that is inside a character, the character's first tokens are
    forced, too, since no text can hold half of one.

    Raises:
        BadValue: nothing is known about the reply, or not about that token.
    """
    if record is None or node.meta is None:
        raise BadValue(
            "Nothing is known about the tokens of this message.", hint="Regenerate it, then branch there."
        )
    rows = record.drawn(node.text)
    if not 0 <= place < len(rows) or rows[place].token_id is None:
        raise BadValue(
            f"There is no drawn token {place + 1} in this reply; it has {len(rows)}.",
            hint="Choose a token whose candidates are shown.",
        )
    start = next((i for i in range(place, 0, -1) if not rows[i - 1].is_unfinished), 0)
    text = node.text[: sum(row.n_chars for row in rows[:start])]
    kept = tuple(row.token_id for row in rows[:start] if row.token_id is not None)
    forced = (*(row.token_id for row in rows[start:place] if row.token_id is not None), token_id)
    drawn = drawn_ids(node, template, record.tokenizer_id)
    tokens = {}
    if len(kept) == start and drawn[:start] == kept:
        fed = fed_ids(node, template, record.tokenizer_id)
        name = reply_dialect(replace(node, text=text), template, record.tokenizer_id)
        tokens = {name: fed[: len(fed) - len(drawn) + start]}
    made = replace(
        node,
        id=new_id(),
        text=text,
        status=NodeStatus.STREAMING,
        tokens=tokens,
        name="",
        meta=_branched(node.meta, start if tokens else 0, len(forced)),
        record=record.covering(text),
    )
    return made, forced


def _branched(meta: ReplyMeta, n_drawn: int, n_forced: int) -> ReplyMeta:
    """How the sibling comes about: the last of its forced tokens is the one that was chosen."""
    return replace(
        meta,
        n_drawn=n_drawn,
        chosen=(*(place for place in meta.chosen if place < n_drawn), n_drawn + n_forced - 1),
        resumed=tuple(place for place in meta.resumed if place <= n_drawn),
    )
