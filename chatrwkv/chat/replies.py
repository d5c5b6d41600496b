"""One reply while it is written: events of the engine in, text for the screen and commits for the store out.

Everything here runs on the thread that owns the session, except `Reply.prepare`, which the engine calls.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from chatrwkv.chat.plan import Ids, Plan, Reading, dialect
from chatrwkv.chat.record import record_before
from chatrwkv.chat.reply import Part
from chatrwkv.chat.tree import Node, NodeId, NodeStatus
from chatrwkv.engine import Failed, Finished, FinishReason, Prefilled, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chatrwkv.chat.record import TokenRecord
    from chatrwkv.chat.reply import ReplySplitter
    from chatrwkv.chat.vault import Vault
    from chatrwkv.engine import Event, GenerationStats, Job, LoadedModel, Prompt, Snapshot
    from chatrwkv.errors import ChatRWKVError

# What a crash may cost at most.
SAVE_EVERY_S = 1.0
SAVE_EVERY_TOKENS = 64
_MEASURED_S = (
    0.25  # tokens wait for the poll and come in handfuls: over a shorter time, their rate says nothing
)


class Mark(NamedTuple):
    """How much of a reply's parts a reader has taken."""

    n_parts: int = 0
    n_chars: int = 0
    """Of the last of them."""


@dataclass(frozen=True, slots=True)
class ReplyView:
    """A reply as it stands."""

    text: str
    """Raw, all of it, also what a continued reply had before."""
    parts: tuple[Part, ...]
    """Thought and answer, all of it; the last one grows, new ones follow."""
    prefill: tuple[int, int]
    """Prompt tokens read, and how many there are."""
    status: NodeStatus
    stats: GenerationStats | None = None
    """Once it ended."""
    error: ChatRWKVError | None = None
    reason: str = ""
    """A FinishReason, once it ended."""
    n_tokens: int = 0
    """Drawn by this run so far."""
    tok_s: float = 0.0
    """Decoding speed so far; 0 until it could be measured."""

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.status is NodeStatus.STREAMING

    def since(self, mark: Mark) -> tuple[list[Part], Mark]:
        """The parts that came after `mark`, and the mark for the next time; start with `Mark()`."""
        fresh: list[Part] = []
        for place in range(max(0, mark.n_parts - 1), len(self.parts)):
            part = self.parts[place]
            text = part.text[mark.n_chars :] if place == mark.n_parts - 1 else part.text
            if text:
                fresh.append(Part(part.kind, text))
        return fresh, Mark(len(self.parts), len(self.parts[-1].text) if self.parts else 0)


class Keeper(Protocol):
    """Where a reply's text and minds go: the session."""

    @property
    def vault(self) -> Vault:
        """Where snapshots are looked up."""
        ...

    def keep_text(self, node_id: NodeId, text: str, record: TokenRecord | None) -> None:
        """The reply so far."""
        ...

    def keep_prompt(
        self, reply: Reply, snapshot: Snapshot, encoded: Mapping[NodeId, Mapping[str, Ids]]
    ) -> None:
        """The mind after the prompt, and ids that were encoded for it."""
        ...

    def keep_start(self, node_id: NodeId, snapshot: Snapshot) -> None:
        """The mind after the part of a prompt that other chats may begin with, too."""
        ...

    def keep_reply(self, reply: Reply, node: Node, snapshot: Snapshot | None) -> None:
        """The whole reply and the mind after it."""
        ...


