"""`python -m tests.chat.processes.saver FOLDER`: writes files in children that are killed while they write.

For each line `KIND CALL NUMBER` on stdin a child writes version NUMBER of one kind of file and is killed at the given
call of the system, counted over those that make a file safe: the fsync of the file, the rename, the fsync of the
folder. Prints `dead` after each. torch is imported once, before the forks.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from chatrwkv.chat.export import write_file
from chatrwkv.engine import EMPTY_CHAIN, Snapshot, State, extend, save_state
from chatrwkv.tui.remember import Memory

if TYPE_CHECKING:
    from collections.abc import Callable


def dying(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    """`call`, or the end of this process when its turn has come."""

    def made(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    return made


def write(folder: Path, kind: str, number: int) -> None:
    text = f"version {number} " * 5000
    if kind == "state":
        state = State({"wkv": torch.full((100, 100), float(number))})
        snapshot = Snapshot(state, torch.zeros(10), 1, extend(EMPTY_CHAIN, [number]), "f" * 64)
        save_state(folder / "a.rwkvstate", snapshot, {"title": str(number)})
    elif kind == "export":
        write_file(folder / "a.md", text, force=True)
    else:
        Memory(folder / "a.json").update(panel=text)


def main() -> None:
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        kind, call, number = line.split()
        child = os.fork()
        if child == 0:
            left = [int(call)]
            os.fsync = dying(os.fsync, left)
            os.replace = dying(os.replace, left)
            try:
                write(folder, kind, int(number))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        sys.stdout.write("dead\n")
        sys.stdout.flush()


main()
