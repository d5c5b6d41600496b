"""One open chat: send, stop, retry, edit, continue, fork, undo; where tree, store, vault and engine meet.

It belongs to one thread (the interface's). Every change of the tree is committed before it is shown; a view
that another process made stale is loaded again first, so that nobody overwrites anybody.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from chatrwkv.chat.branching import branch
from chatrwkv.chat.chorus import voices_of
from chatrwkv.chat.impersonate import Suggestion, user_request
from chatrwkv.chat.plan import drawn_ids, plan_path
from chatrwkv.chat.portable import save_portable
from chatrwkv.chat.replies import Reply
from chatrwkv.chat.session_keeper import SessionKeeper
from chatrwkv.chat.session_tree import SessionTree
from chatrwkv.chat.session_view import first_line, storable
from chatrwkv.chat.tree import ChatId, Node, NodeId, NodeStatus, ReplyMeta, Role, new_id, new_node
from chatrwkv.engine import GenerateRequest
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from chatrwkv.chat.plan import Ids, Plan
    from chatrwkv.chat.surroundings import Surroundings
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.engine import Job, LoadedModel, Prompt, SamplingParams, Snapshot

_RETRY_SAVE_S = 2.0
_LOOK_ELSEWHERE_S = 1.0


class ChatSession(SessionTree, SessionKeeper):
    """One open chat. Made by `Workspace`.

    Args:
        around: what all chats share.
        chat_id: which chat.
    """

    def __init__(self, around: Surroundings, chat_id: ChatId) -> None:
        super().__init__(around, chat_id)
        self._looked_s = 0.0
        self._is_closed = False

    # -- talking ------------------------------------------------------------------------------------------

    def send(self, text: str) -> Reply:
        """Add the user's message and start a reply; the message is on disk when this returns.

        Raises:
            BadValue: nothing but blanks.
            GenerationError: a reply on this path is still being written.
            StoreError: it could not be saved; nothing changed.
        """
        text = storable(text)
        if not text.strip():
            raise BadValue("There is nothing to send.", hint="Type a message first.")
        self._changes.refresh()
        self._refuse_while_writing(self.head)
        template = self._usable_template()
        return self._ask(self.head, text, template, "send", title=self.title or first_line(text))

    def _ask(self, parent: NodeId, text: str, template: PromptTemplate, label: str, *, title: str) -> Reply:
        user = new_node(parent, Role.USER, text)
        answer = self._blank_reply(user.id, template, self.thinking, self.params)
        self._changes.add(label, [user, answer], head=answer.id, title=title, full=True)
        self._around.store.save_draft(self.id, "")
        return self._start([answer], template)[0]

    def retry(
        self,
        node_id: NodeId | None = None,
        n: int = 1,
        thinking: str | None = None,
        params: Sequence[SamplingParams] | None = None,
    ) -> list[Reply]:
        """Write `n` other replies beside `node_id` (or below it, for a user's message), in one batch.

        Args:
            node_id: a reply or a message; the head unless given.
            n: how many.
            thinking: another mode than the chat's.
            params: sampling of each, in place of `n`.
        """
        self._changes.refresh()
        template = self._usable_template()
        mode = self.thinking if thinking is None else thinking
        template.mode(mode)  # raises for one that the template lacks
        node = self.node(node_id or self.head)
        parent = node.parent if node.role is Role.ASSISTANT else node.id
        assert parent is not None, "a reply has a parent"
        self._refuse_while_writing(parent)
        n_before = len(self.conversation.children.get(parent, ()))
        wanted = params or [_reseeded(self.params, n_before + i) for i in range(n)]
        answers = [self._blank_reply(parent, template, mode, each) for each in wanted]
        label = "regenerate" if n_before else "reply"
        self._changes.add(label, answers, head=answers[0].id)
        return self._start(answers, template)

    def chorus(self, paths: Sequence[Path], node_id: NodeId | None = None) -> Reply:
        """Another reply, drawn from the mean of what this chat's mind and saved states would say; experimental.

        Args:
            paths: state files of the model that is loaded; each reads the last message, nothing else of this chat.
            node_id: a message or a reply to it; the head unless given.

        Raises:
            BadValue: there is no message to reply to.
        """
        self._changes.refresh()
        template = self._usable_template()
        node = self.node(node_id or self.head)
        message = self.node(node.parent) if node.role is Role.ASSISTANT and node.parent else node
        if message.role is not Role.USER:
            raise BadValue("There is no message to reply to.", hint="Write one first.")
        self._refuse_while_writing(message.id)
        answer = self._blank_reply(message.id, template, self.thinking, self.params)
        assert answer.meta is not None, "a reply says how it is made"
        answer = replace(answer, meta=replace(answer.meta, voices=tuple(path.stem for path in paths)))
        self._changes.add("chorus", [answer], head=answer.id)
        voices = voices_of(paths, message, template, self.thinking)
        return self._start([answer], template, voices=voices)[0]

    def continue_reply(self, node_id: NodeId | None = None) -> Reply:
        """Let a reply go on where it ended, with nothing to prefill.

        A reply that has messages below goes on in a copy beside it, so that what they answer stays.
        """
        self._changes.refresh()
        node = self.node(node_id or self.head)
        node = replace(node, record=self.record(node.id))
        if node.role is not Role.ASSISTANT:
            raise BadValue("Only a reply can go on.", hint="Choose a reply, or regenerate one here.")
        self._refuse_while_writing(node.id)
        template = self._usable_template()
        if self.conversation.children.get(node.id):
            node = replace(node, id=new_id(), created=time.time(), name="")
            self._changes.add("continue", [node], head=node.id)
        elif self.head != node.id:
            self.select(node.id)
        mode = node.meta.thinking if node.meta else self.thinking
        params = replace(self.params, seed=node.meta.seed if node.meta else None)
        meta = self._blank_meta(template, mode, params)
        if node.meta:
            meta = replace(meta, n_drawn=node.meta.n_drawn, mu=node.meta.mu, chosen=node.meta.chosen)
            is_at_end = node.status is NodeStatus.COMPLETE and node.meta.n_drawn
            ends = (node.meta.n_drawn,) if is_at_end else ()
            meta = replace(meta, resumed=(*node.meta.resumed, *ends))
        going = replace(node, status=NodeStatus.STREAMING, meta=meta)
        self._changes.overlay(going)
        self._around.store.finish_node(going)
        return self._start([going], template, before=node)[0]

    def branch_at(self, node_id: NodeId, place: int, token_id: int) -> Reply:
        """Write a sibling of a reply that says another token at one place, and goes on from there.

        At most the reply up to that place is read again.

        Args:
            node_id: a reply.
            place: the token, counted from 0 over `record(node_id)`.
            token_id: what it says there; of the vocabulary of the model that wrote the reply.

        Raises:
            BadValue: nothing is known about that token, or the model that is loaded has another vocabulary.
        """
        self._changes.refresh()
        self._refuse_while_writing(node_id)
        template, model, record = self._usable_template(), self._around.model(), self.record(node_id)
        made, forced = branch(self.node(node_id), record, place, token_id, template)
        if record and model and record.tokenizer_id != model.tokenizer_id:
            raise BadValue(
                f"This reply was written in another vocabulary than that of {model.name}.",
                hint=f"Load {made.meta.model if made.meta else 'its model'}, then branch again.",
            )
        assert made.meta is not None, "a reply says how it is made"
        params = replace(self.params, seed=made.meta.seed)
        meta = self._blank_meta(template, made.meta.thinking, params)
        old = made.meta
        meta = replace(meta, n_drawn=old.n_drawn, chosen=old.chosen, resumed=old.resumed)
        made = replace(made, created=time.time(), meta=meta)
        self._changes.add("branch at a token", [made], head=made.id)
        return self._start([made], template, before=made if made.text else None, forced=forced)[0]

    def impersonate(self) -> Suggestion:
        """Let the model write what the user might say next; nothing is kept of it.

        Raises:
            BadValue: the template has no user's side.
            GenerationError: a reply on this path is still being written.
        """
        self._changes.refresh()
        self._refuse_while_writing(self.head)
        template = self._usable_template()
        params = replace(self.params, seed=None)

        def prepare(plan: Plan, loaded: LoadedModel) -> Prompt:
            return plan.read(loaded, self.vault, params.guide).prompt

        request = user_request(self.conversation.path(), template, params, prepare)
        suggestion = Suggestion()
        suggestion.attach(self._around.engine.submit(request))
        return suggestion

    def edit(self, node_id: NodeId, text: str) -> Reply | None:
        """Change a message: the user's as a new branch with a reply, a reply or the system text in place.

        What lies below an edited reply stays; its states no longer fit and are never used for it.
        """
        self._changes.refresh()
        node, text = self.node(node_id), storable(text)
        if node.role is Role.USER:
            if not text.strip():
                raise BadValue("There is nothing to send.", hint="Type a message, or delete the branch.")
            template = self._usable_template()
            assert node.parent is not None, "only the root has no parent"
            return self._ask(node.parent, text, template, "edit", title=self.title)
        self.edit_in_place(node_id, text)
        return None

    def stop(self) -> None:
        """Ask every reply of this chat to stop; each keeps its text and its mind."""
        for reply in self._replies:
            reply.stop()

    def poll(self) -> bool:
        """Poll every reply, save again what failed to save, notice other processes; whether the tree changed."""
        if self._is_closed:
            return False
        before = self.conversation
        for reply in self.replies:
            reply.poll()
        now = time.monotonic()
        if self._unsaved and now - self._tried_saving_s > _RETRY_SAVE_S:
            self._tried_saving_s = now
            for node in list(self._unsaved.values()):
                self._save(node)
        if self.is_open_elsewhere and now - self._looked_s > _LOOK_ELSEWHERE_S:
            self._looked_s = now
            self._look_elsewhere()
        return self.conversation is not before

    # -- states -------------------------------------------------------------------------------------------

    def save_state(self, path: Path, node_id: NodeId | None = None) -> Job[Path]:
        """Write the mind after `node_id` and the conversation that led to it; `Done(path)` when it is there.

        What no snapshot holds is read first, with progress. The file needs no database to be opened.
        """
        at = self.node(node_id or self.head)
        template = self._usable_template()
        small = self.conversation.copy_path(at.id, self.title)[0]
        small = replace(small, template=template.name, thinking=self.thinking, params=self.params)
        plan = plan_path(small.path(), template, self.thinking, for_reply=False)
        return self._around.engine.call(save_portable(path, small, plan, self.vault))

    # -- inside -------------------------------------------------------------------------------------------

    def _blank_meta(self, template: PromptTemplate, mode: str, params: SamplingParams) -> ReplyMeta:
        model = self._around.model()
        return ReplyMeta(
            model=model.name if model else "",
            fingerprint=model.fingerprint if model else "",
            template=template.name,
            thinking=mode,
            params=params,
            seed=params.seed,
        )

    def _blank_reply(
        self, parent: NodeId, template: PromptTemplate, mode: str, params: SamplingParams
    ) -> Node:
        meta = self._blank_meta(template, mode, params)
        return new_node(parent, Role.ASSISTANT, "", status=NodeStatus.STREAMING, meta=meta)

    def _start(
        self,
        nodes: Sequence[Node],
        template: PromptTemplate,
        *,
        before: Node | None = None,
        forced: Ids = (),
        voices: Callable[[LoadedModel], tuple[Snapshot, ...]] = lambda _: (),
    ) -> list[Reply]:
        """Hand replies to the engine, in one batch; `before` is the one reply that goes on, as it was."""
        replies, requests = [], []
        for node in nodes:
            assert node.meta is not None, "a reply says how it is made"
            mode, params = node.meta.thinking, node.meta.params
            mode = mode if mode in template.thinking else template.default_mode
            path = self.conversation.path(node.id if before else node.parent)
            # Rendered on the engine thread: 100 ms for 10,000 messages, which would be a dropped frame here.
            plan = partial(plan_path, path, template, mode, for_reply=before is None)
            reply = Reply(node, plan, template.splitter(mode), self, before)
            drawn: Ids = ()
            if before and (model := self._around.model()):
                drawn = drawn_ids(node, template, model.tokenizer_id)
            if before and before.status is NodeStatus.COMPLETE:
                # It had come to its end; without this the first draw would be that end again.
                params = replace(params, min_tokens=max(params.min_tokens, len(drawn) + 1))
            requests.append(
                GenerateRequest(
                    prepare=partial(_prepared, reply, voices),
                    params=params,
                    stops=template.stops,
                    stop_on_end=template.end_token,
                    start_position=len(drawn),
                    penalise=drawn,
                    forced=forced,
                    mu=node.meta.mu if drawn else None,
                )
            )
            replies.append(reply)
        self._replies.extend(replies)
        for reply, job in zip(replies, self._around.engine.submit_many(requests), strict=True):
            reply.attach(job)
        return replies

    def _look_elsewhere(self) -> None:
        if self._take_lock():  # the other process has ended, perhaps in the middle of a reply
            self._changes.refresh(force=True)
            return
        own = {reply.node_id for reply in self._replies}
        nodes = self.conversation.nodes.values()
        streams = any(node.status is NodeStatus.STREAMING and node.id not in own for node in nodes)
        self._changes.refresh(force=streams)

    def close(self) -> None:
        """Stop what is being written, save it, and let other processes have the chat."""
        self._settle(self._replies)
        if self._lock and not self._is_closed:
            self._around.locks.give(self.id)
        self._is_closed = True


def _reseeded(params: SamplingParams, place: int) -> SamplingParams:
    # A fixed seed would make every sibling the same reply; the first one keeps it.
    return params if params.seed is None or not place else replace(params, seed=params.seed + place)


def _prepared(
    reply: Reply, voices: Callable[[LoadedModel], tuple[Snapshot, ...]], loaded: LoadedModel
) -> Prompt:
    return replace(reply.prepare(loaded), voices=voices(loaded))
