"""What of an open chat can be looked at and set without asking the model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from chatrwkv.chat.changes import Changes
from chatrwkv.chat.plan import plan_path
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatrwkv.chat.plan import Plan
    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.chat.replies import Reply
    from chatrwkv.chat.surroundings import Surroundings
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.chat.tree import ChatId, Conversation, Node, NodeId
    from chatrwkv.chat.vault import Vault
    from chatrwkv.engine import Job, SamplingParams
    from chatrwkv.errors import StoreError


_TITLE_CHARS = 60


class SessionView:
    """One open chat without its talking; `ChatSession` adds that."""

    def __init__(self, around: Surroundings, chat_id: ChatId) -> None:
        self._around = around
        self._id = chat_id
        self._lock = False
        self._take_lock()
        self._changes = Changes(around.store, chat_id)
        self._replies: list[Reply] = []
        self._unsaved: dict[NodeId, Node] = {}
        self._save_failed: StoreError | None = None
        self._n_learnt = 0  # how often a node got new ids
        self._counted: tuple[object, int] = (None, 0)

    def _take_lock(self) -> bool:
        """Whether the chat is ours; what a crash left streaming is stopped then."""
        self._lock = self._around.locks.take(self._id)
        if self._lock:
            self._around.store.stop_interrupted(self._id).result()
        return self._lock

    # -- looking ------------------------------------------------------------------------------------------

    @property
    def id(self) -> ChatId:
        """The chat's id."""
        return self._id

    @property
    def conversation(self) -> Conversation:
        """The tree as it stands; a value, so comparing by `is` tells whether it changed."""
        return self._changes.view

    @property
    def title(self) -> str:
        """The chat's title; empty before the first message."""
        return self.conversation.title

    @property
    def head(self) -> NodeId:
        """The last node shown."""
        return self.conversation.head

    @property
    def is_open_elsewhere(self) -> bool:
        """Whether another process had this chat first; both may write, each in branches of its own."""
        return not self._lock

    @property
    def is_saved(self) -> bool:
        """Whether everything is on disk; if not, `problem` says why."""
        return not self._unsaved and self._around.store.problem is None

    @property
    def problem(self) -> StoreError | None:
        """Why the last write failed."""
        return self._around.store.problem

    @property
    def only_in_memory(self) -> StoreError | None:
        """Why a text of this chat is not on disk though it should be; it is tried again and again."""
        is_waiting = self._unsaved or self._replies
        return (self._save_failed or self.problem) if is_waiting else None

    @property
    def replies(self) -> list[Reply]:
        """Replies that are being written."""
        return list(self._replies)

    @property
    def vault(self) -> Vault:
        """Where snapshots are."""
        return self._around.vault

    @property
    def template(self) -> PromptTemplate:
        """The template in use: the chat's own, else the one for the model's family."""
        templates, name = self._around.templates, self.conversation.template
        if name and name in templates.ok:
            return templates.ok[name]
        return templates.default_for(self._around.family())

    @property
    def params(self) -> SamplingParams:
        """The sampling in use: the chat's own, else the template's with the user's settings on top."""
        own = self.conversation.params
        return own or replace(self.template.sampling, **self._around.settings.sampling)

    @property
    def thinking(self) -> str:
        """The thinking mode in use; a mode that the template lacks counts as none."""
        mode = self.conversation.thinking
        return mode if mode in self.template.thinking else self.template.default_mode

    @property
    def system(self) -> str:
        """The system text."""
        return self.conversation.nodes[self.conversation.root].text

    def path(self) -> list[Node]:
        """What is shown, first message first; the root only if it holds a system text."""
        path = self.conversation.path()
        return path if path[0].text else path[1:]

    def node(self, node_id: NodeId) -> Node:
        """One message.

        Raises:
            BadValue: there is none.
        """
        found = self.conversation.nodes.get(node_id)
        if found is None:
            raise BadValue(f"There is no message {node_id} in this chat.", hint="It may have been deleted.")
        return found

    def reply_to(self, node_id: NodeId) -> Reply | None:
        """The reply that is being written into `node_id`, if any."""
        return next((reply for reply in self._replies if reply.node_id == node_id), None)

    def record(self, node_id: NodeId) -> TokenRecord | None:
        """What was likely at each token of a message, also while it is written; None if nothing was kept."""
        self.node(node_id)
        reply, unsaved = self.reply_to(node_id), self._unsaved.get(node_id)
        found = reply.record if reply else unsaved.record if unsaved else None
        return found or self._around.store.record(node_id)

    def token_bytes(self, token_ids: Iterable[int]) -> Job[dict[int, bytes]]:
        """What tokens of the model that is loaded say; `Done` with bytes by id."""
        wanted = frozenset(token_ids)
        return self._around.engine.call(
            lambda loaded, _cancelled, _progress: {i: loaded.tokenizer.bytes_of(i) for i in wanted}
        )

    def plan(self, node_id: NodeId | None = None) -> Plan:
        """How the path to `node_id`, or to the head, is read by a model."""
        path = self.conversation.path(node_id)
        return plan_path(path, self._usable_template(), self.thinking, for_reply=False)

    def n_tokens(self) -> int:
        """Tokens on the path shown, as far as the model that is loaded has read it in this template."""
        model = self._around.model()
        if model is None:
            return 0
        # 10 ms for 1,000 messages, so not for each piece of a reply that is being written.
        key = (self.head, self._changes.revision, self._n_learnt, self.template.name, model.tokenizer_id)
        if self._counted[0] != key:
            plan = plan_path(self.conversation.path(), self.template, self.thinking, for_reply=False)
            self._counted = (key, plan.n_known(model.tokenizer_id))
        return self._counted[1]

    def refresh(self) -> None:
        """Load the chat again if another process or a backup changed it."""
        self._changes.refresh()

    # -- moving about -------------------------------------------------------------------------------------

    def select(self, node_id: NodeId, *, exactly: bool = False) -> None:
        """Show the path through `node_id`, down to the leaf seen there last; or end exactly there."""
        self.node(node_id)
        self._changes.show(node_id if exactly else self.conversation.leaf_below(node_id))

    def step_sibling(self, node_id: NodeId, step: int) -> NodeId | None:
        """Show the sibling `step` places further and what lies below it; None past either end."""
        self.node(node_id)
        found = self.conversation.sibling(node_id, step)
        if found is not None:
            self.select(found)
        return found

    def bookmark(self, node_id: NodeId, name: str) -> None:
        """Give a message a name; an empty one takes it away."""
        self._changes.rewrite("bookmark", replace(self.node(node_id), name=name))

    # -- settings of the chat -----------------------------------------------------------------------------

    def rename(self, title: str) -> None:
        """Give the chat another title."""
        self._changes.set("rename", "title", title)

    def set_template(self, name: str) -> None:
        """Write turns in another format from now on; an empty name follows the model.

        Raises:
            TemplateError: there is none of that name.
        """
        if name:
            self._around.templates.get(name)
        self._changes.set("template", "template", name)

    def set_system(self, text: str) -> None:
        """Give the chat another system text; everything is read again with it."""
        root = self.conversation.nodes[self.conversation.root]
        self._changes.rewrite("system", replace(root, text=storable(text)))

    def set_params(self, params: SamplingParams | None) -> None:
        """Sample with these settings from now on; None returns to the template's."""
        self._changes.set_params(params)

    def set_thinking(self, mode: str) -> None:
        """Think in another mode from now on.

        Raises:
            BadValue: the template has no such mode.
        """
        if mode:
            self.template.mode(mode)
        self._changes.set_thinking(mode)

    def _usable_template(self) -> PromptTemplate:
        name = self.conversation.template
        return self._around.templates.get(name) if name else self.template


def storable(text: str) -> str:
    """`text` without the lone surrogates that a terminal may pass on and no database takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def first_line(text: str) -> str:
    """The first line that says something, short enough for a title."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _TITLE_CHARS else line[: _TITLE_CHARS - 1].rstrip() + "…"
