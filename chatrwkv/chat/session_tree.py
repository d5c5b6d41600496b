"""What of an open chat changes its tree without asking the model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from chatrwkv.chat.graft import Graft, branch_reader
from chatrwkv.chat.rearrange import forked, grafted, merged, split
from chatrwkv.chat.session_view import SessionView, first_line, storable
from chatrwkv.chat.tree import NodeStatus, Role, new_node
from chatrwkv.errors import BadValue, GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatrwkv.chat.graft import Read
    from chatrwkv.chat.journal import Step
    from chatrwkv.chat.rearrange import Rearranged, Scope
    from chatrwkv.chat.replies import Reply
    from chatrwkv.chat.tree import ChatId, Conversation, NodeId

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

    def fork(self, node_id: NodeId | None = None, title: str = "", scope: Scope = "path") -> ChatId:
        """Copy a part of this chat into a new one that shares its states; this chat stays as it is.

        Undo takes the new chat away, here or there, as long as nothing was done in it.

        Args:
            node_id: where; the head unless given.
            title: of the new chat; this one's unless given.
            scope: the path to `node_id`; with the other versions of each message on it; with all below it.
        """
        at = self.node(node_id or self.head)
        mark = "" if self.title.endswith(_FORKED) or not self.title else _FORKED
        made, renamed = forked(self.conversation, at.id, scope, title or self.title + mark)
        for node in list(made.nodes.values()):
            if node.status is NodeStatus.STREAMING:
                made = made.with_node(replace(node, status=NodeStatus.STOPPED))
        store, copies = self._around.store, {new: old for old, new in renamed.items()}
        store.create_chats([made], undo_in=self.id, label="fork").result()
        # Snapshots on their way to the disk are linked to the old nodes only when they are there.
        self.vault.then(lambda: store.share_snapshots(copies).result())
        return made.id

    # -- putting messages elsewhere -----------------------------------------------------------------------

    def graft(self, node_id: NodeId, below: NodeId, *, move: bool = False) -> Graft:
        """Copy or move a branch below another message, once the model has read it there.

        Until `finish` of the result nothing changes, so that stopping the job leaves everything as it is.

        Raises:
            BadValue: it cannot stand there.
            GenerationError: a reply in the branch is still being written.
        """
        self._changes.refresh()
        self.node(node_id), self.node(below)
        label = "move branch" if move else "copy branch"

        def plan(view: Conversation) -> Rearranged:
            for wanted in (node_id, below):
                if wanted not in view.nodes:
                    raise BadValue("The message was deleted meanwhile.", hint="Choose another one.")
            return grafted(view, node_id, below, move=move)

        self._refuse_while_writing_below(node_id)
        planned = plan(self.conversation)
        future = planned.applied(self.conversation)
        template = self._usable_template()
        reader = branch_reader(future, planned.adds, template, self.thinking, self.vault)
        job = self._around.engine.call(reader)

        def finish() -> NodeId:
            self._refuse_while_writing_below(node_id)
            done = self._changes.rearrange(label, plan)
            self._keep_read(
                job.result(),
                {planned.renamed[old]: new for old, new in done.renamed.items() if old in planned.renamed},
            )
            return done.renamed[node_id]

        return Graft(job, finish)

    def _keep_read(self, read: Read, made: Mapping[NodeId, NodeId]) -> None:
        """Note for the messages what was read for them when they were planned."""
        tokens = {made[key]: read.tokens[key] for key in read.tokens if key in made}
        for node_id, ids in tokens.items():
            node = self.node(node_id)
            self._changes.learn(replace(node, tokens={**node.tokens, **ids}))
        self._n_learnt += 1
        store = self._around.store
        store.put_tokens(tokens)

        def link() -> None:
            for key, stored in read.stored.items():
                if key in made:
                    store.link_snapshot(made[key], stored)

        self.vault.then(link)

    def merge(self, node_id: NodeId) -> NodeId:
        """Make one message of this and its neighbour of the same side: the one above, else the one below.

        Returns:
            The new message.

        Raises:
            BadValue: both neighbours are of the other side.
        """
        return self._rearrange("merge", node_id, lambda view: merged(view, node_id))

    def split(self, node_id: NodeId, at: int) -> NodeId:
        """Make two messages of one side out of one, cut after `at` characters; returns the first.

        Raises:
            BadValue: one of the two would be empty.
        """
        return self._rearrange("split", node_id, lambda view: split(view, node_id, at))

    def _rearrange(self, label: str, node_id: NodeId, plan: Callable[[Conversation], Rearranged]) -> NodeId:
        self._changes.refresh()
        node = self.node(node_id)
        self._refuse_while_writing_below(node.parent or node_id)
        return self._changes.rearrange(label, plan).adds[0].id

    def say(self, role: Literal[Role.USER, Role.ASSISTANT], text: str) -> NodeId:
        """Add a message of either side at the end of the path shown, and ask for no reply.

        Raises:
            BadValue: nothing but blanks.
            GenerationError: a reply on this path is still being written.
        """
        text = storable(text)
        if not text.strip():
            raise BadValue("There is nothing to add.", hint="For example: /as bot Hello.")
        self._changes.refresh()
        self._refuse_while_writing(self.head)
        if role is Role.ASSISTANT:
            text = f" {text.strip()}"  # replies begin with the space that the model writes after its role
        node = new_node(self.head, role, text)
        title = self.title or (first_line(text) if role is Role.USER else "")
        self._changes.add(
            f"say as {'user' if role is Role.USER else 'bot'}", [node], head=node.id, title=title, full=True
        )
        return node.id

    def delete(self, node_id: NodeId) -> None:
        """Remove a message and everything below it; undoable."""
        self._changes.refresh()
        self.node(node_id)
        gone = set(self.conversation.subtree(node_id))
        self._settle([reply for reply in self._replies if reply.node_id in gone])
        self._changes.hide("delete branch", node_id)

    def undo(self) -> Step | None:
        """Take the last change of this chat back, also one of an earlier run; None if there is none.

        In the end that is what made the chat itself: then it is no longer in the list.
        """
        self._settle(self._replies)
        return self._changes.undo()

    def redo(self) -> Step | None:
        """Do again what was undone last; None if there is nothing."""
        self._settle(self._replies)
        return self._changes.redo()

    # -- inside -------------------------------------------------------------------------------------------

    def _refuse_while_writing(self, node_id: NodeId) -> None:
        on_path = {node.id for node in self.conversation.path(node_id)}
        if any(reply.node_id in on_path for reply in self._replies):
            raise GenerationError(
                "A reply here is still being written.", hint="Stop it with esc, or wait for its end."
            )

    def _refuse_while_writing_below(self, node_id: NodeId) -> None:
        branch = set(self.conversation.subtree(node_id)) if node_id in self.conversation.nodes else set()
        if any(reply.node_id in branch for reply in self._replies):
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
