"""The `rwkv` package's `RWKV` and `PIPELINE` on this program's engine: scripts change one import.

    from chatrwkv.compat import PIPELINE, PIPELINE_ARGS, RWKV

States are lists in the package's own layout, so they can be exchanged with it. As there, `forward` puts new
tensors into the list it was given up to v6, and makes a new list for v7; no tensor is changed, so that
`copy.deepcopy(state)` and `list(state)` both fork. Differences: shifts are float32 in every precision;
`top_p=1` cuts nothing, where the package mostly turns greedy; `RWKV_JIT_ON`, `RWKV_CUDA_ON` and `RWKV_V7_ON`
are not needed and not looked at. A generation that the package lacks works too; its list holds the tensors
of its state in order of name.

Source: fact sheet, sections 11, 15 and 15c; compared with `rwkv` 0.8.32 in `tests/engine/test_compat.py`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from chatrwkv.engine import kernels
from chatrwkv.engine.layouts import KNOWN, from_package, to_package
from chatrwkv.engine.model import load_bare
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.tokens.tokenizer import WorldTokenizer
from chatrwkv.errors import BadValue, ModelFormatError, ModelNotFound, StateMismatch
from chatrwkv.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

__all__ = ["PIPELINE", "PIPELINE_ARGS", "RWKV"]

# v7's code in the package is compiled, and a list is copied on its way there.
_WRITES_LIST = KNOWN - {Generation.V7, Generation.V7A}
_BROKEN = "\ufffd"
_WEIGHTLESS = " \t0123456789"


class RWKV:
    """A model of any generation that this program runs.

    Args:
        model: the checkpoint; `.pth` may be left out.
        strategy: which layers go where, such as "cuda fp16 *10 -> cpu fp32".
        verbose: tell on stderr where the layers are.
        convert_and_save_and_exit: refused, since files are read as they were published.

    Raises:
        ChatRWKVError: the file or the strategy cannot be used.
    """

    def __init__(
        self, model: str, strategy: str, verbose: bool = True, convert_and_save_and_exit: str | None = None
    ) -> None:
        if convert_and_save_and_exit is not None:
            raise BadValue("Models are not converted for a strategy.", hint="Load the published file.")
        path = Path(model)
        path = path if path.exists() else path.with_name(f"{path.name}.pth")
        kernels.prepare(Paths.default().cache_dir)
        self._model, plan = load_bare(path, device=strategy)
        if verbose:
            sys.stderr.write("".join(f"{line}\n" for line in plan.lines()))
        spec = self._model.spec
        self._blank = self._model.blank()
        self.args = SimpleNamespace(
            MODEL_NAME=model,
            strategy_string=strategy,
            n_layer=spec.n_layer,
            n_embd=spec.n_embd,
            n_att=spec.n_att or spec.n_embd,
            n_ffn=spec.n_ffn,
            n_head=spec.n_head,
            head_size=spec.head_size,
            vocab_size=spec.n_vocab,
        )
        number = re.match(r"[\d.]+", spec.generation)
        self.version = float(number[0]) if number else 0.0

    def generate_zero_state(self) -> list[Tensor]:
        """The state before the first token."""
        return to_package(self._blank, self._model.spec.generation)

    def forward(
        self, tokens: int | Iterable[int], state: list[Tensor] | None = None, full_output: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Read tokens.

        Args:
            tokens: one id or several.
            state: what was read before, None at the start; see the module on the list.
            full_output: logits after every token.

        Returns:
            Logits (V,), or (T, V) with `full_output` of several tokens, and the state.

        Raises:
            BadValue: no tokens, or an id that the model has not.
            StateMismatch: the state is not one of this model.
        """
        ids, generation = self._ids(tokens), self._model.spec.generation
        scratch = self._blank.thaw() if state is None else self._scratch(state)
        if full_output and len(ids) > 1:
            logits = self._model.scan([ids], scratch, all_logits=True)[0]
        elif len(ids) > 1:
            logits = self._model.scan([ids], scratch)[0]
        else:
            logits = self._model.step(ids, scratch)[0]
        after = to_package(scratch.freeze(0), generation)
        if state is None or generation not in _WRITES_LIST:
            state = after
        else:
            state[:] = after
        return logits.clone(), state  # a clone may be written to; what inference mode made may not

    def _scratch(self, state: list[Tensor]) -> Scratch:
        """A copy of the list, to be written to."""
        copied = from_package(state, self._blank, self._model.spec.generation)
        if not copied.fits(self._blank, self._model.spec.n_vocab):
            raise StateMismatch(
                "The list of tensors is no state of this model.", hint="Use the one it was made with."
            )
        return Scratch({name: tensor.unsqueeze(1) for name, tensor in copied.tensors.items()})

    def _ids(self, tokens: int | Iterable[int]) -> list[int]:
        found: Any = tokens.tolist() if isinstance(tokens, torch.Tensor | np.ndarray) else tokens
        ids = [int(found)] if isinstance(found, int | np.integer) else [int(i) for i in found]
        n_vocab = self._model.spec.n_vocab
        wrong = next((i for i in ids if not 0 <= i < n_vocab), None)
        if wrong is not None:
            raise BadValue(f"There is no token {wrong}.", hint=f"The model has the ids 0 to {n_vocab - 1}.")
        if not ids:
            raise BadValue("There are no tokens to read.", hint="Give one at least.")
        return ids


