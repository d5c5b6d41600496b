"""The byte-level BPE of the Pile models (`20B_tokenizer.json`, GPT-NeoX): v2-v4 Pile and Raven, pile v7 and v8.

The merging is done by the `tokenizers` package, which is imported only when such a model is loaded. Bytes of
single ids, which its own decoder cannot give for half a character, are read off the vocabulary.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from chatrwkv.engine.tokens.tokenizer import ByteLevelTokenizer
from chatrwkv.errors import ModelFormatError, ModelNotFound

if TYPE_CHECKING:
    from pathlib import Path

_HINT = "Use the 20B_tokenizer.json that belongs to the model."


class BpeTokenizer(ByteLevelTokenizer):
    """A `tokenizers` file with the byte-level alphabet.

    Args:
        backend: a `tokenizers.Tokenizer`.
        tokenizer_id: of the vocabulary.
    """

    def __init__(self, backend: Any, tokenizer_id: str) -> None:
        super().__init__(_table(backend), tokenizer_id)
        # Text that looks like `<|endoftext|>` is text: a user cannot end the conversation by writing it.
        backend.encode_special_tokens = True
        self._backend = backend
        self._newline = backend.token_to_id(_character(0x0A))
        self._two_newlines = backend.token_to_id(2 * _character(0x0A))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A `tokenizer.json`.

        Raises:
            ModelNotFound: there is no such file.
            ModelFormatError: the file is no byte-level BPE.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ModelNotFound(
                f"The tokenizer {path} cannot be read: {error.strerror}.",
                hint="Put the tokenizer file beside the model again.",
            ) from error
        from tokenizers import Tokenizer

        try:
            backend = Tokenizer.from_str(raw.decode())
        except Exception as error:  # the package raises plain Exception
            raise ModelFormatError(f"{path.name} is not a tokenizer file: {error}", hint=_HINT) from error
        return cls(backend, sha256(raw).hexdigest()[:16])

    def encode(self, text: str) -> list[int]:
        """The ids of `text`.

        Two newlines at the very end are one token (535), but inside text they are two (187 187), and the
        models have only seen that: a prompt's end is written the second way, as upstream's chat does.
        """
        clean = text.encode("utf-8", "replace").decode()
        ids: list[int] = self._backend.encode(clean, add_special_tokens=False).ids
        if ids and ids[-1] == self._two_newlines and self._newline is not None:
            ids[-1:] = [self._newline, self._newline]
        return ids


def _character(byte: int) -> str:
    """How the byte-level alphabet writes a byte: printable ones as they are, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    if byte in printable:
        return chr(byte)
    return chr(0x100 + sum(other not in printable for other in range(byte)))


def _table(backend: Any) -> list[bytes | None]:
    """The bytes of each id: special tokens stand for nothing, other added ones for their text."""
    bytes_of = {_character(byte): byte for byte in range(256)}
    added = backend.get_added_tokens_decoder()
    table: list[bytes | None] = []
    for token_id in range(max(backend.get_vocab().values(), default=0) + 1):
        written = backend.id_to_token(token_id)
        if written is None:
            table.append(None)
        elif token_id in added:
            table.append(b"" if added[token_id].special else written.encode())
        else:
            try:
                table.append(bytes(bytes_of[character] for character in written))
            except KeyError as error:
                raise ModelFormatError(
                    f"The token {token_id} ({written!r}) is not written in bytes.", hint=_HINT
                ) from error
    return table
