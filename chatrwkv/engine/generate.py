"""The life of one reply: which token comes next, what may be shown of it, and where its state ends.

No forward pass is made here but the rewinding ones; the scheduler makes them for many replies at once and
asks each reply in turn. Threads are unknown.

Where a reply's state ends: after its last kept byte. Every kept token has been read by the state, a stop
string and the end of text never are. While held text might begin a stop string, or bytes wait for the rest
of a character, one clone of the state before it is kept (the hold). A cut goes back there and reads again
what is kept; a stop that begins inside a token leaves a part of it, which is encoded anew.

What is kept: at a stop string the text before it; at the end and at the limit everything but half a
character; when cancelled exactly what was shown, so that going on draws the same tokens again.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from chatrwkv.engine.events import Finished, FinishReason, GenerationStats, Token
from chatrwkv.engine.identity import EMPTY_CHAIN, extend
from chatrwkv.engine.record import gap_rows, n_chars_of, pack_row, row_bytes
from chatrwkv.engine.reply_text import ReplyText, cut, is_utf8
from chatrwkv.engine.sampling import Marks, Sampler
from chatrwkv.engine.state import Scratch, Snapshot, State
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from chatrwkv.engine.events import Event
    from chatrwkv.engine.model import LoadedModel, Model
    from chatrwkv.engine.request import GenerateRequest, Prompt
    from chatrwkv.engine.sampling import Granted, Picked, Wish


class Outlet(Protocol):
    """Where a reply's events go, and who may stop it."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants more."""
        ...

    def put(self, event: Event) -> None:
        """Hand over one event."""
        ...


class Tape:
    """Which tokens a row of a scratch has read: with it a state becomes a snapshot."""

    def __init__(self, model: Model, start: Snapshot | None) -> None:
        self._fingerprint = model.spec.fingerprint
        self.chain = EMPTY_CHAIN if start is None else start.chain
        self.n_tokens = 0 if start is None else start.n_tokens

    def read(self, token_ids: Sequence[int]) -> None:
        """The row has read these."""
        self.chain = extend(self.chain, token_ids)
        self.n_tokens += len(token_ids)

    def snapshot(self, state: State, logits: Tensor) -> Snapshot:
        """What the row is now; `logits` is copied, since it is a view into a batch."""
        return Snapshot(state, logits.clone(), self.n_tokens, self.chain, self._fingerprint)


def reread(model: Model, start: Snapshot, token_ids: Sequence[int]) -> Snapshot:
    """The snapshot after a few more tokens, in one pass of its own."""
    if not token_ids:
        return start
    scratch, tape = start.state.thaw(device_of(model)), Tape(model, start)
    logits = last_logits(model, [token_ids], scratch)[0]
    tape.read(token_ids)
    return tape.snapshot(scratch.freeze(0), logits)


def last_logits(model: Model, rows: Sequence[Sequence[int]], scratch: Scratch) -> Tensor:
    """`scan` with the logits after each row's last token, (B, V) on the CPU."""
    logits = model.scan(rows, scratch)
    assert isinstance(logits, torch.Tensor), "a list only comes with all_logits"
    return logits.cpu()


def device_of(model: Model) -> torch.device:
    """Where the model wants its states."""
    return next(iter(model.blank().tensors.values())).device


