"""Which snapshots are at hand: in memory within a budget, on disk by content, else rebuilt from token ids.

A snapshot is found by model fingerprint and by the chain over every token it has read, so a stale one cannot
be found at all. It is a cache: losing any of it costs time, never text. Writing happens on a thread of its
own, after the text it belongs to is committed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from chatrwkv.engine import load_state, save_state
from chatrwkv.errors import ChatRWKVError, StateError
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from chatrwkv.engine import Snapshot

_log = logging.getLogger(__name__)

SUFFIX = ".rwkvstate"
# A 1.5B model's snapshot is 13 MB: some 300 of them. Older ones are rebuilt from their token ids.
DISK_BUDGET_BYTES = 4_000_000_000
SWEEP_AGE_S = 24 * 3600
# How long a snapshot waits for the commit of its text before it is dropped: the disk is stuck by then.
_COMMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class VaultUsage:
    """How much is where."""

    ram_bytes: int
    budget: int
    n_ram: int
    n_disk: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A snapshot that is now on disk."""

    key: str
    fingerprint: str
    chain: str
    n_tokens: int
    n_bytes: int
    place: str


@dataclass(frozen=True, slots=True)
class _Write:
    snapshot: Snapshot
    after: Future[Any] | None
    saved: Callable[[Stored], object] | None


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
        self._folder = folder
        self._budget = budget_bytes
        self._disk_budget = disk_budget_bytes
        self._lock = threading.Lock()
        self._ram: OrderedDict[str, Snapshot] = OrderedDict()
        self._ram_bytes = 0
        self._pins: Counter[str] = Counter()
        self._disk: OrderedDict[str, int] = OrderedDict()  # key to bytes, used least recently first
        self._unwritten: dict[str, Snapshot] = {}
        self._tasks: queue.SimpleQueue[_Write | Callable[[], object] | None] = queue.SimpleQueue()
        self.problem: ChatRWKVError | None = None
        """Why the last file could not be written; None once one could."""
        self._scan()
        self._thread = threading.Thread(target=self._run, name="vault-writer", daemon=True)
        self._thread.start()

    # -- asking -------------------------------------------------------------------------------------------

    def has(self, fingerprint: str, chain: str) -> bool:
        """Whether it is in memory or on disk; a damaged file still counts."""
        key = key_of(fingerprint, chain)
        with self._lock:
            return key in self._ram or key in self._unwritten or key in self._disk

    def get(self, fingerprint: str, chain: str) -> Snapshot | None:
        """The snapshot after exactly these tokens, from memory or disk; None where there is none."""
        key = key_of(fingerprint, chain)
        with self._lock:
            found = self._ram.get(key) or self._unwritten.get(key)
            if found is not None:
                self._remember(key, found)
                return found
        # The index may lack what another process wrote since.
        if not self._path(key).exists():
            return None
        return self._read(key, fingerprint, chain)

    def usage(self) -> VaultUsage:
        """How much is where."""
        with self._lock:
            return VaultUsage(
                self._ram_bytes, self._budget, len(self._ram), len(self._disk), sum(self._disk.values())
            )

    def path_of(self, fingerprint: str, chain: str) -> Path:
        """Where its file is, or would be."""
        return self._path(key_of(fingerprint, chain))

    # -- keeping ------------------------------------------------------------------------------------------

    def put(
        self,
        snapshot: Snapshot,
        *,
        durable: bool = True,
        after: Future[Any] | None = None,
        saved: Callable[[Stored], object] | None = None,
    ) -> None:
        """Keep a snapshot in memory, and on disk soon.

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
                self._unwritten[key] = snapshot
        if durable:
            self._tasks.put(_Write(snapshot, after, saved))

    def discard(self, fingerprint: str, chain: str, why: Exception) -> None:
        """Never use this one again: the model refused it."""
        key = key_of(fingerprint, chain)
        with self._lock:
            if key in self._ram:
                self._ram_bytes -= self._ram.pop(key).n_bytes
        self._discard(key, self._path(key), why)

    def pin(self, fingerprint: str, chain: str) -> None:
        """Keep it in memory whatever the budget says, until as many `unpin`."""
        with self._lock:
            self._pins[key_of(fingerprint, chain)] += 1

    def unpin(self, fingerprint: str, chain: str) -> None:
        """Take one pin back."""
        key = key_of(fingerprint, chain)
        with self._lock:
            self._pins[key] -= 1
            if self._pins[key] <= 0:
                del self._pins[key]
            self._shrink()

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

    def sweep(self, linked: Iterable[str]) -> int:
        """Remove files that no message holds and that are older than a day, and leftovers of crashes.

        Args:
            linked: file names that messages hold.

        Returns:
            How many files went.
        """
        if not self._folder.is_dir():
            return 0
        keep, gone, limit = set(linked), 0, time.time() - SWEEP_AGE_S
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.name not in keep and path.is_file() and path.stat().st_mtime < limit:
                    path.unlink()
                    gone += 1
                    with self._lock:
                        self._disk.pop(path.stem, None)
        return gone

    # -- inside -------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _scan(self) -> None:
        if not self._folder.is_dir():
            return
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.endswith(SUFFIX) and entry.is_file():
                        about = entry.stat()
                        found.append((about.st_mtime, entry.name.removesuffix(SUFFIX), about.st_size))
        self._disk.update((key, size) for _, key, size in sorted(found))

    def _remember(self, key: str, snapshot: Snapshot) -> None:
        if key not in self._ram:
            self._ram_bytes += snapshot.n_bytes
        self._ram[key] = snapshot
        self._ram.move_to_end(key)
        self._shrink(keep=key)

    def _shrink(self, keep: str = "") -> None:
        if self._ram_bytes <= self._budget:
            return
        # The newest stays even when it alone exceeds the budget: the reply on the screen needs it.
        for key in [k for k in self._ram if k != keep and k not in self._pins]:
            self._ram_bytes -= self._ram.pop(key).n_bytes
            if self._ram_bytes <= self._budget:
                return

    def _read(self, key: str, fingerprint: str, chain: str) -> Snapshot | None:
        path = self._path(key)
        try:
            snapshot, _ = load_state(path, fingerprint=fingerprint)
        except (StateError, OSError) as error:
            self._discard(key, path, error)
            return None
        if snapshot.chain != chain:
            self._discard(key, path, StateError("it belongs to another text"))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        with self._lock:
            if key in self._disk:
                self._disk.move_to_end(key)
            self._remember(key, snapshot)
        return snapshot

    def _discard(self, key: str, path: Path, error: Exception) -> None:
        # Kept under another name for whoever wants to know why; the sweep takes it after a day.
        _log.warning("state %s is not used: %s", path.name, error)
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        with self._lock:
            self._disk.pop(key, None)

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
        key = key_of(task.snapshot.fingerprint, task.snapshot.chain)
        try:
            self._save(key, task)
        finally:
            with self._lock:
                self._unwritten.pop(key, None)

    def _save(self, key: str, task: _Write) -> None:
        if task.after is not None:
            task.after.result(_COMMIT_S)
        snapshot, path = task.snapshot, self._path(key)
        if path.exists():
            os.utime(path)  # a sweep goes by age
        else:
            private_dir(self._folder)
            save_state(path, snapshot, {})
        size = path.stat().st_size
        with self._lock:
            self._disk[key] = size
            self._disk.move_to_end(key)
            surplus = self._surplus(key)
        for old in surplus:
            self._path(old).unlink(missing_ok=True)
        if task.saved is not None:
            task.saved(Stored(key, snapshot.fingerprint, snapshot.chain, snapshot.n_tokens, size, path.name))

    def _surplus(self, newest: str) -> list[str]:
        total, old = sum(self._disk.values()), []
        for key in [k for k in self._disk if k != newest and k not in self._pins]:
            if total <= self._disk_budget:
                break
            total -= self._disk.pop(key)
            old.append(key)
        return old