@dataclass
class PIPELINE_ARGS:  # noqa: N801 -- the package's name
    """How `PIPELINE.generate` draws; names and defaults are the package's."""

    temperature: float = 1.0
    top_p: float = 0.85
    top_k: int = 0
    alpha_frequency: float = 0.2
    alpha_presence: float = 0.2
    alpha_decay: float = 0.996
    token_ban: Sequence[int] = field(default_factory=list)
    token_stop: Sequence[int] = field(default_factory=list)
    chunk_len: int = 256


class _Words(Protocol):
    def encode(self, text: str) -> Any: ...
    def decode(self, token_ids: Any) -> str: ...


class PIPELINE:
    """Text in, text out.

    Args:
        model: what `generate` asks.
        WORD_NAME: "rwkv_vocab_v20230424", or the path of a `tokenizers` json or of a vocabulary (.txt) in
            the World format.

    Raises:
        ModelNotFound: there is no such file.
        ModelFormatError: it is no tokenizer.
    """

    def __init__(self, model: Any, WORD_NAME: str) -> None:  # noqa: N803 -- the package's name
        self.model = model
        self.tokenizer: _Words = _words(WORD_NAME)

    def refine_context(self, context: str) -> str:
        """Without blank lines and blanks around lines, after one newline."""
        lines = [line.strip().strip("\u3000").strip("\r") for line in context.strip().split("\n")]
        return "\n" + "\n".join(line for line in lines if line).strip()

    def encode(self, x: str) -> list[int]:
        """The ids of a text."""
        found = self.tokenizer.encode(x)
        ids: list[int] = found if isinstance(found, list) else found.ids
        return ids

    def decode(self, x: Sequence[int]) -> str:
        """The text of ids; with World one U+FFFD in place of all of it when it is not UTF-8, or holds 0."""
        return self.tokenizer.decode(x)

    def sample_logits(
        self, logits: Tensor, temperature: float = 1.0, top_p: float = 0.85, top_k: int = 0
    ) -> int:
        """Draw an id: cut first, then temperature.

        Chance comes from where the package takes it, so that a seed gives the same ids: NumPy's global
        generator, and torch's on a GPU.
        """
        if temperature == 0:
            temperature, top_p = 1.0, 0.0
        p = torch.softmax(logits.float(), -1)
        if p.device.type != "cpu":
            kept = torch.from_numpy(_cut(p.cpu().numpy(), top_p, int(top_k))).to(p.device)
            return int(torch.multinomial(kept ** (1 / temperature), 1))
        kept_here = _cut(p.numpy(), top_p, int(top_k))
        if temperature != 1:
            kept_here = kept_here ** (1 / temperature)
        return int(np.random.choice(len(kept_here), p=kept_here / kept_here.sum()))  # noqa: NPY002 -- see above

    def generate(
        self,
        ctx: str,
        token_count: int = 100,
        args: PIPELINE_ARGS | None = None,
        callback: Callable[[str], object] | None = None,
        state: list[Tensor] | None = None,
    ) -> str:
        """Go on from `ctx`.

        Args:
            ctx: what to read first; not empty.
            token_count: draw so many at most.
            args: see `PIPELINE_ARGS`.
            callback: gets each piece of text that holds no half character.
            state: what was read before, as in `RWKV.forward`.

        Returns:
            The text of all pieces.
        """
        how = args or PIPELINE_ARGS()
        counts: dict[int, float] = {}
        unread, waiting, pieces = self.encode(ctx), [], []
        for _ in range(token_count):
            logits, state = self._read(unread, state, how.chunk_len)
            for token_id in how.token_ban:
                logits[token_id] = -torch.inf
            for token_id, count in counts.items():
                logits[token_id] -= how.alpha_presence + count * how.alpha_frequency
            drawn = self.sample_logits(logits, how.temperature, how.top_p, how.top_k)
            if drawn in how.token_stop:
                break
            counts = {token_id: count * how.alpha_decay for token_id, count in counts.items()}
            counts[drawn] = counts.get(drawn, 0) + (self.decode([drawn]) not in _WEIGHTLESS)
            unread = [drawn]
            waiting.append(drawn)
            piece = self.decode(waiting)
            if _BROKEN not in piece:
                waiting.clear()
                pieces.append(piece)
                if callback is not None:
                    callback(piece)
        return "".join(pieces)

    def _read(
        self, ids: Sequence[int], state: list[Tensor] | None, chunk_len: int
    ) -> tuple[Tensor, list[Tensor]]:
        for at in range(0, len(ids), chunk_len):
            logits, state = self.model.forward(ids[at : at + chunk_len], state)
        if not ids or state is None:
            raise BadValue("There is nothing to go on from.", hint="Give a text that is not empty.")
        return logits, state


