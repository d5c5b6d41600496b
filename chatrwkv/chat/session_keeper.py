"""What replies hand over to the chat they belong to: text as it grows, minds, the whole reply (`replies.Keeper`)."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.session_view import SessionView
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from chatrwkv.chat.plan import Ids
    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.chat.replies import Reply
    from chatrwkv.chat.surroundings import Surroundings
    from chatrwkv.chat.tree import ChatId, Node, NodeId
    from chatrwkv.engine import Snapshot


class SessionKeeper(SessionView):
    """See the module; `ChatSession` adds the talking."""

    def __init__(self, around: Surroundings, chat_id: ChatId) -> None:
        super().__init__(around, chat_id)
        self._tried_saving_s = 0.0

    def keep_text(self, node_id: NodeId, text: str, record: TokenRecord | None) -> None:
        """Save a reply so far."""
        if node_id in self.conversation.nodes:  # another window may have deleted the branch meanwhile
            self._changes.overlay(replace(self.node(node_id), text=text))
        self._around.store.update_text(node_id, text, record)

    def keep_prompt(
        self, reply: Reply, snapshot: Snapshot, encoded: Mapping[NodeId, Mapping[str, Ids]]
    ) -> None:
        """Keep the mind after a prompt under the message that was answered, and the ids fed for it."""
        owner = reply.node_id if reply.before else reply.node.parent
        assert owner is not None, "a reply has a parent"
        self._n_learnt += 1
        for node_id, tokens in encoded.items():
            if node_id == reply.node_id:
                reply.learn(tokens)
            if node_id in self.conversation.nodes:
                node = self.conversation.nodes[node_id]
                self._changes.learn(replace(node, tokens={**node.tokens, **tokens}))
        after = self._around.store.put_tokens(encoded) if encoded else None
        self._keep_snapshot(owner, snapshot, after)

    def keep_start(self, node_id: NodeId, snapshot: Snapshot) -> None:
        """Keep the mind after a persona or a document: the next chat that begins with it reads nothing."""
        self._keep_snapshot(node_id, snapshot, None)

    def renew_state(self, node_id: NodeId, snapshot: Snapshot) -> None:
        """Put a state that was read again in the place of the kept one; from any thread."""
        store = self._around.store
        self.vault.renew(snapshot, lambda stored: store.link_snapshot(node_id, stored))

    def keep_reply(self, reply: Reply, node: Node, snapshot: Snapshot | None) -> None:
        """The final commit of a reply, then its mind."""
        self._replies = [other for other in self._replies if other is not reply]
        self._changes.overlay(node)
        self._n_learnt += 1
        if reply.is_continued:
            # On failure the text is saved below, again and again; only this step of undo is lost.
            with contextlib.suppress(StoreError):
                self._changes.rewrite("continue", node, reply.before)
        saved = self._save(node)
        if snapshot is not None:
            self._keep_snapshot(node.id, snapshot, saved)

    def _save(self, node: Node) -> Future[None]:
        self._unsaved[node.id] = node
        self._tried_saving_s = time.monotonic()
        saved = self._around.store.finish_node(node)
        saved.add_done_callback(partial(self._saved, node))
        return saved

    def _saved(self, node: Node, done: Future[None]) -> None:
        # On the writing thread: an assignment and two removals from dictionaries, each of them atomic.
        error = done.exception()
        self._save_failed = error if isinstance(error, StoreError) else None
        if error is None:
            self._unsaved.pop(node.id, None)
            self._changes.settle(node)

    def _keep_snapshot(self, node_id: NodeId, snapshot: Snapshot, after: Future[Any] | None) -> None:
        store = self._around.store
        self.vault.put(snapshot, after=after, saved=lambda stored: store.link_snapshot(node_id, stored))
