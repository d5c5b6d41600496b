"""Vocabularies of whole words: the MIDI nets (`tokenizer-midi.json`, 20,096 words such as `p:3c:f` and `t10`).

A `tokenizers` file of the kind WordLevel, with white space between words and everything in lower case; read
here without that package, since nothing but a look-up is left to do. Id 0 is padding and end.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from chatrwkv.engine.tokens.tokenizer import END, ByteLevelTokenizer
from chatrwkv.errors import ModelFormatError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HINT = "Use the tokenizer-midi.json that belongs to the model."
_MAX_IDS = 1 << 20


class WordTokenizer(ByteLevelTokenizer):
    """One id a word. Unknown words are left out; there is nothing that could stand for a note.

    Args:
        words: id of each word.
        tokenizer_id: of the vocabulary.
    """

    def __init__(self, words: Mapping[str, int], tokenizer_id: str) -> None:
        table: list[bytes | None] = [None] * (max(words.values(), default=0) + 1)
        for word, token_id in words.items():
            # The space in front makes the pieces of a stream, and a prompt and its reply, join rightly.
            table[token_id] = f" {word}".encode("utf-8", "replace")
        super().__init__(table, tokenizer_id, end_id=END)
        self._words = dict(words)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A WordLevel `tokenizer.json`.

        Raises:
            ModelNotFound: there is no such file.
            ModelFormatError: it is another kind of file.
        """
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ModelNotFound(
                f"The tokenizer {path} cannot be read: {error.strerror}.",
                hint="Put the tokenizer file beside the model again.",
            ) from error
        try:
            model = json.loads(raw)["model"]
            kind, words = model["type"], model["vocab"]
            is_good = kind == "WordLevel" and all(0 <= int(words[word]) < _MAX_IDS for word in words)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFormatError(f"{path.name} is not a tokenizer file.", hint=_HINT) from error
        if not is_good:
            raise ModelFormatError(f"{path.name} is a tokenizer of the kind {kind}.", hint=_HINT)
        return cls(words, sha256(raw).hexdigest()[:16])

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""
        found = (self._words.get(word) for word in text.lower().split())
        return [token_id for token_id in found if token_id]