def _cut(p: Any, top_p: float, top_k: int) -> Any:
    """Without the tokens below the one that reaches `top_p`, and beyond the `top_k` likeliest."""
    p = p.copy()
    order = np.argsort(p)
    if top_p < 1:
        falling = p[order][::-1]
        p[p < falling[np.argmax(np.cumsum(falling) >= top_p)]] = 0
    if 0 < top_k < len(p):
        p[order[:-top_k]] = 0
    return p


class _World:
    """World's longest match with the package's treatment of broken text."""

    def __init__(self, words: WorldTokenizer) -> None:
        self._words = words

    def encode(self, text: str) -> list[int]:
        return self._words.encode(text)

    def decode(self, token_ids: Iterable[int]) -> str:
        parts = [self._words.bytes_of(token_id) for token_id in token_ids]
        if not all(parts):
            return _BROKEN
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError:
            return _BROKEN


def _words(name: str) -> _Words:
    if name == "rwkv_vocab_v20230424":
        return _World(WorldTokenizer.bundled())
    path = Path(name)
    if not path.is_file():
        raise ModelNotFound(
            f"There is no tokenizer {name!r}.",
            hint='Give "rwkv_vocab_v20230424" or the path of a 20B_tokenizer.json.',
        )
    if path.suffix == ".txt":
        return _World(WorldTokenizer.from_file(path))
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(name)
    except Exception as error:  # the package raises plain Exception
        raise ModelFormatError(
            f"{path.name} is not a tokenizer file: {error}", hint="Use the published json."
        ) from error
