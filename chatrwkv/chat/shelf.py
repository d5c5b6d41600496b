"""State files of the chats: a folder with an index of it, within a budget of bytes, least used first out."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from chatrwkv.engine import load_state, peek_state, save_state
from chatrwkv.errors import ChatRWKVError, StateError
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from chatrwkv.engine import Snapshot

_log = logging.getLogger(__name__)

SUFFIX = ".rwkvstate"
SWEEP_AGE_S = 24 * 3600


class Shelf:
    """Snapshots on disk by key; safe to use from any thread.

    Args:
        folder: where files go; made on first use.
        budget_bytes: beyond it the files used least recently go, but never a held one.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.budget = budget_bytes
        self._folder = folder
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] = OrderedDict()  # used least recently first
        self._held: set[str] = set()
        self._scan()

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
        self._sizes.update((key, size) for _, key, size in sorted(found))

    # -- asking -------------------------------------------------------------------------------------------

    def path(self, key: str) -> Path:
        """Where its file is, or would be."""
        return self._folder / f"{key}{SUFFIX}"

    def has(self, key: str) -> bool:
        """Whether the index knows it; another process may have written more, or removed it."""
        with self._lock:
            return key in self._sizes

    def size(self, key: str) -> int:
        """Bytes of its file; 0 where there is none."""
        with self._lock:
            return self._sizes.get(key, 0)

    def totals(self) -> tuple[int, int]:
        """How many files, and their bytes."""
        with self._lock:
            return len(self._sizes), sum(self._sizes.values())

    def is_rounded(self, key: str) -> bool:
        """Whether its file is in half precision."""
        try:
            return self.has(key) and peek_state(self.path(key)).is_rounded
        except StateError:
            return False

    # -- reading and writing ------------------------------------------------------------------------------

    def read(self, key: str, fingerprint: str, chain: str) -> Snapshot | None:
        """The snapshot, every byte of it checked; None where there is no file.

        Raises:
            StateError: it is damaged or not what its name says, and was put aside.
        """
        path = self.path(key)
        if not path.exists():  # asked of the disk: another process may have written it
            return None
        try:
            snapshot = _intact(path, fingerprint, chain)
        except StateError as error:
            self.put_aside(key, error)
            raise
        with contextlib.suppress(OSError):
            os.utime(path)
        with self._lock:
            if key in self._sizes:
                self._sizes.move_to_end(key)
        return snapshot

    def write(self, key: str, snapshot: Snapshot) -> int:
        """Write it unless it is there, then make room; returns the bytes of its file.

        Raises:
            StateError: the folder is full or may not be written.
        """
        path = self.path(key)
        if path.exists():
            os.utime(path)  # a sweep goes by age
        else:
            private_dir(self._folder)
            save_state(path, snapshot, {})
        size = path.stat().st_size
        with self._lock:
            self._sizes[key] = size
            self._sizes.move_to_end(key)
            surplus = self._surplus(key)
        for old in surplus:
            self.path(old).unlink(missing_ok=True)
        return size

    def put_aside(self, key: str, why: Exception) -> None:
        """Never use this file again; it stays under another name until the next sweep."""
        path = self.path(key)
        _log.warning("state %s is not used: %s", path.name, why)
        with contextlib.suppress(OSError):
            path.replace(path.with_suffix(".damaged"))
        with self._lock:
            self._sizes.pop(key, None)

    def remove(self, key: str) -> None:
        """Forget it and its file."""
        with contextlib.suppress(OSError):
            self.path(key).unlink(missing_ok=True)
        with self._lock:
            self._sizes.pop(key, None)

    # -- room ---------------------------------------------------------------------------------------------

    def hold(self, keys: Iterable[str]) -> None:
        """Let these stay whatever the budget and the sweep say."""
        with self._lock:
            self._held.update(keys)

    def release(self, key: str) -> None:
        """Take a hold back."""
        with self._lock:
            self._held.discard(key)

    @property
    def held(self) -> set[str]:
        """The keys that stay."""
        with self._lock:
            return set(self._held)

    def _surplus(self, newest: str) -> list[str]:
        total, old = sum(self._sizes.values()), []
        for key in [key for key in self._sizes if key != newest and key not in self._held]:
            if total <= self.budget:
                break
            total -= self._sizes.pop(key)
            old.append(key)
        return old

    def sweep(self, linked: Iterable[str]) -> int:
        """Remove files that no message holds and that are older than a day, and leftovers of crashes.

        Args:
            linked: file names that messages hold.

        Returns:
            How many files went.
        """
        if not self._folder.is_dir():
            return 0
        keep = {*linked, *(self.path(key).name for key in self.held)}
        gone, limit = 0, time.time() - SWEEP_AGE_S
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                if path.name not in keep and path.is_file() and path.stat().st_mtime < limit:
                    path.unlink()
                    gone += 1
                    with self._lock:
                        self._sizes.pop(path.stem, None)
        return gone

    def unused_since(self, moment: float) -> list[str]:
        """Keys of exact files that nobody has used since `moment`, held ones left out."""
        with self._lock:
            keys = [key for key in self._sizes if key not in self._held]
        found = []
        for key in keys:
            with contextlib.suppress(OSError, ChatRWKVError):
                path = self.path(key)
                if path.stat().st_mtime < moment and not peek_state(path).is_rounded:
                    found.append(key)
        return found

    def round_off(self, key: str, active: Collection[str] = ()) -> bool:
        """Store it in half precision, unless it is active; its age stays. Whether it was done."""
        path = self.path(key)
        if key in active or key in self.held:
            return False
        try:
            about = path.stat()
            snapshot, notes = load_state(path)
            save_state(path, snapshot, notes, rounded=True)
            os.utime(path, (about.st_atime, about.st_mtime))
            size = path.stat().st_size
        except (OSError, ChatRWKVError) as error:
            _log.warning("state %s was not rounded: %s", path.name, error)
            return False
        with self._lock:
            if key in self._sizes:
                self._sizes[key] = size
        return True


def _intact(path: Path, fingerprint: str, chain: str) -> Snapshot:
    snapshot, _ = load_state(path, fingerprint=fingerprint)
    if snapshot.chain != chain:
        raise StateError("It belongs to another text.")
    return snapshot
