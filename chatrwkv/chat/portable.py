"""A conversation and its mind in one `.rwkvstate` file, which a friend without the database can open."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import zlib
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from chatrwkv.chat.document import from_document, to_document
from chatrwkv.chat.plan import reading_on
from chatrwkv.chat.rows import dump
from chatrwkv.chat.tree import Conversation
from chatrwkv.engine import load_attached, load_state, peek_state, save_state
from chatrwkv.errors import GenerationError, StateCorrupt, StateMismatch, StoreError
from chatrwkv.paths import private_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from chatrwkv.chat.plan import Minds, Plan, Reading
    from chatrwkv.engine import LoadedModel, ModelInfo, Snapshot, StateInfo

_CONVERSATION = "conversation"
_NO_NOTES: Mapping[str, str] = MappingProxyType({})
# Far more than any chat; what unpacks to more was made to fill the memory.
_LARGEST_BYTES = 256 << 20


def save_portable(
    path: Path, conversation: Conversation, plan: Plan, minds: Minds, notes: Mapping[str, str] = _NO_NOTES
) -> Callable[
    [LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Generator[None, None, Path]
]:
    """A task for the engine thread that writes the file and returns its path.

    Args:
        path: where to.
        conversation: the path alone, as a chat of its own.
        plan: the path of that chat, as the model reads it.
        minds: where its snapshot may be.
        notes: more metadata.
    """

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Generator[None, None, Path]:
        reading = plan.read(loaded, minds)
        found = yield from reading_on(reading, loaded, cancelled, progress)
        if found is None:
            raise GenerationError("Nothing was saved: it was stopped.", hint="Save again.")
        private_dir(path.parent)
        save_state(
            path,
            found[-1],
            {
                **notes,
                "model": loaded.name,
                "generation": loaded.model.spec.generation.value,
                "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "title": conversation.title,
            },
            attached={_CONVERSATION: _pack(dump(to_document(_with_read_ids(conversation, reading))))},
        )
        return path

    return task


def _with_read_ids(conversation: Conversation, reading: Reading) -> Conversation:
    """The ids of this tokenizer for every node, and no others: they are what the state has read."""
    own = f"{reading.tokenizer_id}:"
    return conversation.with_nodes(
        [
            replace(
                node,
                record=None,  # nine times the size of the ids, for a file that is to be sent
                tokens={
                    name: ids
                    for name, ids in {**node.tokens, **reading.encoded.get(node.id, {})}.items()
                    if name.startswith(own)
                },
            )
            for node in conversation.nodes.values()
        ]
    )


def load_portable(path: Path, model: ModelInfo | None) -> tuple[Conversation, Snapshot]:
    """The conversation in a state file, and its snapshot with every byte checked.

    A state without a conversation, such as an imported one, is what a new conversation begins with.

    Args:
        path: the file.
        model: what is loaded; None accepts any file.

    Raises:
        StateCorrupt: the file is damaged.
        StateMismatch: it belongs to another model; both are named.
        StateVersion: a newer program wrote it.
    """
    about = peek_state(path)
    if model is not None and about.fingerprint != model.fingerprint:
        raise StateMismatch(
            f"{path.name} belongs to the model {about.model or about.fingerprint[:12]},"
            f" but {model.name} is loaded.",
            hint=f"Load {about.model or 'that model'}, then open the file again.",
        )
    told = conversation_in(about) if has_conversation(about) else None
    snapshot, _ = load_state(path)
    if told is not None:
        return told, snapshot
    # Tokens are counted from where the chat begins.
    snapshot = replace(snapshot, n_tokens=0)
    return begun_with(snapshot, about.metadata.get("title", "") or path.stem), snapshot


def importing(path: Path) -> Callable[..., Snapshot]:
    """A task for the engine thread that reads another program's state for the model that is loaded."""

    def task(loaded: LoadedModel, *_: object) -> Snapshot:
        from chatrwkv.engine import import_state  # it needs torch, which is there by now

        return import_state(path, loaded.model.spec)

    return task


def begun_with(snapshot: Snapshot, title: str) -> Conversation:
    """A chat on top of a state of which nobody knows what it has read."""
    return Conversation.start(title, base=snapshot.chain)


def has_conversation(about: StateInfo) -> bool:
    """Whether a state file carries one."""
    return _CONVERSATION in about.attached or _CONVERSATION in about.metadata


def conversation_in(about: StateInfo) -> Conversation:
    """The conversation that a state file carries.

    Raises:
        StateCorrupt: it carries none that can be read.
    """
    if not has_conversation(about):
        raise StateCorrupt(
            f"{about.path.name} holds a state without its conversation.",
            hint="Save the state from a chat; states of the chats themselves are found without opening them.",
        )
    try:
        if _CONVERSATION in about.attached:
            packed = load_attached(about.path, _CONVERSATION)
        else:  # a file of version 1
            packed = base64.b64decode(about.metadata[_CONVERSATION], validate=True)
        document = json.loads(_unpack(packed))
        return from_document(document, source=about.path.name)
    except (ValueError, zlib.error, binascii.Error, StoreError, RecursionError) as error:
        raise StateCorrupt(
            f"The conversation in {about.path.name} cannot be read ({error}).", hint="Choose another file."
        ) from error


def _pack(text: str) -> bytes:
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 9)


def _unpack(packed: bytes) -> str:
    unpacker = zlib.decompressobj()
    raw = unpacker.decompress(packed, _LARGEST_BYTES)
    if unpacker.unconsumed_tail:
        raise ValueError(f"it is larger than {_LARGEST_BYTES:,} bytes")
    return raw.decode("utf-8", "surrogatepass")
