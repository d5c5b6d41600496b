"""What can be done with the state of a message beside talking: check, read again, compare, recall.

Each tool makes a task for the engine thread that pauses for replies and can be cancelled (`Job.cancel`).
Nothing here changes a text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import NothingKept, Plan, reading_on
from chatrwkv.engine import load_state
from chatrwkv.errors import GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from chatrwkv.chat.plan import Minds, Reading
    from chatrwkv.chat.tree import NodeId
    from chatrwkv.chat.vault import Placed, Vault
    from chatrwkv.engine import Distance, LoadedModel, Snapshot, StateDifference

    Source = Path | Plan
    Cancelled = Callable[[], bool]
    Progress = Callable[[int, int, str], None]

_TOP_MOVED = 10
# How far a state may be from one that was read in other pieces: rounding, not memory. Nats.
CLOSE_KL = 1e-3


class OnlyBase(NothingKept):
    """No snapshot is known but the one that the path begins with, to which no text leads."""

    def __init__(self, plan: Plan, minds: Minds) -> None:
        self._base = plan.base
        self._minds = minds

    def get(self, fingerprint: str, chain: str, /) -> Snapshot | None:
        """That one."""
        return self._minds.get(fingerprint, chain) if chain == self._base else None


@dataclass(frozen=True, slots=True)
class MindAt:
    """Where the state after a message is, and what it would cost to make it again."""

    n_tokens: int
    n_unread: int
    """Tokens to read before it is there; 0 when it is kept."""
    placed: Placed
    chain: str
    has_base: bool = False
    """Whether it is read on top of a state to which no text leads."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A kept state against its text, read again from the first token."""

    n_tokens: int
    distance: Distance | None
    """None when no state is kept."""

    @property
    def is_good(self) -> bool:
        """Whether they differ by no more than rounding."""
        return self.distance is not None and self.distance.kl <= CLOSE_KL


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A path that was read again."""

    n_tokens: int
    n_states: int
    """States that took the place of kept ones."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """How much better a message is predicted by the present state than by an empty one."""

    node_id: NodeId
    n_tokens: int
    nats: float
    """A token; 0 is forgotten."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two states, and what led from the first to the second where one path holds both."""

    difference: StateDifference
    moved: tuple[tuple[str, float], ...]
    """Tokens that moved the state most, with the share of its norm."""


def whereabouts(plan: Plan, vault: Vault) -> Callable[[LoadedModel, Cancelled, Progress], MindAt]:
    """Where the state after `plan` is."""

    def task(loaded: LoadedModel, _cancelled: Cancelled, _progress: Progress) -> MindAt:
        reading = plan.read(loaded, vault)
        placed = vault.where(reading.fingerprint, reading.chain)
        return MindAt(reading.n_tokens, len(reading.prompt.token_ids), placed, reading.chain, bool(plan.base))

    return task


def verify(
    plan: Plan, minds: Minds
) -> Callable[[LoadedModel, Cancelled, Progress], Generator[None, None, Verified]]:
    """Read the whole path again and compare with what is kept; changes nothing."""

    def task(
        loaded: LoadedModel, cancelled: Cancelled, progress: Progress
    ) -> Generator[None, None, Verified]:
        from chatrwkv.engine import distance

        fresh = plan.read(loaded, OnlyBase(plan, minds))
        kept = minds.get(fresh.fingerprint, fresh.chain)
        if kept is None:
            return Verified(fresh.n_tokens, None)
        again = yield from _read(fresh, loaded, cancelled, progress)
        return Verified(fresh.n_tokens, distance(loaded.adopt(kept), again[-1]))

    return task


