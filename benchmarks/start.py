"""How long the app takes to paint, to accept typing and to have its model, with many chats stored.

Runs the real program in a pseudo-terminal, `--runs` times; goals: painted 0.4 s, typing 0.8 s, model 1.5 s.
Letters are sent once the prompt is painted; "typing" is when they are on the screen. Before each run the
machine rests, since one whose share of the processor is limited is slower for seconds after any work. How
long `import torch` takes in a program of its own is measured beside each run: it is most of "model".

    PYTHONPATH=. python benchmarks/start.py [--chats 1000] [--runs 5] [--rest 15]
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.terminal import App
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, NodeStatus, Role, new_node
from chatrwkv.paths import Paths, private_dir

TYPED = "zqzq"
LIMIT_S = 60.0
MARKS = {
    "painted": re.compile(r"commands"),
    "typing": re.compile(TYPED),
    "model": re.compile(r"(fp32|bf16)\s+cpu"),
}


def fill(n_chats: int) -> None:
    """Store chats of four messages each."""
    paths = Paths.default()
    private_dir(paths.data_dir)
    store = Store.open(paths.database, private_dir(paths.backups))
    for i in range(n_chats):
        chat = Conversation.start(f"Chat number {i}")
        parent = chat.root
        for turn in range(4):
            role = Role.ASSISTANT if turn % 2 else Role.USER
            node = replace(new_node(parent, role, f"Message {turn} of chat {i}."), status=NodeStatus.COMPLETE)
            chat, parent = chat.with_node(node), node.id
        store.create_chat(chat)
    store.flush()
    store.close()


def start_once() -> dict[str, float]:
    """Seconds from exec to each mark."""
    app = App()
    found: dict[str, float] = {}
    has_typed = False
    while len(found) < len(MARKS) and time.monotonic() - app.began < LIMIT_S:
        if app.read() is None:
            continue
        text = app.text
        now = time.monotonic() - app.began
        found.update({name: now for name, mark in MARKS.items() if name not in found and mark.search(text)})
        if "painted" in found and not has_typed:  # a person types as soon as there is a prompt
            app.write(TYPED)
            has_typed = True
    app.close()
    return found


def import_alone(module: str) -> float:
    """Seconds that a fresh Python takes to import a module and leave."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chats", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rest", type=float, default=15.0, help="seconds before each run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATRWKV_DATA_DIR"] = str(Path(folder) / "data")
        fill(options.chats)
        start_once()  # the first start compiles byte code and warms the file cache
        runs = []
        for _ in range(options.runs):
            time.sleep(options.rest)
            runs.append(start_once())
            time.sleep(options.rest)
            runs[-1]["torch"] = import_alone("torch")
    for name in (*MARKS, "torch"):
        values = sorted(run.get(name, float("nan")) for run in runs)
        print(f"{name:8} median {statistics.median(values):.2f} s   {values[0]:.2f} to {values[-1]:.2f}")


if __name__ == "__main__":
    main()
