"""A chat for other eyes: Markdown, plain text, and lossless JSON that comes back as the same tree."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from chatrwkv.chat.document import from_document, to_document
from chatrwkv.chat.reply import split_reply
from chatrwkv.chat.tree import Node, Role
from chatrwkv.errors import StoreError, StoreFull
from chatrwkv.paths import private_dir
from chatrwkv.text import safe_file_name

if TYPE_CHECKING:
    from chatrwkv.chat.tree import Conversation

Kind = Literal["md", "json", "txt"]
KINDS: tuple[Kind, ...] = ("md", "json", "txt")

_NAMES = {Role.SYSTEM: "System", Role.USER: "User", Role.ASSISTANT: "Assistant", Role.RAW: "Text"}
# Larger than any chat; refused before it is read.
_LARGEST_BYTES = 512 << 20


def to_markdown(conversation: Conversation, *, thoughts: bool = False) -> str:
    """The path shown, with a front matter that says how it came about.

    Args:
        conversation: the chat.
        thoughts: write what the model thought, too, as quotes.
    """
    replies = [node for node in conversation.path() if node.meta]
    lines = ["---", f"title: {json.dumps(conversation.title, ensure_ascii=False)}"]
    if replies and (meta := replies[-1].meta):
        lines += [f"model: {json.dumps(meta.model, ensure_ascii=False)}", f"template: {meta.template}"]
        lines += [f"sampling: {_sampling(replies[-1])}"]
    lines += [f"created: {_time(conversation.nodes[conversation.root].created)}", "---", ""]
    for node in conversation.path():
        thought, said = _parts(node)
        if not thought and not said:
            continue
        lines += [f"## {_NAMES[node.role]}", ""]
        if thoughts and thought:
            lines += ["> " + line for line in thought.splitlines()] + [""]
        lines += [said, ""]
    return "\n".join(lines)


def to_text(conversation: Conversation) -> str:
    """The path shown as `User:` and `Assistant:` paragraphs."""
    said = [(node.role, _parts(node)[1]) for node in conversation.path()]
    return "\n\n".join(f"{_NAMES[role]}: {text}" for role, text in said if text) + "\n"


def to_json(conversation: Conversation) -> str:
    """The whole tree with token ids, sampling and seeds; `from_json` gives the same tree."""
    return json.dumps(to_document(conversation), ensure_ascii=False, indent=1) + "\n"


def from_json(text: str, *, source: str = "The file") -> Conversation:
    """The chat that `to_json` wrote, with its own ids.

    Raises:
        StoreError: it is something else, damaged, or written by a newer program.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(
            f"{source} is not JSON ({error}).", hint="Choose a file exported as JSON."
        ) from error
    return from_document(document, source=source)


def read_chat(path: Path) -> Conversation:
    """The chat in an exported JSON file.

    Raises:
        StoreError: the file cannot be read, or holds no chat.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise StoreError(f"{path} is larger than {_LARGEST_BYTES:,} bytes.", hint="Choose another file.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 text.", hint="Choose a file exported as JSON.") from error
    return from_json(text, source=path.name)


def write_chat(conversation: Conversation, folder: Path, kind: Kind = "md") -> Path:
    """Write the chat into `folder` under its title; an existing file is never replaced. Returns the file."""
    writers = {"md": to_markdown, "json": to_json, "txt": to_text}
    raw = writers[kind](conversation).encode("utf-8", "surrogatepass")
    name = safe_file_name(conversation.title)
    private_dir(folder)
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".export-", dir=folder)  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        return _give_name(Path(temporary), folder, name, kind)
    except OSError as error:
        raise StoreFull(
            f"The chat cannot be written to {folder}: {error.strerror or error}.",
            hint="Free space or choose another folder.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()


def _give_name(temporary: Path, folder: Path, name: str, kind: str) -> Path:
    # A hard link fails when the name is taken, by a file or a link; a rename would replace it.
    number = 1
    while True:
        final = folder / (f"{name}.{kind}" if number == 1 else f"{name} ({number}).{kind}")
        try:
            final.hardlink_to(temporary)
        except FileExistsError:
            number += 1
        else:
            return final


def _parts(node: Node) -> tuple[str, str]:
    """What was thought and what was said."""
    if node.role is not Role.ASSISTANT:
        return "", node.text
    # The template may have opened the thought; its own text is not stored, but its closing tag shows.
    start = "<think" if "</think" in node.text and not node.text.lstrip().startswith("<think") else ""
    parts = split_reply(node.text, start)
    thought = "\n".join(part.text for part in parts if part.kind == "think")
    return thought.strip(), "".join(part.text for part in parts if part.kind == "answer").strip()


def _sampling(node: Node) -> str:
    assert node.meta is not None, "asked for replies only"
    params = node.meta.params
    shown = {
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "top_a": params.top_a,
        "presence": params.presence,
        "frequency": params.frequency,
        "decay": params.decay,
        "seed": node.meta.seed,
    }
    return json.dumps(shown)


def _time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
