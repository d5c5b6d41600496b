"""`python -m tests.chat.processes.talker`: chats over the fake model, each in a process of its own, to be killed.

For each line `FOLDER MESSAGE` on stdin it forks, so that torch is imported once, and the child talks as the
app would. Prints one JSON line for each thing that happened; after a child's death `{"dead": true}`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch  # noqa: F401 -- before the fork

from chatrwkv.chat.workspace import Workspace
from chatrwkv.config import Settings
from chatrwkv.engine import EngineThread
from chatrwkv.paths import Paths
from tests.fakes import fake_loader

SPEED = 400  # passes a second


def tell(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")  # one write: a kill leaves no half lines


def talk(root: Path, text: str) -> None:
    engine = EngineThread(loader=fake_loader(speed=SPEED))
    engine.start()
    paths = Paths(root / "config", root / "data", root / "state", root / "cache")
    workspace = Workspace.open(paths, Settings(sampling={"max_tokens": 1_000_000}), engine)
    engine.load(Path("fake.pth")).result(20)
    chat = workspace.new_chat()
    reply = chat.send(text)
    tell(pid=os.getpid(), chat=chat.id)
    while reply.poll().is_running:
        tell(at=time.monotonic(), n=reply.view.n_tokens, text=reply.view.text)
        reply.job.done.wait(0.02)


def main() -> None:
    for line in sys.stdin:
        folder, _, text = line.rstrip("\n").partition(" ")
        child = os.fork()
        if child == 0:
            try:
                talk(Path(folder), text)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        tell(dead=True)


main()
