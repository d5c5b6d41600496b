"""`python -m tests.chat.processes.first_logits FOLDER`: what a new process is about to say first.

Prints the sha256 of the logits that the first token of a new chat's first reply is drawn from.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chat.conftest import Desk, ended
from tests.fakes import FakeModel, fake_loader

if TYPE_CHECKING:
    from chatrwkv.chat.session import ChatSession


def first_logits(chat: ChatSession) -> str:
    """What the first token of the reply to `hello` is drawn from."""
    reply = chat.send("hello")
    ended(reply)
    assert reply.reading is not None
    snapshot = chat.vault.get(reply.reading.fingerprint, reply.reading.chain)
    assert snapshot is not None, "the mind after the prompt is kept"
    return sha256(snapshot.logits.numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    desk = Desk(Path(sys.argv[1]), FakeModel(), loader=fake_loader()).load()
    sys.stdout.write(first_logits(desk.workspace.new_chat()))
    desk.close()
