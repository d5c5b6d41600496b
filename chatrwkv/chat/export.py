"""A chat for other eyes: Markdown, plain text, and lossless JSON that comes back as the same tree."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.chat.document import from_document, to_document
from chatrwkv.chat.reply import split_reply
from chatrwkv.chat.tree import Node, Role
from chatrwkv.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chatrwkv.chat.tree import Conversation

_NAMES = {Role.SYSTEM: "System", Role.USER: "User", Role.ASSISTANT: "Assistant", Role.RAW: "Text"}


def to_markdown(conversation: Conversation, *, thoughts: bool = True, front_matter: bool = True) -> str:
    """The path shown, with a front matter that says how it came about.

    Args:
        conversation: the chat.
        thoughts: write what the model thought, too, as quotes.
        front_matter: False puts the title as a heading in its place.
    """
    title = " ".join(conversation.title.split()) or "Untitled chat"
    lines = _front_matter(conversation) if front_matter else [f"# {title}", ""]
    for node in conversation.path():
        thought, said = _parts(node)
        if not thought and not said:
            continue
        lines += [f"## {_NAMES[node.role]}", ""]
        if thoughts and thought:
            lines += [f"> {line}".rstrip() for line in thought.splitlines()] + [""]
        lines += [said, ""]
    return "\n".join(lines)


def _front_matter(conversation: Conversation) -> list[str]:
    replies = [node for node in conversation.path() if node.meta]
    lines = ["---", f"title: {json.dumps(conversation.title, ensure_ascii=False)}"]
    if replies and (meta := replies[-1].meta):
        lines += [
            f"model: {json.dumps(meta.model, ensure_ascii=False)}",
            f"template: {json.dumps(meta.template)}",
        ]
        lines += [f"sampling: {_sampling(replies[-1])}"]
    return [*lines, f"created: {_time(conversation.nodes[conversation.root].created)}", "---", ""]


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


def write_file(path: Path, text: str, *, force: bool = False) -> None:
    """Write `text` so that the file is complete or as before, readable by its owner only.

    Raises:
        StoreError: the path is taken.
        StoreFull: it cannot be written.
    """
    if not force and (path.exists() or path.is_symlink()):
        raise StoreError(f"{path} exists already.", hint="Choose another name, or add --force.")
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "surrogatepass"))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = ""
    except OSError as error:
        raise StoreFull(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Free space or choose another folder.",
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


WRITERS: Mapping[str, Callable[[Conversation], str]] = {"md": to_markdown, "json": to_json, "txt": to_text}
"""How a chat is written, by the ending of the file."""


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
