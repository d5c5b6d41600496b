"""Which snapshots are at hand: in memory within a budget, on disk by content, else rebuilt from token ids.

A snapshot is found by model fingerprint and by the chain over every token it has read, so a stale one cannot
be found at all. It is a cache: losing any of it costs time, never text. Writing happens on a thread of its
own, after the text it belongs to is committed.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.shelf import SUFFIX, Shelf
from chatrwkv.engine import give_back
from chatrwkv.errors import ChatRWKVError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from chatrwkv.engine import Snapshot

_log = logging.getLogger(__name__)

__all__ = ["SUFFIX", "Placed", "Stored", "Vault", "VaultUsage", "key_of"]

# A 1.5B model's snapshot is 13 MB: some 300 of them. Older ones are rebuilt from their token ids.
DISK_BUDGET_BYTES = 4_000_000_000
# Notices that nobody reads do not pile up.
_MOST_NOTICES = 20
# How long a snapshot waits for the commit of its text before it is dropped: the disk is stuck by then.
_COMMIT_S = 30.0
_DAY_S = 24 * 3600
# After so much was written, what was left behind in the C library's heaps is worth a walk through them: each state
# of a 1.5B model.
_GIVE_BACK_BYTES = 8_000_000
# What may wait for the disk: a sixteenth of the budget, of which it is taken, but five states of a 1.5B model at least.
_WAITING_PART = 16
_LEAST_WAITING = 64_000_000


@dataclass(frozen=True, slots=True)
class VaultUsage:
    """How much is where."""

    ram_bytes: int
    budget: int
    n_ram: int
    n_disk: int
    disk_bytes: int
    disk_budget: int = DISK_BUDGET_BYTES
    n_pinned: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one snapshot is."""

    in_memory: bool
    disk_bytes: int
    """0 where there is no file."""
    is_rounded: bool
    """Whether the file is in half precision."""
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot that is now on disk."""

    key: str
    fingerprint: str
    chain: str
    n_tokens: int
    n_bytes: int
    place: str


@dataclass(slots=True, eq=False)
class _Write:
    key: str
    snapshot: Snapshot | None
    """None once it was given up: the disk was too slow for all that was put."""
    after: Future[Any] | None
    saved: Callable[[Stored], object] | None


def _bytes_of(waiting: list[_Write]) -> int:
    return sum(task.snapshot.n_bytes for task in waiting if task.snapshot)


def key_of(fingerprint: str, chain: str) -> str:
    """The name under which a snapshot is kept."""
    return sha256(f"{fingerprint}:{chain}".encode()).hexdigest()[:40]


class Vault:
    """Snapshots by (fingerprint, chain); safe to use from any thread.

    Args:
        folder: where files go; made on first use.
        budget_bytes: memory for snapshots; pinned ones count, and stay even beyond it.
        disk_budget_bytes: beyond it the files used least recently go.
    """

    def __init__(self, folder: Path, budget_bytes: int, disk_budget_bytes: int = DISK_BUDGET_BYTES) -> None:
        self._shelf = Shelf(folder, disk_budget_bytes)
        self._budget = budget_bytes
        self._lock = threading.Lock()
        self._ram: OrderedDict[str, Snapshot] = OrderedDict()
        self._ram_bytes = 0
        self._unwritten: dict[str, _Write] = {}  # the oldest first
        self._written_bytes = 0  # since memory was given back
        self._notices: deque[str] = deque(maxlen=_MOST_NOTICES)
        self._tasks: queue.SimpleQueue[_Write | Callable[[], object] | None] = queue.SimpleQueue()
        self.problem: ChatRWKVError | None = None
        """Why the last file could not be written; None once one could."""
        self._thread = threading.Thread(target=self._run, name="vault-writer", daemon=True)
        self._thread.start()

    # -- asking -------------------------------------------------------------------------------------------

    def has(self, fingerprint: str, chain: str) -> bool:
        """Whether it is in memory or on disk; a damaged file still counts."""
        key = key_of(fingerprint, chain)
        with self._lock:
            return key in self._ram or key in self._unwritten or self._shelf.has(key)

    def get(self, fingerprint: str, chain: str) -> Snapshot | None:
        """The snapshot after exactly these tokens, from memory or disk; None where there is none."""
        key = key_of(fingerprint, chain)
        with self._lock:
            found = self._ram.get(key)
            if found is None and key in self._unwritten:
                found = self._unwritten[key].snapshot
            if found is not None:
                self._remember(key, found)
                return found
        try:
            snapshot = self._shelf.read(key, fingerprint, chain)
        except StateError as error:
            self.notice(f"A kept state is damaged and not used; its text is read again. {error.message}")
            return None
        if snapshot is None:
            return None
        if self._shelf.is_rounded(key):
            self.notice(
                "This branch was unused for long and kept in half precision; /refresh reads it again exactly."
            )
        with self._lock:
            self._remember(key, snapshot)
        return snapshot

    def where(self, fingerprint: str, chain: str) -> Placed:
        """Where it is, without touching it."""
        key = key_of(fingerprint, chain)
        with self._lock:
            in_memory = key in self._ram or key in self._unwritten
        return Placed(in_memory, self._shelf.size(key), self._shelf.is_rounded(key), key in self._shelf.held)

    def usage(self) -> VaultUsage:
        """How much is where."""
        n_disk, disk_bytes = self._shelf.totals()
        with self._lock:
            return VaultUsage(
                self._ram_bytes,
                self._budget,
                len(self._ram),
                n_disk,
                disk_bytes,
                self._shelf.budget,
                len(self._shelf.held),
            )

    def path_of(self, fingerprint: str, chain: str) -> Path:
        """Where its file is, or would be."""
        return self._shelf.path(key_of(fingerprint, chain))

    def notice(self, words: str) -> None:
        """Something that the person should know of a state."""
        self._notices.append(words)

    def take_notices(self) -> list[str]:
        """What the person should know since the last call: damaged states, rounded ones."""
        found = []
        while self._notices:
            found.append(self._notices.popleft())
        return found

    # -- keeping ------------------------------------------------------------------------------------------

    def put(
        self,
        snapshot: Snapshot,
        *,
        durable: bool = True,
        after: Future[Any] | None = None,
        saved: Callable[[Stored], object] | None = None,
    ) -> None:
        """Keep a snapshot in memory, and on disk soon, unless the disk is too slow for all that is put.

        Args:
            snapshot: what to keep.
            durable: write it to disk.
            after: the commit of its text; if that fails, nothing is written.
            saved: called on the writing thread once the file is safe; links it.
        """
        key = key_of(snapshot.fingerprint, snapshot.chain)
        with self._lock:
            self._remember(key, snapshot)
            if durable:
                task = _Write(key, snapshot, after, saved)
                self._unwritten.pop(key, None)
                self._unwritten[key] = task
                self._tasks.put(task)
            self._give_up()

    def renew(self, snapshot: Snapshot, saved: Callable[[Stored], object] | None = None) -> None:
        """Put a snapshot in the place of the one that is kept for the same tokens."""
        key = key_of(snapshot.fingerprint, snapshot.chain)
        self._forget(key)
        self._tasks.put(lambda: self._shelf.remove(key))
        self.put(snapshot, saved=saved)

    def discard(self, fingerprint: str, chain: str, why: Exception) -> None:
        """Never use this one again: the model refused it."""
        key = key_of(fingerprint, chain)
        self._forget(key)
        self._shelf.put_aside(key, why)
        self.notice(f"A kept state does not fit the model and is not used; its text is read again. {why}")

    def pin(self, fingerprint: str, chain: str) -> str:
        """Keep it in memory and on disk whatever the budgets say; returns its key."""
        key = key_of(fingerprint, chain)
        self._shelf.hold([key])
        return key

    def unpin(self, fingerprint: str, chain: str) -> str:
        """Treat it as any other again; returns its key."""
        key = key_of(fingerprint, chain)
        self._shelf.release(key)
        with self._lock:
            self._shrink()
        return key

    def pin_keys(self, keys: Iterable[str]) -> None:
        """Pin what an earlier run pinned."""
        self._shelf.hold(keys)

    @property
    def pinned(self) -> set[str]:
        """The keys of all pins."""
        return self._shelf.held

    def set_budget(self, budget_bytes: int) -> None:
        """Another limit for memory, at once."""
        with self._lock:
            self._budget = budget_bytes
            self._shrink()

    def flush(self) -> None:
        """Wait until everything put so far is on disk or has failed."""
        done = threading.Event()
        self._tasks.put(done.set)
        done.wait()

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._tasks.put(None)
        self._thread.join()

    def then(self, task: Callable[[], object]) -> None:
        """Run `task` on the writing thread, after everything put so far is on disk and linked."""
        self._tasks.put(task)

    def erase(self, places: Iterable[str]) -> None:
        """Remove these files now, from memory, too: their messages were erased for good."""
        for place in places:
            key = place.removesuffix(SUFFIX)
            self._forget(key)
            self._shelf.remove(key)

    def sweep(self, linked: Iterable[str]) -> int:
        """Remove files that no message holds (see `Shelf.sweep`); returns how many went."""
        return self._shelf.sweep(linked)

    def round_old(self, days: int, shown: Callable[[], Collection[str]] = frozenset) -> None:
        """Store what nobody used for so many days in half precision, one file at a time, in the background.

        Args:
            days: since when.
            shown: keys of what is on the screen, however old it is; called on the writing thread.
        """
        self.then(lambda: self._round(self._shelf.unused_since(time.time() - days * _DAY_S), shown))

    # -- inside -------------------------------------------------------------------------------------------

    def _round(self, keys: list[str], shown: Callable[[], Collection[str]]) -> None:
        if keys:
            with self._lock:
                active = {*self._ram, *self._unwritten}
            self._shelf.round_off(keys[0], {*active, *shown()})
            self.then(lambda: self._round(keys[1:], shown))  # new states are written in between

    def _remember(self, key: str, snapshot: Snapshot) -> None:
        if key not in self._ram:
            self._ram_bytes += snapshot.n_bytes
        self._ram[key] = snapshot
        self._ram.move_to_end(key)
        self._shrink(keep=key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._unwritten.pop(key, None)
            if key in self._ram:
                self._ram_bytes -= self._ram.pop(key).n_bytes

    def _waiting(self) -> list[_Write]:
        """What left the memory and is held until it is on disk, the oldest first."""
        return [task for key, task in self._unwritten.items() if key not in self._ram]

    def _give_up(self) -> None:
        """Let go of the oldest that wait for a slow disk: they can be rebuilt."""
        waiting = self._waiting()
        surplus = _bytes_of(waiting) - max(_LEAST_WAITING, self._budget // _WAITING_PART)
        for task in waiting:
            if surplus <= 0:
                return
            surplus -= task.snapshot.n_bytes if task.snapshot else 0
            task.snapshot = None
            del self._unwritten[task.key]

    def _shrink(self, keep: str = "") -> None:
        waiting = min(_bytes_of(self._waiting()), self._budget // _WAITING_PART)
        surplus = self._ram_bytes + waiting - self._budget
        if surplus <= 0:
            return
        # The newest stays even when it alone exceeds the budget: the reply on the screen needs it. Those that are
        # not on disk yet go last, since letting them go frees nothing until they are.
        going = [k for k in self._ram if k != keep and k not in self._shelf.held]
        for key in sorted(going, key=lambda key: key in self._unwritten):
            n_bytes = self._ram.pop(key).n_bytes
            self._ram_bytes -= n_bytes
            surplus -= n_bytes
            if surplus <= 0:
                return

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                if isinstance(task, _Write):
                    self._write(task)
                    self.problem = None
                else:
                    task()
            except ChatRWKVError as error:
                self.problem = error
                _log.warning("a state was not written: %s", error)
            except Exception as error:  # noqa: BLE001 -- the top of a thread; a cache must not end the program
                self.problem = StateError(f"A state could not be written ({error}).")
                _log.warning("a state was not written", exc_info=True)

    def _write(self, task: _Write) -> None:
        key, snapshot = task.key, task.snapshot
        if snapshot is None:
            return
        try:
            if task.after is not None:
                task.after.result(_COMMIT_S)
            size = self._shelf.write(key, snapshot)
        finally:
            with self._lock:
                if self._unwritten.get(key) is task:
                    del self._unwritten[key]
        if task.saved is not None:
            place = self._shelf.path(key).name
            task.saved(Stored(key, snapshot.fingerprint, snapshot.chain, snapshot.n_tokens, size, place))
        self._written_bytes += size
        if self._written_bytes > _GIVE_BACK_BYTES:
            self._written_bytes, snapshot, task.snapshot = 0, None, None  # held, its memory could not go
            give_back()
