"""kill -9 between writing a file and giving it its name: the old file or the new one, never a mixture."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.engine import load_state

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
N_KILLS = 102


def state_version(folder: Path) -> int:
    snapshot, notes = load_state(folder / "a.rwkvstate")
    number = int(notes["title"])
    assert bool((snapshot.state.tensors["wkv"] == number).all())
    return number


def text_version(text: str) -> int:
    number = int(text.split()[1])
    assert text == f"version {number} " * 5000
    return number


VERSIONS: dict[str, Callable[[Path], int]] = {
    "state": state_version,
    "export": lambda folder: text_version((folder / "a.md").read_text(encoding="utf-8")),
    "memory": lambda folder: text_version(
        json.loads((folder / "a.json").read_text(encoding="utf-8"))["panel"]
    ),
}


def test_a_hundred_kills_leave_the_old_file_or_the_new_one(tmp_path: Path):
    """textgen#7656 and lmstudio#2343: files of zero bytes and of NULs after an interrupted write."""
    chance, process = random.Random(5), subprocess.Popen(
        [sys.executable, "-m", "tests.chat.processes.saver", str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    n_old, known = 0, dict.fromkeys(VERSIONS, 0)
    for number in range(N_KILLS):
        kind = sorted(VERSIONS)[number % 3]
        never_killed = not known[kind]
        call = 9 if never_killed else chance.randrange(3)
        process.stdin.write(f"{kind} {call} {number + 1}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "dead\n"
        found = VERSIONS[kind](tmp_path)
        assert found in (known[kind], number + 1)
        n_old += found != number + 1
        known[kind] = found
    process.communicate()
    assert N_KILLS // 4 < n_old < N_KILLS, "some were killed before the rename, some after"
