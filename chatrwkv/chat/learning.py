"""A document as a state: read once, saved with its text, and the start of any number of chats.

The text is a message of its own at the beginning of the chat, so nothing about such a chat is special: it
can be exported, moved to another model, and read again when the state is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatrwkv.chat.plan import plan_path
from chatrwkv.chat.portable import save_portable
from chatrwkv.chat.tree import Conversation, Role, new_node
from chatrwkv.errors import BadValue
from chatrwkv.text import format_bytes, safe_file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from chatrwkv.chat.plan import Minds
    from chatrwkv.chat.template import PromptTemplate
    from chatrwkv.engine import LoadedModel

_SUFFIX = ".rwkvstate"
# Some 250,000 tokens: half an hour of reading for a 1.5B model on a laptop, and more than any state holds.
LARGEST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A text file."""

    name: str
    """Under which its state is saved."""
    source: str
    text: str
    n_bytes: int


def read_document(path: Path, name: str = "") -> Document:
    """The text of a file.

    Raises:
        BadValue: it is missing, too large, empty or not UTF-8.
    """
    try:
        is_file, n_bytes = path.is_file(), path.stat().st_size
        if is_file and n_bytes <= LARGEST_BYTES:
            text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadValue(
            f"{path.name} is no UTF-8 text (byte {error.start:,}).", hint="Convert it to UTF-8 text first."
        ) from error
    except OSError as error:
        raise BadValue(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error
    if not is_file:
        raise BadValue(f"{path} is not a file.", hint="Name a text file.")
    if n_bytes > LARGEST_BYTES:
        raise BadValue(
            f"{path.name} has {format_bytes(n_bytes)}; a document may have {format_bytes(LARGEST_BYTES)}.",
            hint="Divide it into parts.",
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text or "\0" in text:
        raise BadValue(
            f"{path.name} holds {'no text' if not text else 'binary data'}.", hint="Name a text file."
        )
    return Document(safe_file_name(name or path.stem, default="document"), path.name, text, n_bytes)


def free_state_path(folder: Path, name: str) -> Path:
    """Where a state of this name goes.

    Raises:
        BadValue: there is one already.
    """
    path = folder / f"{name.removesuffix(_SUFFIX)}{_SUFFIX}"
    if path.exists():
        raise BadValue(
            f"There is a saved state {path.stem!r} already.",
            hint="Choose another name, or drop that one first.",
        )
    return path


def document_chat(document: Document, template: PromptTemplate, *, twice: bool) -> Conversation:
    """The chat that begins with a document; with `twice` it stands there two times."""
    made = Conversation.start(document.name, template=template.name)
    for _ in range(2 if twice else 1):
        node = new_node(made.head, Role.RAW, document.text + "\n\n", name=document.name)
        made = made.with_node(node).with_head(node.id)
    return made


def learning(
    document: Document, path: Path, template: PromptTemplate, minds: Minds, *, twice: bool = False
) -> Callable[
    [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Generator[None, None, Path]
]:
    """A task that reads a document and saves the state after it; returns the path.

    Args:
        document: what to read.
        path: of the state file.
        template: how the chats on it will be written.
        minds: a state of the same text is not read again.
        twice: feed it twice.
    """
    chat = document_chat(document, template, twice=twice)
    plan = plan_path(chat.path(), template, for_reply=False)
    notes = {"kind": "document", "source": document.source, "size": str(document.n_bytes)}
    return save_portable(path, chat, plan, minds, notes | {"readings": "2" if twice else "1"})
