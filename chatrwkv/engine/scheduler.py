"""Which rows run next: every reply that can go on is packed into one pass over the weights.

A turn is one piece of prompts and one token of replies. Prompts are read in pieces of about 80 ms, so that
neither a stop nor another reply's next token waits longer than that; equal prompts are read once and
forked. Rows join and leave between turns. Threads are unknown here; the caller calls `turn` in a loop.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from chatrwkv.engine.events import Failed, Finished, FinishReason, GenerationStats, Prefilled
from chatrwkv.engine.faults import foreign_errors
from chatrwkv.engine.generate import Reply, Tape, check_prompt, device_of, last_logits, resting
from chatrwkv.engine.identity import EMPTY_CHAIN, extend
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import ChatRWKVError, NumericalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch import Tensor

    from chatrwkv.engine.generate import Outlet
    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.request import GenerateRequest, Prompt
    from chatrwkv.engine.state import Snapshot, State

T = TypeVar("T")

# More rows than this wait. 64 states of a 3B model are 1.4 GB, and a pass is bound by arithmetic by then.
MAX_ROWS = 64


class Pace:
    """How many prompt tokens make a piece of about 80 ms, found by doubling and halving.

    Powers of two, so that pieces are usually cut at the same places and numbers repeat.
    """

    TARGET_S = 0.08
    SMALLEST, LARGEST = 16, 8192

    def __init__(self, tokens: int = 64) -> None:
        self.tokens = tokens

    def note(self, n_tokens: int, seconds: float) -> None:
        """A piece of `n_tokens` took this long."""
        if n_tokens < self.tokens:
            return  # the end of a prompt says little about a whole piece
        if seconds < self.TARGET_S / 2:
            self.tokens = min(2 * self.tokens, self.LARGEST)
        elif seconds > self.TARGET_S * 1.5:
            self.tokens = max(self.tokens // 2, self.SMALLEST)


class _Pack(Generic[T]):
    """Things that take part in one pass; row i of the scratch belongs to item i."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._scratch: Scratch | None = None
        self.items: list[T] = []

    @property
    def scratch(self) -> Scratch:
        assert self._scratch is not None, "no rows"
        return self._scratch

    def join(self, items: Sequence[T], states: Sequence[State]) -> None:
        """Add copies of `states` as rows."""
        if not items:
            return
        fresh = Scratch.stack(states, self._device)
        if self._scratch is None:
            self._scratch = fresh
        else:
            self._scratch.append(fresh)
        self.items += items

    def leave(self, rows: Collection[int]) -> None:
        """Let rows go; those behind them move up."""
        if len(rows) == len(self.items):
            self._scratch, self.items = None, []
        elif rows:
            self.scratch.drop(rows)
            self.items = [item for row, item in enumerate(self.items) if row not in rows]

    def freeze(self, row: int) -> State:
        """A copy of one row."""
        return self.scratch.freeze(row)


