"""Chats out of a file, whichever program wrote it: the kind is found in the content, never in the name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.document import FORMAT, from_document, with_new_ids
from chatrwkv.chat.foreign import (
    from_chatgpt,
    from_sillytavern,
    from_text,
    has_turns,
    is_chatgpt,
    is_sillytavern,
)
from chatrwkv.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.chat.tree import Conversation

# Larger than the chats of years; refused before it is read.
_LARGEST_BYTES = 256_000_000
_KINDS = "Known are: JSON of `chats export`, ChatGPT's conversations.json, SillyTavern's JSONL, User:/Assistant: text."


def read_chats(path: Path) -> list[Conversation]:
    """The chats in a file, with ids of their own, so that the same file may be read twice.

    Raises:
        StoreError: the file cannot be read, or holds no chat that is understood.
    """
    try:
        if not path.is_file():
            raise StoreError(f"{path} is not a file.", hint="Check the path.")
        if path.stat().st_size > _LARGEST_BYTES:
            raise StoreError(f"{path} is larger than {_LARGEST_BYTES:,} bytes.", hint=_KINDS)
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Check the path."
        ) from error
    return parse_chats(raw, title=path.stem, source=path.name)


def parse_chats(raw: bytes, *, title: str, source: str) -> list[Conversation]:
    """The chats in the bytes of a file.

    Args:
        raw: its content.
        title: of a chat that has none of its own.
        source: how errors name it.

    Raises:
        StoreError: it is no chat that is understood.
    """
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        what = "a state file; /state load opens it" if b'"chatrwkv.' in raw[:65536] else "no UTF-8 text"
        raise StoreError(f"{source} cannot be imported: it is {what}.", hint=_KINDS) from error
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        if has_turns(text):
            return [from_text(text, title=title, source=source)]
        raise StoreError(f"{source} is not JSON and has no line that begins with User:.", hint=_KINDS)
    try:
        return _from_json(text, source)
    except RecursionError as error:
        raise StoreError(f"{source} is not JSON of a chat: it is nested too deeply.", hint=_KINDS) from error


def _from_json(text: str, source: str) -> list[Conversation]:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        rows = _lines(text)
        if rows is None:
            raise StoreError(f"{source} is not JSON ({error}).", hint=_KINDS) from error
        if not is_sillytavern(rows):
            raise StoreError(f"{source} is no chat that is known.", hint=_KINDS) from error
        return [from_sillytavern(rows, source=source)]
    if is_chatgpt(document):
        return from_chatgpt(document, source=source)
    if is_sillytavern([document]):  # a chat of one line
        return [from_sillytavern([document], source=source)]
    if isinstance(document, dict) and document.get("format") == FORMAT:
        return [with_new_ids(from_document(document, source=source))]
    raise StoreError(f"{source} is no chat that is known.", hint=_KINDS)


def _lines(text: str) -> list[Any] | None:
    """The values of a JSONL file; None if a line is none."""
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()] or None
    except ValueError:
        return None
