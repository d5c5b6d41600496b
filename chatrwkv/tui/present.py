"""Nodes of a conversation as the transcript shows them. Reads the chat layer, knows no widget's inside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.reply import split_reply
from chatrwkv.chat.tree import NodeStatus, Role
from chatrwkv.tui.widgets.message import Shown
from chatrwkv.tui.widgets.thinking import thought_measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatrwkv.chat.reply import Part
    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.template import Templates
    from chatrwkv.chat.tree import Node, NodeId

_WHO = {Role.SYSTEM: "System", Role.USER: "You", Role.ASSISTANT: "Assistant", Role.RAW: "Text"}
_GOES_ON = "ctrl+r answers again, /continue goes on"


class Presenter:
    """Remembers what it made of a node, so that a change of the path costs only what changed.

    Args:
        templates: for the thinking of stored replies.
    """

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._made: dict[NodeId, tuple[Node, Shown]] = {}
        self._measures: dict[NodeId, str] = {}
        """How long thoughts took that were watched; for others it is reckoned."""

    def measured(self, node_id: NodeId, n_tokens: int, seconds: float) -> str:
        """Note how long a thought took."""
        self._measures[node_id] = thought_measure(n_tokens, seconds)
        return self._measures[node_id]

    def path(self, session: ChatSession) -> list[Shown]:
        """The path that `session` shows."""
        shown = [self.node(session, node) for node in session.path()]
        # How to go on is worth saying where going on is likely: at the end.
        for place, item in enumerate(shown[:-1]):
            if item.note:
                shown[place] = replace(item, note=item.note.partition(" · ")[0])
        return shown

    def node(self, session: ChatSession, node: Node) -> Shown:
        """One message."""
        made = self._made_of(node)
        siblings = session.conversation.siblings(node.id)
        place = (siblings.index(node.id) + 1, len(siblings))
        is_ours = made.is_streaming and session.reply_to(node.id) is not None
        note = "is being written in another window" if made.is_streaming and not is_ours else made.note
        if (made.place, made.is_streaming, made.note) == (place, is_ours, note):
            return made
        return replace(made, place=place, is_streaming=is_ours, note=note)

    def _made_of(self, node: Node) -> Shown:
        known = self._made.get(node.id)
        if known is None or known[0] is not node:
            known = self._made[node.id] = (node, self._shown(node))
        return known[1]

    def label(self, node: Node) -> str:
        """The words that stand for a message in the tree: the answer if there is one, without marks."""
        made = self._made_of(node)
        return (made.text or made.thoughts).lstrip("#*->` \n")

    def parts(self, node: Node) -> list[Part]:
        """A stored reply, split into thoughts and answer."""
        meta = node.meta
        template = self._templates.ok.get(meta.template) if meta else None
        if template is None or meta is None or meta.thinking not in template.thinking:
            # What opened a thought is unknown; the text begins with the bracket that was left to the model.
            opened = node.text.lstrip().startswith(">") and "</think" in node.text
            return split_reply(node.text, "<think" if opened else "")
        splitter = template.splitter(meta.thinking)
        return [*splitter.feed(node.text), *splitter.finish()]

    def _shown(self, node: Node) -> Shown:
        is_reply = node.role is Role.ASSISTANT
        thoughts, text = "", node.text
        if is_reply:
            thoughts, text = joined(self.parts(node))
        return Shown(
            node_id=node.id,
            who=_WHO[node.role],
            is_reply=is_reply,
            text=text.strip("\n") if is_reply or node.role is Role.RAW else text,
            thoughts=thoughts.strip(),
            thought_measure=self._measure(node, thoughts) if thoughts.strip() else "",
            detail=_detail(node),
            note=_note(node) if is_reply else "",
            error=_error(node),
            name=node.name,
            is_streaming=node.status is NodeStatus.STREAMING,
        )

    def _measure(self, node: Node, thoughts: str) -> str:
        if node.id in self._measures:
            return self._measures[node.id]
        stats = node.meta.stats if node.meta else None
        if stats is None or not node.text:
            return ""
        share = len(thoughts) / len(node.text)
        return f"about {thought_measure(round(stats.reply_tokens * share), stats.decode_s * share)}"


def joined(parts: Sequence[Part]) -> tuple[str, str]:
    """Thoughts and answer."""
    thoughts = "".join(part.text for part in parts if part.kind == "think")
    return thoughts, "".join(part.text for part in parts if part.kind == "answer")


def _detail(node: Node) -> str:
    meta = node.meta
    if meta is None:
        return ""
    words = [meta.model] if meta.model else []
    if meta.seed is not None:
        words.append(f"seed {meta.seed}")
    if meta.stats is not None:
        words.append(f"{meta.stats.reply_tokens:,} tok")
        if meta.stats.decode_tok_s:
            words.append(f"{meta.stats.decode_tok_s:.0f} tok/s")
        words.append(f"{meta.stats.prompt_tokens:,} read")
    if meta.voices:
        words.append(f"chorus with {', '.join(meta.voices)}")
    return " · ".join(words)


def _note(node: Node) -> str:
    if node.status is not NodeStatus.STOPPED:
        return "" if node.text.strip() or node.status is not NodeStatus.COMPLETE else "said nothing"
    reason = node.meta.reason if node.meta else ""
    if reason == "length":
        return f"reached the token limit · {_GOES_ON}"
    return f"stopped · {_GOES_ON}"


def _error(node: Node) -> str:
    if node.status is not NodeStatus.FAILED:
        return ""
    reason = node.meta.reason if node.meta else ""
    return f"{reason or 'The reply failed.'} ctrl+r tries again."
