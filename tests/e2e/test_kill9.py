"""kill -9 while a reply streams: the message is there, at most a second of the reply is not, the file is sound.

`CHATRWKV_TEST_KILLS` tells how often; 20 unless set.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from chatrwkv.chat.replies import SAVE_EVERY_S, SAVE_EVERY_TOKENS
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import NodeStatus, Role

ROOT = Path(__file__).parents[2]
N_KILLS = int(os.environ.get("CHATRWKV_TEST_KILLS", "20"))


class Talker:
    """The program that starts the talking processes, and what they say."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chat.processes.talker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def send(self, folder: Path, text: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{folder} {text}\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self, pid: int) -> list[dict[str, Any]]:
        """Kill one of them; what it had still said."""
        os.kill(pid, signal.SIGKILL)
        rest = []
        while "dead" not in (line := self.line()):
            rest.append(line)
        return rest

    def close(self) -> None:
        self.process.communicate()


def is_saved(states: list[dict[str, Any]], text: str) -> bool:
    """Whether `text` is no older than a second, or than 64 tokens."""
    last = states[-1]
    # A poll is 20 ms; what it takes to reach the disk comes on top.
    recent = [
        state
        for state in states
        if last["at"] - state["at"] <= SAVE_EVERY_S + 0.1 or last["n"] - state["n"] <= SAVE_EVERY_TOKENS + 16
    ]
    return len(text) >= len(recent[0]["text"])


def test_kills_cost_no_message_and_at_most_a_second_of_a_reply(tmp_path: Path):
    """elia and oterm save after the last token: a crash loses the reply, in oterm the question too."""
    moments, n_with_text, talker = random.Random(9), 0, Talker()
    for i in range(N_KILLS):
        folder = tmp_path / str(i)
        sent = talker.send(folder, f"message {i}")
        states: list[dict[str, Any]] = []
        wanted = moments.randint(1, 150)
        while not states or states[-1]["n"] < wanted:
            states.append(talker.line())
        states += talker.kill(sent["pid"])
        store = Store.open(folder / "data" / "chats.db")
        assert not store.integrity()
        user, reply = store.load(sent["chat"])[0].path()[1:]
        assert (user.role, user.text) == (Role.USER, f"message {i}")
        assert reply.status is NodeStatus.STREAMING
        assert states[-1]["text"].startswith(reply.text) or reply.text.startswith(states[-1]["text"])
        assert is_saved(states, reply.text)
        record = store.record(reply.id)
        rows = record.drawn(reply.text) if record else []
        assert sum(row.n_chars for row in rows) == len(reply.text), "as much of the tokens as of the text"
        n_with_text += bool(reply.text)
        store.close()
    talker.close()
    assert n_with_text > N_KILLS // 3, "many kills came after the first save"