class _Prefill:
    """One prompt that is being read, and the replies that wait for it."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, end: str) -> None:
        self.prompt = prompt
        self.end = end  # the chain after it: what makes two prompts equal
        self.tape = Tape(loaded.model, prompt.snapshot)
        self.seconds = 0.0
        self.done = 0
        self.total = len(prompt.token_ids)
        self.logits: Tensor | None = None
        self.replies: list[Reply] = []

    def piece(self, most: int) -> tuple[int, ...]:
        """What is read next: `most` ids, fewer at a mark and at the end."""
        end = min([self.done + most, *(mark for mark in self.prompt.marks if mark > self.done)])
        return self.prompt.token_ids[self.done : end]

    @property
    def stats(self) -> GenerationStats:
        return GenerationStats(prompt_tokens=self.done, prefill_s=self.seconds)


class Scheduler:
    """Runs the replies of one loaded model."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._model = loaded.model
        device = device_of(loaded.model)
        self._pace = Pace(64 if device.type == "cpu" else 512)
        self._waiting: deque[tuple[GenerateRequest, Outlet]] = deque()
        self._prompts: _Pack[_Prefill] = _Pack(device)
        self._replies: _Pack[Reply] = _Pack(device)

    def add(self, requests: Iterable[tuple[GenerateRequest, Outlet]]) -> None:
        """Let replies take part from the next turn on."""
        self._waiting.extend(requests)

    @property
    def is_busy(self) -> bool:
        """Whether a turn would do anything."""
        return bool(self._waiting or self._prompts.items or self._replies.items)

    @torch.inference_mode()
    def turn(self) -> None:
        """Read one piece of the prompts and one token of the replies.

        Never raises: an error of the model ends every reply that takes part, one of a request that reply.
        """
        try:
            with foreign_errors():
                self._drop_cancelled()
                self._admit()
                self._read_prompts()
                self._drop_cancelled()
                self._decode()
        except ChatRWKVError as error:
            self._fail(error)

    # -- who takes part -----------------------------------------------------------------------------------

    def _admit(self) -> None:
        n_rows = len(self._replies.items) + sum(len(prefill.replies) for prefill in self._prompts.items)
        while self._waiting and n_rows < MAX_ROWS:
            request, outlet = self._waiting.popleft()
            try:
                with foreign_errors():
                    prompt = check_prompt(self._loaded, request.prepare(self._loaded))
                    reply = Reply(self._loaded, request, outlet)
            except ChatRWKVError as error:
                outlet.put(Failed(error))
                continue
            n_rows += 1
            self._place(reply, prompt)

    def _place(self, reply: Reply, prompt: Prompt) -> None:
        start = prompt.snapshot
        if start is not None and not prompt.token_ids:
            reply.outlet.put(Prefilled(0, 0, start))
            self._begin([reply], start, GenerationStats())
            return
        end = extend(EMPTY_CHAIN if start is None else start.chain, prompt.token_ids)
        prefill = next((known for known in self._prompts.items if known.end == end), None)
        if prefill is None:
            prefill = _Prefill(self._loaded, prompt, end)
            self._prompts.join([prefill], [self._model.blank() if start is None else start.state])
        prefill.replies.append(reply)

    def _begin(self, replies: Sequence[Reply], snapshot: Snapshot, stats: GenerationStats) -> None:
        for reply in replies:
            reply.begin(snapshot, stats)
        self._replies.join(replies, [snapshot.state] * len(replies))

    def _drop_cancelled(self) -> None:
        for request, outlet in [pair for pair in self._waiting if pair[1].cancelled]:
            self._waiting.remove((request, outlet))
            seed = request.params.seed or 0
            outlet.put(Finished(FinishReason.CANCELLED, None, (), "", GenerationStats(), seed))
        empty = set()
        for row, prefill in enumerate(self._prompts.items):
            for reply in [reply for reply in prefill.replies if reply.outlet.cancelled]:
                prefill.replies.remove(reply)
                reply.stats = prefill.stats
                reply.finish_unread(self._read_so_far(row, prefill))
            if not prefill.replies:
                empty.add(row)
        self._prompts.leave(empty)
        gone = {row for row, reply in enumerate(self._replies.items) if reply.outlet.cancelled}
        for row in gone:
            self._replies.items[row].finish(FinishReason.CANCELLED, partial(self._replies.freeze, row))
        self._replies.leave(gone)

    def _fail(self, error: ChatRWKVError) -> None:
        waiting = [reply for prefill in self._prompts.items for reply in prefill.replies]
        for reply in (*waiting, *self._replies.items):
            if not reply.is_over:
                reply.outlet.put(Failed(error))
        for pack in (self._prompts, self._replies):
            pack.leave(range(len(pack.items)))

    # -- the two passes -----------------------------------------------------------------------------------

    def _read_prompts(self) -> None:
        prefills = self._prompts.items
        if not prefills:
            return
        share = max(1, self._pace.tokens // len(prefills))
        pieces = [prefill.piece(share) for prefill in prefills]
        start = time.perf_counter()
        logits = last_logits(self._model, pieces, self._prompts.scratch)
        seconds = time.perf_counter() - start
        self._pace.note(sum(map(len, pieces)), seconds)
        read = set()
        for row, (prefill, piece) in enumerate(zip(prefills, pieces, strict=True)):
            prefill.tape.read(piece)
            prefill.logits = logits[row]
            prefill.done += len(piece)
            prefill.seconds += seconds
            is_read = prefill.done == prefill.total
            is_wanted = is_read or prefill.done in prefill.prompt.marks
            snapshot = self._read_so_far(row, prefill) if is_wanted else None
            for reply in prefill.replies:
                reply.outlet.put(Prefilled(prefill.done, prefill.total, snapshot))
            if is_read and snapshot is not None:
                read.add(row)
                self._begin(prefill.replies, snapshot, prefill.stats)
        self._prompts.leave(read)

    def _read_so_far(self, row: int, prefill: _Prefill) -> Snapshot | None:
        if prefill.logits is None:
            return prefill.prompt.snapshot
        return resting(prefill.tape.snapshot(self._prompts.freeze(row), prefill.logits))

    def _decode(self) -> None:
        drawn, over = [], set()
        for row, reply in enumerate(self._replies.items):
            try:
                token_id = reply.draw(partial(self._replies.freeze, row))
            except NumericalError as error:  # this row's numbers only
                reply.outlet.put(Failed(error))
                token_id = None
            if token_id is None:
                over.add(row)
            else:
                drawn.append(token_id)
        self._replies.leave(over)
        if not drawn:
            return
        logits = self._model.step(drawn, self._replies.scratch).cpu()
        full = set()
        for row, (reply, token_id) in enumerate(zip(self._replies.items, drawn, strict=True)):
            reply.fed(token_id, logits[row])
            if reply.is_full:
                reply.finish(FinishReason.LENGTH, partial(self._replies.freeze, row))
                full.add(row)
        self._replies.leave(full)
