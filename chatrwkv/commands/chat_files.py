"""Chats as files: Markdown and plain text of the path that is shown, JSON of the whole tree and back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.document import from_document, to_document, with_new_ids
from chatrwkv.chat.reply import split_reply
from chatrwkv.chat.tree import Role
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from chatrwkv.chat.tree import Conversation, Node

# A chat of 10,000 messages has about 20 MB; beyond this a file is no chat.
_LARGEST_FILE = 256_000_000
_NAMES = {Role.SYSTEM: "System", Role.USER: "You", Role.ASSISTANT: "Reply", Role.RAW: "Text"}


def to_markdown(conversation: Conversation) -> str:
    """The path that is shown, a heading a message; thoughts as quotations."""
    blocks = [f"# {_title(conversation)}"]
    for node in _shown(conversation):
        blocks.append(f"## {_speaker(node)}")
        for kind, text in _parts(node):
            body = text.strip("\n")
            blocks.append(
                "\n".join(f"> {line}".rstrip() for line in body.split("\n")) if kind == "think" else body
            )
    return "\n\n".join(blocks) + "\n"


def to_text(conversation: Conversation) -> str:
    """The path that is shown, without thoughts."""
    blocks = []
    for node in _shown(conversation):
        answer = "".join(text for kind, text in _parts(node) if kind == "answer")
        blocks.append(f"{_speaker(node)}: {answer.strip()}")
    return "\n\n".join(blocks) + "\n"


def to_json(conversation: Conversation) -> str:
    """The whole tree, from which it can be read back."""
    return json.dumps(to_document(conversation), ensure_ascii=False, indent=1) + "\n"


def read_chat(path: Path) -> Conversation:
    """A chat from its JSON, with new ids, so that the same file may be read twice.

    Raises:
        StoreError: no such file, or it is none of ours.
    """
    hint = "It must be a file of `chatrwkv chats export --format json`."
    try:
        if not path.is_file():
            raise StoreError(f"{path} is not a file.", hint="Check the path.")
        if path.stat().st_size > _LARGEST_FILE:
            raise StoreError(f"{path} is too large for a chat.", hint=hint)
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON: {error}.", hint=hint) from error
    return with_new_ids(from_document(document, source=path.name))


def write_file(path: Path, text: str, *, force: bool) -> None:
    """Write `text` so that the file is complete or as before, readable by its owner only.

    Raises:
        StoreError: the path is taken, or cannot be written.
    """
    if not force and (path.exists() or path.is_symlink()):
        raise StoreError(f"{path} exists already.", hint="Choose another name, or add --force.")
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Choose another folder."
        ) from error


def _title(conversation: Conversation) -> str:
    return " ".join(conversation.title.split()) or "Untitled chat"


def _shown(conversation: Conversation) -> list[Node]:
    return [node for node in conversation.path() if node.text or node.role is Role.ASSISTANT]


def _speaker(node: Node) -> str:
    return node.meta.model or _NAMES[node.role] if node.meta else _NAMES[node.role]


def _parts(node: Node) -> list[tuple[str, str]]:
    if node.role is not Role.ASSISTANT:
        return [("answer", node.text)]
    # The template that opened a thought may be gone; what it put there begins with the bracket it left out.
    start = "<think" if node.text.lstrip().startswith(">") and "</think" in node.text else ""
    return [(part.kind, part.text) for part in split_reply(node.text, start)]
