"""Which rows run next: every reply that can go on is packed into one pass over the weights.

A turn is one piece of prompts and one token of replies. Prompts are read in pieces of about 80 ms, so that
neither a stop nor another reply's next token waits longer than that; equal prompts are read once and
forked. Rows join and leave between turns. Threads are unknown here; the caller calls `turn` in a loop.

A reply with guidance has two rows: its own mind, and beside it the one that has read the negative prompt,
which reads the same reply. The negative prompt is read first.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

from chatrwkv.engine.drawing import Drawing
from chatrwkv.engine.events import Failed, Finished, FinishReason, GenerationStats, Prefilled
from chatrwkv.engine.faults import foreign_errors
from chatrwkv.engine.generate import Reply, Tape, check_prompt, device_of, last_logits, resting
from chatrwkv.engine.identity import EMPTY_CHAIN, extend
from chatrwkv.engine.placement import give_up
from chatrwkv.engine.request import Prompt
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import ChatRWKVError, DeviceLost, NumericalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch import Tensor

    from chatrwkv.engine.generate import Outlet
    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.request import GenerateRequest
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
        self.guided: list[tuple[Reply, Prompt]] = []
        """Replies whose negative prompt this is, and what they read next."""

    def piece(self, most: int) -> tuple[int, ...]:
        """What is read next: `most` ids, fewer at a mark and at the end."""
        end = min([self.done + most, *(mark for mark in self.prompt.marks if mark > self.done)])
        return self.prompt.token_ids[self.done : end]

    @property
    def stats(self) -> GenerationStats:
        return GenerationStats(prompt_tokens=self.done, prefill_s=self.seconds)


@dataclass(frozen=True, slots=True)
class _Seat:
    """One row of a pass over replies."""

    reply: Reply
    is_beside: bool = False
    """Whether it is the second mind of guidance."""
    voice: int | None = None
    """Which of the reply's voices it is."""

    @property
    def is_own(self) -> bool:
        """Whether it is the mind that is kept."""
        return not self.is_beside and self.voice is None

    def hear(self, token_id: int, logits: Tensor) -> None:
        """The row has read the drawn token."""
        if self.voice is not None:
            self.reply.fed_voice(self.voice, logits)
        elif self.is_beside:
            self.reply.fed_beside(logits)
        else:
            self.reply.fed(token_id, logits)


