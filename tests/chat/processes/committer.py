"""`python -m tests.chat.processes.committer DB CHAT NAME N`: N commits to one chat, as fast as they go."""

from __future__ import annotations

import sys
from pathlib import Path

from chatrwkv.chat.changes import Changes
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Role, new_node


def tell(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    database, chat_id, name, n = sys.argv[1:]
    store = Store.open(Path(database))
    changes = Changes(store, chat_id)
    tell("ready")
    sys.stdin.readline()
    for i in range(int(n)):
        node = new_node(changes.view.head, Role.USER, f"{name} {i}")
        changes.add("send", [node], head=node.id)
    store.close()
    tell("done")


main()
