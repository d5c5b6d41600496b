"""Which tokenizer a model wants: by the size of its vocabulary, or as the user says.

The ladder is that of RWKV-Runner and of the fact sheet, section 13: 65536 World; from 50277 on the Pile's
20B, often padded; 20096 MIDI words; 128 ABC; 256 bytes; all others a vocabulary of characters. Only World, bytes and ABC
need no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatrwkv.engine.tokens.bpe import BpeTokenizer
from chatrwkv.engine.tokens.characters import CharacterTokenizer
from chatrwkv.engine.tokens.single_bytes import SingleByteTokenizer
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer
from chatrwkv.engine.tokens.words import WordTokenizer
from chatrwkv.errors import BadValue, ModelFormatError, ModelUnsupported

if TYPE_CHECKING:
    from pathlib import Path

    from chatrwkv.engine.tokens.tokenizer import Tokenizer

# kind: the file it is read from, by its published name; "" where none is needed
KINDS = {
    "world": "",
    "20b": "20B_tokenizer.json",
    "midi": "tokenizer-midi.json",
    "characters": "vocab.json",
    "abc": "",
    "bytes": "",
}


def kind_for(n_vocab: int) -> str:
    """The kind of tokenizer that models with so many ids have."""
    if n_vocab >= 65530:  # 65536 as published; the ids above 65529 are unused
        return "world"
    if n_vocab >= 50277:
        return "20b"
    return {20096: "midi", 128: "abc", 256: "bytes"}.get(n_vocab, "characters")


def named(model_file: Path, n_vocab: int, kind: str = "auto") -> str:
    """What `tokenizer_for` would take, in words, without reading it."""
    own = _beside(model_file, f"{model_file.stem}.vocab.txt", "vocab.txt")
    if own is not None and kind in ("auto", "world"):
        return f"world, its own {own.name}"
    kind = kind if kind != "auto" else kind_for(n_vocab)
    if not KINDS[kind]:
        return f"{kind}, built in"
    path = _beside(model_file, f"{model_file.stem}.json", KINDS[kind])
    return f"{kind}, {KINDS[kind]} is missing beside it" if path is None else f"{kind}, {path.name}"


def tokenizer_for(model_file: Path, n_vocab: int, kind: str = "auto") -> Tokenizer:
    """The tokenizer of a model: a World vocabulary beside it, else what its size or `kind` says.

    Args:
        model_file: the checkpoint; `STEM.vocab.txt`, `vocab.txt`, `STEM.json` and the published names are
            looked for beside it.
        n_vocab: rows of its head.
        kind: "auto", or one of `KINDS`.

    Raises:
        BadValue: there is no such kind.
        ModelUnsupported: the file it needs is not there.
        ModelFormatError: the file is damaged, or has more ids than the model.
    """
    if kind != "auto" and kind not in KINDS:
        raise BadValue(f"There is no tokenizer {kind!r}.", hint=f"Use auto, {', '.join(KINDS)}.")
    own = _beside(model_file, f"{model_file.stem}.vocab.txt", "vocab.txt")
    if own is not None and kind in ("auto", "world"):
        tokenizer: Tokenizer = WorldTokenizer.from_file(own)
    else:
        tokenizer = _of_kind(kind if kind != "auto" else kind_for(n_vocab), model_file, n_vocab)
    if tokenizer.n_vocab > n_vocab:
        raise ModelFormatError(
            f"The vocabulary has {tokenizer.n_vocab} ids, the model only {n_vocab}.",
            hint="Put the vocabulary that belongs to the model beside it.",
        )
    return tokenizer


def _of_kind(kind: str, model_file: Path, n_vocab: int) -> Tokenizer:
    if kind == "world":
        return WorldTokenizer.bundled()
    if kind == "bytes":
        return SingleByteTokenizer.of_bytes()
    if kind == "abc":
        return SingleByteTokenizer.of_abc()
    name = KINDS[kind]
    path = _beside(model_file, f"{model_file.stem}.json", name)
    if path is None:
        raise ModelUnsupported(
            f"{model_file.name} has a vocabulary of {n_vocab}, whose tokenizer is not beside it.",
            hint=f"Put {name} (or vocab.txt in the World format) into {model_file.parent}.",
        )
    if kind == "20b":
        return BpeTokenizer.from_file(path)
    return WordTokenizer.from_file(path) if kind == "midi" else CharacterTokenizer.from_file(path)


def _beside(model_file: Path, *names: str) -> Path | None:
    candidates = (model_file.with_name(name) for name in names)
    return next((candidate for candidate in candidates if candidate.is_file()), None)