class Scheduler:
    """Runs the replies of one loaded model."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._model = loaded.model
        device = device_of(loaded.model)
        self._pace = Pace(64 if device.type == "cpu" else 512)
        self._waiting: deque[tuple[GenerateRequest, Outlet]] = deque()
        self._prompts: _Pack[_Prefill] = _Pack(device)
        self._replies: _Pack[_Seat] = _Pack(device)
        self.drawing = Drawing(device, self._model.spec.n_vocab)

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
            if isinstance(error, DeviceLost):
                give_up(self._loaded.device)
            self._fail(error)

    # -- who takes part -----------------------------------------------------------------------------------

    def _admit(self) -> None:
        n_rows = len(self._replies.items) + sum(reply.n_rows for reply in self._unbegun())
        while self._waiting and n_rows < MAX_ROWS:
            request, outlet = self._waiting.popleft()
            try:
                with foreign_errors():
                    prompt = check_prompt(self._loaded, request.prepare(self._loaded))
                    reply = Reply(self._loaded, request, prompt, outlet)
            except ChatRWKVError as error:
                outlet.put(Failed(error))
                continue
            n_rows += reply.n_rows
            if prompt.negative:
                self._prefill(Prompt(None, prompt.negative)).guided.append((reply, prompt))
            else:
                self._place(reply, prompt)

    def _unbegun(self) -> list[Reply]:
        """Those whose prompt is being read."""
        found = []
        for prefill in self._prompts.items:
            found += prefill.replies + [reply for reply, _ in prefill.guided]
        return found

    def _place(self, reply: Reply, prompt: Prompt) -> None:
        start = prompt.snapshot
        if start is not None and not prompt.token_ids:
            reply.outlet.put(Prefilled(0, 0, start))
            self._begin([reply], start, GenerationStats())
            return
        self._prefill(prompt).replies.append(reply)

    def _prefill(self, prompt: Prompt) -> _Prefill:
        """The reading of this prompt, which another reply may have begun."""
        start = prompt.snapshot
        end = extend(EMPTY_CHAIN if start is None else start.chain, prompt.token_ids)
        prefill = next((known for known in self._prompts.items if known.end == end), None)
        if prefill is None:
            prefill = _Prefill(self._loaded, prompt, end)
            self._prompts.join([prefill], [self._model.blank() if start is None else start.state])
        return prefill

    def _begin(self, replies: Sequence[Reply], snapshot: Snapshot, stats: GenerationStats) -> None:
        seats: list[tuple[_Seat, State]] = []
        for reply in replies:
            reply.begin(snapshot, stats)
            seats.append((_Seat(reply), snapshot.state))
            if reply.beside is not None:
                seats.append((_Seat(reply, is_beside=True), reply.beside))
            seats += [(_Seat(reply, voice=i), voice.state) for i, voice in enumerate(reply.voices)]
        self._replies.join([seat for seat, _ in seats], [state for _, state in seats])

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
            for reply, prompt in [pair for pair in prefill.guided if pair[0].outlet.cancelled]:
                prefill.guided.remove((reply, prompt))
                reply.finish_unread(prompt.snapshot)
            if not prefill.replies and not prefill.guided:
                empty.add(row)
        self._prompts.leave(empty)
        gone = set()
        for row, reply in self._own_rows():
            if reply.outlet.cancelled:
                reply.finish(FinishReason.CANCELLED, partial(self._replies.freeze, row))
                gone.add(reply)
        self._dismiss(gone)

    def _own_rows(self) -> list[tuple[int, Reply]]:
        """Each reply and the row of its own mind."""
        return [(i, seat.reply) for i, seat in enumerate(self._replies.items) if seat.is_own]

    def _dismiss(self, replies: Collection[Reply]) -> None:
        """Let all rows of these go."""
        self._replies.leave({i for i, seat in enumerate(self._replies.items) if seat.reply in replies})

    def _fail(self, error: ChatRWKVError) -> None:
        for reply in (*self._unbegun(), *(reply for _, reply in self._own_rows())):
            if not reply.is_over:
                reply.outlet.put(Failed(error))
        self._prompts.leave(range(len(self._prompts.items)))
        self._replies.leave(range(len(self._replies.items)))

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
        read, guided = set(), []
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
                for reply, prompt in prefill.guided:
                    reply.guide(snapshot)
                    guided.append((reply, prompt))
        self._prompts.leave(read)
        for reply, prompt in guided:
            self._place(reply, prompt)

    def _read_so_far(self, row: int, prefill: _Prefill) -> Snapshot | None:
        if prefill.logits is None:
            return prefill.prompt.snapshot
        return resting(prefill.tape.snapshot(self._prompts.freeze(row), prefill.logits))

    def _decode(self) -> None:
        drawn: dict[Reply, int] = {}
        over = set()
        granted = self.drawing.answers()
        for row, reply in self._own_rows():
            try:
                token_id = reply.draw(partial(self._replies.freeze, row), granted.get(reply))
            except NumericalError as error:  # this row's numbers only
                reply.outlet.put(Failed(error))
                token_id = None
            if token_id is None:
                over.add(reply)
            else:
                drawn[reply] = token_id
        self._dismiss(over)
        if not drawn:
            return
        seats = self._replies.items
        logits = self._model.step([drawn[seat.reply] for seat in seats], self._replies.scratch)
        for seat, fresh in zip(seats, self.drawing.kept(logits), strict=True):
            seat.hear(drawn[seat.reply], fresh)
        full = set()
        for row, reply in self._own_rows():
            if reply.is_full:
                reply.finish(FinishReason.LENGTH, partial(self._replies.freeze, row))
                full.add(reply)
        self._dismiss(full)
        self.drawing.ask(reply for _, reply in self._own_rows())
