"""What of an open chat changes its tree without asking the model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.session_view import SessionView, storable
from chatrwkv.chat.tree import ChatId, NodeId, NodeStatus, Role
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chatrwkv.chat.replies import Reply

_SETTLE_S = 1.0
_FORKED = " (fork)"


class SessionTree(SessionView):
    """One open chat with what can be done to its tree; `ChatSession` adds the talking."""

    def edit_in_place(self, node_id: NodeId, text: str) -> None:
        """Change a message's text where it stands; undoable."""
        node, text = self.node(node_id), storable(text)
        if self.reply_to(node_id):
            raise GenerationError("This reply is still being written.", hint="Stop it first.")
        if node.role is Role.ASSISTANT and not text[:1].isspace():
            # The space or newline between role and reply belongs to the reply and is easily lost in an editor.
            text = node.text[: len(node.text) - len(node.text.lstrip())] + text
        status = NodeStatus.COMPLETE
        self._changes.rewrite("edit in place", replace(node, text=text, status=status))

    def fork(self, node_id: NodeId | None = None, title: str = "") -> ChatId:
        """Copy the path to `node_id` into a new chat that shares its states; this chat stays as it is."""
        at = self.node(node_id or self.head)
        mark = "" if self.title.endswith(_FORKED) or not self.title else _FORKED
        made, renamed = self.conversation.copy_path(at.id, title or self.title + mark)
        for node in list(made.nodes.values()):
            if node.status is NodeStatus.STREAMING:
                made = made.with_node(replace(node, status=NodeStatus.STOPPED))
        store, copies = self._around.store, {new: old for old, new in renamed.items()}
        store.create_chat(made).result()
        # Snapshots on their way to the disk are linked to the old nodes only when they are there.
        self.vault.then(lambda: store.share_snapshots(copies).result())
        return made.id

    def delete(self, node_id: NodeId) -> None:
        """Remove a message and everything below it; undoable."""
        self._changes.refresh()
        self.node(node_id)
        gone = set(self.conversation.subtree(node_id))
        self._settle([reply for reply in self._replies if reply.node_id in gone])
        self._changes.hide("delete branch", node_id)

    def undo(self) -> str | None:
        """Take the last change of this chat back, also one of an earlier run; its label, None if there is none."""
        self._settle(self._replies)
        return self._changes.undo()

    def redo(self) -> str | None:
        """Do again what was undone last; its label, None if there is nothing."""
        self._settle(self._replies)
        return self._changes.redo()

    # -- inside -------------------------------------------------------------------------------------------

    def _refuse_while_writing(self, node_id: NodeId) -> None:
        on_path = {node.id for node in self.conversation.path(node_id)}
        if any(reply.node_id in on_path for reply in self._replies):
            raise GenerationError(
                "A reply here is still being written.", hint="Stop it with esc, or wait for its end."
            )

    def _settle(self, replies: Sequence[Reply]) -> None:
        """End these replies and wait until their last commit is queued."""
        for reply in replies:
            reply.stop()
        for reply in list(replies):
            reply.wait(_SETTLE_S)
            reply.abandon()