class Reply:
    """One reply that is being written, or has just been.

    Args:
        node: its node, STREAMING; its text is what a continued reply has already.
        plan: makes what is read before; called on the engine thread.
        splitter: fresh; it has been told what the template put at the reply's start.
        keeper: who saves.
        before: a reply that goes on, as it was; the plan ends inside it.
    """

    def __init__(
        self,
        node: Node,
        plan: Callable[[], Plan],
        splitter: ReplySplitter,
        keeper: Keeper,
        before: Node | None = None,
    ) -> None:
        self.node = node
        self.before = before
        self.tokens: list[Token] = []
        """Every token drawn by this run, with its candidates."""
        self.reading: Reading | None = None
        self._plan = plan
        self._splitter = splitter
        self._keeper = keeper
        self._job: Job[Finished] | None = None
        self._parts: list[Part] = []
        self._streamed: list[str] = []
        self._began = node.text if before else ""
        self._add_parts(splitter.feed(self._began))
        self._text = self._began
        self._first_token_s = 0.0
        self._last_token_s = 0.0
        self._saved_s = time.monotonic()
        self._saved_tokens = 0
        self._view = ReplyView(self._text, tuple(self._parts), (0, 0), NodeStatus.STREAMING)

    @property
    def node_id(self) -> NodeId:
        """The node it fills."""
        return self.node.id

    @property
    def job(self) -> Job[Finished]:
        """The engine's handle, while it is running."""
        assert self._job is not None, "not submitted yet, or over"
        return self._job

    @property
    def view(self) -> ReplyView:
        """What the last `poll` saw."""
        return self._view

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self._view.is_running

    @property
    def record(self) -> TokenRecord | None:
        """What was likely at each token so far."""
        return self._so_far().record

    @property
    def is_continued(self) -> bool:
        """Whether it goes on from a text that was there, rather than from a place inside another reply."""
        return self.before is not None and self.before.status is not NodeStatus.STREAMING

    # -- for the engine -----------------------------------------------------------------------------------

    def attach(self, job: Job[Finished]) -> None:
        """Take the engine's handle."""
        self._job = job

    def prepare(self, loaded: LoadedModel) -> Prompt:
        """What to feed; runs on the engine thread with the model that will answer."""
        guide = self.node.meta.params.guide if self.node.meta else None
        reading = self._plan().read(loaded, self._keeper.vault, guide)
        self.reading = reading  # one assignment: the other thread sees all of it or nothing
        return reading.prompt

    def learn(self, tokens: Mapping[str, Ids]) -> None:
        """Ids that were encoded for the text it goes on from."""
        self.node = replace(self.node, tokens={**self.node.tokens, **tokens})

    # -- for the screen -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the engine to stop; the text stays."""
        if self._job is not None:
            self._job.cancel()

    def poll(self) -> ReplyView:
        """Take what has come, save when it is time, and tell how the reply stands; call it often."""
        if self.is_running and self._job is not None:
            for event in self._job.drain():
                self._take(event)
            if self.is_running:
                self._save_if_due()
        return self._view

    def wait(self, timeout: float | None = None) -> ReplyView:
        """Poll until the reply ends, or `timeout` seconds passed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll().is_running:
            left = SAVE_EVERY_S if deadline is None else min(SAVE_EVERY_S, deadline - time.monotonic())
            if left <= 0:
                break
            if self._job is not None:
                self._job.done.wait(left)
        return self._view

    # -- inside -------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, Token):
            self._take_token(event)
        elif isinstance(event, Prefilled):
            self._view = replace(self._view, prefill=(event.done, event.total))
            if event.snapshot is not None and self.reading is not None:
                self._keep_read(event.snapshot, self.reading, is_whole=event.done == event.total)
        elif isinstance(event, Finished):
            self._finish(event)
        elif isinstance(event, Failed):
            self._fail(event.error)

    def _keep_read(self, snapshot: Snapshot, reading: Reading, *, is_whole: bool) -> None:
        if is_whole:
            self._keeper.keep_prompt(self, snapshot, reading.encoded)
        elif snapshot.n_tokens in reading.marks:
            self._keeper.keep_start(reading.marks[snapshot.n_tokens], snapshot)

    def _take_token(self, token: Token) -> None:
        self._last_token_s = time.monotonic()
        if not self.tokens:
            self._first_token_s = self._last_token_s
        self.tokens.append(token)
        if token.text:
            self._streamed.append(token.text)
            self._text += token.text
            self._add_parts(self._splitter.feed(token.text))
        took = self._last_token_s - self._first_token_s
        n = len(self.tokens)
        self._view = replace(
            self._view,
            text=self._text,
            parts=tuple(self._parts),
            n_tokens=n,
            tok_s=(n - 1) / took if took >= _MEASURED_S else 0.0,
        )

    def _add_parts(self, fresh: Sequence[Part]) -> None:
        for part in fresh:
            if self._parts and self._parts[-1].kind == part.kind:
                self._parts[-1] = Part(part.kind, self._parts[-1].text + part.text)
            else:
                self._parts.append(part)

    def _save_if_due(self) -> None:
        now, n = time.monotonic(), len(self.tokens)
        if n == self._saved_tokens:
            return
        if n - self._saved_tokens >= SAVE_EVERY_TOKENS or now - self._saved_s >= SAVE_EVERY_S:
            self._saved_s, self._saved_tokens = now, n
            self.node = self._so_far()
            self._keeper.keep_text(self.node.id, self._text, self.node.record)

    def _so_far(self) -> Node:
        rows = b"".join(token.row for token in self.tokens)
        return replace(self.node, text=self._text, record=self._record(self._text, rows))

    def _record(self, text: str, rows: bytes) -> TokenRecord | None:
        """What was likely at each token of `text`, which `rows` complete."""
        if self.reading is None or not self.tokens:
            return self.node.record
        row_bytes = len(self.tokens[0].row)
        known = self.before.record if self.before else None
        began = record_before(known, self._began, self.reading.tokenizer_id, row_bytes)
        return began.extended(text, rows)

    def _finish(self, event: Finished) -> None:
        # What was held back is only here.
        held = event.text[len("".join(self._streamed)) :]
        self._add_parts([*self._splitter.feed(held), *self._splitter.finish()])
        text = self._began + event.text
        is_whole = event.reason in (FinishReason.END, FinishReason.STOP_STRING)
        status = NodeStatus.COMPLETE if is_whole else NodeStatus.STOPPED
        meta = self.node.meta
        if meta is not None:
            meta = replace(
                meta,
                seed=event.seed,
                reason=event.reason.value,
                stats=event.stats,
                n_drawn=meta.n_drawn + len(event.token_ids),
                mu=event.mu,
            )
        node = replace(self.node, text=text, status=status, meta=meta, record=self._record(text, event.rows))
        if self.reading is not None:
            node = _with_ids(node, self.reading, event.token_ids)
        self._end(node, event.snapshot)
        self._view = replace(
            self._view,
            text=text,
            parts=tuple(self._parts),
            status=status,
            stats=event.stats,
            reason=event.reason.value,
        )

    def _fail(self, error: ChatRWKVError) -> None:
        self._add_parts(self._splitter.finish())
        meta = replace(self.node.meta, reason=error.message) if self.node.meta else None
        self._end(replace(self._so_far(), status=NodeStatus.FAILED, meta=meta), None)
        self._view = replace(
            self._view, text=self._text, parts=tuple(self._parts), status=NodeStatus.FAILED, error=error
        )

    def abandon(self) -> None:
        """End now with the text so far, whatever the engine still does."""
        if self.is_running:
            self.stop()
            self._end(replace(self._so_far(), status=NodeStatus.STOPPED), None)
            self._view = replace(self._view, status=NodeStatus.STOPPED)

    def _end(self, node: Node, snapshot: Snapshot | None) -> None:
        self.node = node
        # It knows this reply, and its last event holds the state: megabytes that would wait for the collector.
        self._job = None
        self._keeper.keep_reply(self, node, snapshot)


def _with_ids(node: Node, reading: Reading, drawn: Ids) -> Node:
    """The node with the ids that were fed for its new text, and with who wrote it."""
    last = reading.last
    name = dialect(reading.tokenizer_id, node.text, last.prefix, last.start_ids)
    tokens = {**node.tokens, name: (*reading.last_ids, *drawn)}
    meta = node.meta
    if meta is not None:
        meta = replace(meta, model=reading.model, fingerprint=reading.fingerprint)
    return replace(node, tokens=tokens, meta=meta)