def resting(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its tensors in main memory: a hundred chats must not fill the graphics card."""
    tensors = snapshot.state.tensors
    if all(tensor.device.type == "cpu" for tensor in (snapshot.logits, *tensors.values())):
        return snapshot
    state = State({name: tensor.cpu() for name, tensor in tensors.items()})
    return replace(snapshot, state=state, logits=snapshot.logits.cpu())


@dataclass(frozen=True, slots=True)
class _Hold:
    """The reply before the first token that is not certain."""

    snapshot: Snapshot
    n_ids: int
    n_chars: int


class Reply:
    """One reply from its first draw on.

    The scheduler calls `begin` when the prompt is read, then `draw` and `fed` in turn until it is over.
    """

    def __init__(self, loaded: LoadedModel, request: GenerateRequest, prompt: Prompt, outlet: Outlet) -> None:
        params, tokenizer = request.params, loaded.tokenizer
        self.outlet = outlet
        self._loaded = loaded
        self._end_id = tokenizer.end_id
        banned = loaded.banned
        if self._end_id is not None and not request.stop_on_end:
            banned |= {self._end_id}
        n_vocab = loaded.model.spec.n_vocab
        check_ids(loaded, request.forced)
        self._sampler = Sampler(params, n_vocab, banned, Marks.of(tokenizer))
        self._sampler.last_id = next(reversed(prompt.token_ids), prompt.last_id)
        for token_id in request.penalise:
            self._sampler.accept(token_id)
        if request.mu is not None:
            self._sampler.mu = request.mu
        self._mus = [self._sampler.mu]  # before the first token, and after each
        before = tokenizer.decode(request.penalise)
        self._text = ReplyText((*request.stops, *params.stop), before)
        self._position = request.start_position
        self._max_tokens = params.max_tokens
        self.voices = [loaded.adopt(voice) for voice in prompt.voices]
        """Other minds that are heard at every token, and read it."""
        self._voice_logits = [voice.logits for voice in self.voices]
        self.n_rows = 1 + bool(prompt.negative) + len(self.voices)
        """Of a pass: its own mind, with guidance a second one, and its voices."""
        self.beside: State | None = None
        """The second mind before the reply, once it has read the negative prompt."""
        self._beside_logits: Tensor | None = None
        self._ids: list[int] = []
        self._rows: list[bytes] = []  # of the record: one for each of the ids
        self._row_bytes = row_bytes(n_vocab)
        self._forced = deque(request.forced)
        self._hold: _Hold | None = None
        self.stats = GenerationStats()
        self.is_over = False

    def guide(self, beside: Snapshot) -> None:
        """The negative prompt is read."""
        self.beside, self._beside_logits = beside.state, beside.logits

    def begin(self, snapshot: Snapshot, stats: GenerationStats) -> None:
        """The prompt is read."""
        self._began = time.perf_counter()
        self._tape = Tape(self._loaded.model, snapshot)
        self._logits = snapshot.logits
        self.stats = stats

    def wish(self) -> tuple[Wish, Tensor, Tensor | None] | None:
        """The next draw, for a device that does it: also the logits, and those beside; None: see `Sampler.wish`."""
        wish = self._sampler.wish(self._position, self._forced[0] if self._forced else None)
        return None if wish is None else (wish, self._heard, self._beside_logits)

    def draw(self, freeze: Callable[[], State], granted: Granted | None = None) -> int | None:
        """Draw a token: the id to read next, or None when it ended the reply.

        Args:
            freeze: a copy of this reply's row as it is, before the token.
            granted: what a device drew for the `wish`; None draws here.

        Raises:
            NumericalError: there is nothing to draw from.
        """
        picked = self._pick(granted)
        if picked.id == self._end_id:
            self.finish(FinishReason.END, freeze)
            return None
        self._position += 1
        self._sampler.accept(picked.id)
        if picked.mu is not None:
            self._sampler.mu = picked.mu
        self._mus.append(self._sampler.mu)
        n_before, pending_before = self._text.n_in, self._text.pending
        text = self._text.feed(self._loaded.tokenizer.bytes_of(picked.id))
        if self._is_certain:
            self._hold = None
        elif self._hold is None or (self._text.n_out >= n_before and not pending_before):
            # All that came before this token is certain, so nothing will ever be cut before it.
            self._hold = _Hold(self._snapshot(freeze), len(self._ids), n_before)
        self._ids.append(picked.id)
        is_unfinished = bool(self._text.pending)
        n_chars = self._text.n_in - n_before
        self._rows.append(pack_row(picked, n_chars, self._row_bytes, is_unfinished=is_unfinished))
        self.stats = replace(self.stats, reply_tokens=self.stats.reply_tokens + 1)
        self.outlet.put(Token(text, picked.id, picked.logprob, picked.top, self._rows[-1]))
        if self._text.matched is not None:
            self.finish(FinishReason.STOP_STRING, freeze)
            return None
        return picked.id

    def _pick(self, granted: Granted | None) -> Picked:
        forced = self._forced.popleft() if self._forced else None
        if granted is not None:
            return self._sampler.granted(granted)
        if forced is not None:
            return self._sampler.weigh(self._heard, self._position, forced, self._beside_logits)
        return self._sampler.pick(self._heard, self._position, self._beside_logits)

    @property
    def _heard(self) -> Tensor:
        """The mean over all minds; the state that is kept is the own one's, with its own logits."""
        return torch.stack([self._logits, *self._voice_logits]).mean(0) if self.voices else self._logits

    def fed(self, token_id: int, logits: Tensor) -> None:
        """The row has read the drawn token."""
        self._tape.read((token_id,))
        self._logits = logits

    def fed_beside(self, logits: Tensor) -> None:
        """The row of the other mind has read it, too."""
        self._beside_logits = logits

    def fed_voice(self, number: int, logits: Tensor) -> None:
        """The row of another mind has read it, too."""
        self._voice_logits[number] = logits

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self.stats.reply_tokens >= self._max_tokens

    def finish(self, reason: FinishReason, freeze: Callable[[], State]) -> None:
        """Say how it ended, with the state after the last kept byte."""
        if reason in (FinishReason.END, FinishReason.LENGTH):
            self._text.flush()
        hold = None if self._is_certain else self._hold
        snapshot = self._snapshot(freeze) if hold is None else self._cut(hold)
        self.stats = replace(self.stats, decode_s=time.perf_counter() - self._began)
        self._say(reason, snapshot)

    def finish_unread(self, snapshot: Snapshot | None) -> None:
        """Cancelled before the first draw, when the prompt was read in part or not at all."""
        self._say(FinishReason.CANCELLED, snapshot)

    def _say(self, reason: FinishReason, snapshot: Snapshot | None) -> None:
        snapshot = None if snapshot is None else resting(snapshot)
        ids, text = tuple(self._ids), self._text.text
        mu = self._mus[-1] if self._sampler.params.has_mirostat else None
        self.is_over = True
        rows = b"".join(self._rows)
        self.outlet.put(Finished(reason, snapshot, ids, text, self.stats, self._sampler.seed, rows, mu))

    @property
    def _is_certain(self) -> bool:
        return self._text.n_out == self._text.n_in and not self._text.pending

    def _snapshot(self, freeze: Callable[[], State]) -> Snapshot:
        return self._tape.snapshot(freeze(), self._logits)

    def _cut(self, hold: _Hold) -> Snapshot:
        """Go back to the last kept byte: shorten the ids, and find or make the state after them."""
        tokenizer = self._loaded.tokenizer
        pieces = [tokenizer.bytes_of(token_id) for token_id in self._ids[hold.n_ids :]]
        n_whole, part = cut(pieces, self._text.n_out - hold.n_chars)
        while n_whole and not is_utf8(part):
            n_whole -= 1  # the part begins inside a character: encode the token before it, too
            part = pieces[n_whole] + part
        # Mirostat goes back, too; what is encoded anew was never drawn and leaves it as it is.
        del self._mus[hold.n_ids + n_whole + 1 :]
        again = self._ids[hold.n_ids : hold.n_ids + n_whole]
        again += tokenizer.encode(part.decode("utf-8", "replace"))
        self._ids[hold.n_ids :] = again
        del self._rows[hold.n_ids + n_whole :]
        n_encoded = len(self._text.text) - sum(map(n_chars_of, self._rows))
        self._rows.append(gap_rows(max(0, n_encoded), self._row_bytes))
        return reread(self._loaded.model, hold.snapshot, again)


def check_prompt(loaded: LoadedModel, prompt: Prompt) -> Prompt:
    """The prompt, if this model can read it.

    Raises:
        StateMismatch: the snapshot belongs to another model.
        GenerationError: there is nothing to read, or an id beyond the vocabulary.
    """
    if prompt.snapshot is not None:
        loaded.adopt(prompt.snapshot)
        if not prompt.token_ids and not prompt.snapshot.n_tokens:  # an imported state has no logits
            raise GenerationError(
                "A state alone does not say what comes next.", hint="Give it something to read first."
            )
    elif not prompt.token_ids:
        raise GenerationError("There is nothing to read: the prompt is empty.", hint="Write something first.")
    check_ids(loaded, (*prompt.token_ids, *prompt.negative))
    return prompt


def check_ids(loaded: LoadedModel, token_ids: Iterable[int]) -> None:
    """Refuse ids beyond the vocabulary.

    Raises:
        GenerationError: there is one.
    """
    n_vocab = loaded.model.spec.n_vocab
    wrong = next((token_id for token_id in token_ids if not 0 <= token_id < n_vocab), None)
    if wrong is not None:
        raise GenerationError(
            f"The prompt holds the token {wrong}, but the vocabulary of {loaded.name} ends at {n_vocab - 1}.",
            hint="The text was encoded for another model; send it again.",
        )


class _Collector:
    """An outlet for a caller without threads."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self.events: list[Event] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled()

    def put(self, event: Event) -> None:
        self.events.append(event)


def generate(
    loaded: LoadedModel, request: GenerateRequest, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """The events of one reply, on the caller's thread: the same loop as in a batch, with one row."""
    from chatrwkv.engine.scheduler import Scheduler  # which imports this module

    outlet, scheduler = _Collector(cancelled), Scheduler(loaded)
    scheduler.add([(request, outlet)])
    while scheduler.is_busy:
        scheduler.turn()
        yield from outlet.events
        outlet.events.clear()