def refresh(
    plan: Plan, vault: Vault, keep: Callable[[NodeId, Snapshot], None]
) -> Callable[[LoadedModel, Cancelled, Progress], Generator[None, None, Refreshed]]:
    """Read the whole path again; what comes of it takes the place of every state kept for it.

    Args:
        plan: the path.
        vault: where its states are.
        keep: called on the engine thread with each new state and the message it belongs to.
    """

    def task(
        loaded: LoadedModel, cancelled: Cancelled, progress: Progress
    ) -> Generator[None, None, Refreshed]:
        fresh = plan.read(loaded, OnlyBase(plan, vault))
        borders = [border for border in fresh.borders if border.n_tokens]
        kept = [border for border in borders if vault.has(fresh.fingerprint, border.chain)]
        owners = {border.n_tokens: border.node_id for border in (*kept, fresh.borders[-1])}
        fresh = replace(fresh, prompt=replace(fresh.prompt, marks=tuple(sorted(owners))))
        states = yield from _read(fresh, loaded, cancelled, progress)
        # Only now, when the whole path is read: a stop half-way leaves everything as it was.
        for snapshot in states:
            if (node_id := owners.get(snapshot.n_tokens)) is not None:
                keep(node_id, snapshot)
        return Refreshed(fresh.n_tokens, len(states))

    return task


def compare(
    first: Source, second: Source, minds: Minds
) -> Callable[[LoadedModel, Cancelled, Progress], Generator[None, None, Compared]]:
    """Two states head by head: of files, or of paths, which are read as far as no state is kept for them.

    Where the second path goes on from the first, the tokens in between that moved the state most are named.
    """

    def task(
        loaded: LoadedModel, cancelled: Cancelled, progress: Progress
    ) -> Generator[None, None, Compared]:
        from chatrwkv.engine import difference, moved_by

        a = yield from _mind(first, loaded, minds, cancelled, progress)
        b = yield from _mind(second, loaded, minds, cancelled, progress)
        found = difference(a, b)
        between = _between(a, second, loaded, minds) if isinstance(second, Plan) else ()
        if not between:
            return Compared(found, ())
        moved = yield from moved_by(loaded, a, between, cancelled, progress)
        if moved is None:
            raise _stopped()
        best = sorted(zip(moved, between, strict=True), reverse=True)[:_TOP_MOVED]
        return Compared(found, tuple((loaded.tokenizer.decode([token]), share) for share, token in best))

    return task


def recall(
    plan: Plan, wanted: Sequence[NodeId], minds: Minds
) -> Callable[[LoadedModel, Cancelled, Progress], Generator[None, None, list[Recalled]]]:
    """How well the state after `plan` still knows the messages `wanted` of its path."""

    def task(
        loaded: LoadedModel, cancelled: Cancelled, progress: Progress
    ) -> Generator[None, None, list[Recalled]]:
        from chatrwkv.engine import log_likelihood

        here = yield from _mind(plan, loaded, minds, cancelled, progress)
        texts = {part.node_id: part.ids(loaded.tokenizer)[0] for part in plan.segments}
        known = [(node_id, texts[node_id]) for node_id in wanted if len(texts.get(node_id, ())) > 1]
        total, done, found = sum(len(ids) for _, ids in known), 0, []
        for node_id, ids in known:
            now = yield from log_likelihood(loaded, here, ids, cancelled)
            empty = yield from log_likelihood(loaded, None, ids, cancelled)
            if now is None or empty is None:
                raise _stopped()
            done += len(ids)
            progress(done, total, "recalling")
            found.append(Recalled(node_id, len(ids), (now - empty) / (len(ids) - 1)))
        return found

    return task


def _between(start: Snapshot, plan: Plan, loaded: LoadedModel, minds: Minds) -> tuple[int, ...]:
    """The ids that lead from `start` to the end of `plan`; () where they do not meet."""
    whole = plan.read(loaded, OnlyBase(plan, minds))
    for n_tokens, chain, _ in whole.borders:
        if chain == start.chain:
            return whole.prompt.token_ids[n_tokens:]
    return ()


def _mind(
    source: Source, loaded: LoadedModel, minds: Minds, cancelled: Cancelled, progress: Progress
) -> Generator[None, None, Snapshot]:
    if not isinstance(source, Plan):
        return loaded.adopt(load_state(source, fingerprint=loaded.model.spec.fingerprint)[0])
    states = yield from _read(source.read(loaded, minds), loaded, cancelled, progress)
    return states[-1]


def _read(
    reading: Reading, loaded: LoadedModel, cancelled: Cancelled, progress: Progress
) -> Generator[None, None, list[Snapshot]]:
    states = yield from reading_on(reading, loaded, cancelled, progress)
    if states is None:
        raise _stopped()
    return states


def _stopped() -> GenerationError:
    return GenerationError("It was stopped; nothing has changed.", hint="Do it again whenever you like.")
