"""A vector for a text: from the hidden layer, or from one kind of what the state remembers.

    hidden             the mean over the text of what the head would read, C wide
    att-shift          the last token as the time mixing of each layer saw it, L·C wide, like all below
    ffn-shift          the same for the channel mixing
    aa, bb             RWKV-2 to 4: the sums of the state, without the exponent pp that they are divided by
    wkv                what each layer reads out of its memory: aa / bb, or from RWKV-5 on the matrix of each
                       head times the receptance of the last token

Kinds are never mixed: their ranges differ by powers of ten. Within one, each channel is normalised by the mean
and the deviation that it has over varied text; without that a few large channels decide everything.

L layers   C n_embd   H heads   N head size   B texts at once
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from chatrwkv.engine.ops import project
from chatrwkv.engine.state import Scratch, State
from chatrwkv.errors import BadValue, GenerationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from chatrwkv.engine.model import LoadedModel
    from chatrwkv.engine.models.base import Recurrent

    Vectors = NDArray[np.float32]

HIDDEN = "hidden"
BATCH = 16
"""Texts read at once."""
_CHUNK = 256  # tokens of one text in one pass
_FORMAT = "chatrwkv embedding statistics"
_LEAST = 1e-6  # a channel that deviates less never changes, and says nothing


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and deviation of every channel over varied text, by kind."""

    fingerprint: str
    """Of the model they belong to."""
    n_texts: int
    mean: Mapping[str, Vectors]
    deviation: Mapping[str, Vectors]

    def normalised(self, kind: str, vectors: Vectors) -> Vectors:
        """(n, D) with each channel as its distance from the mean in deviations."""
        deviation = self.deviation[kind]
        scale = np.where(deviation > _LEAST, 1 / np.maximum(deviation, _LEAST), 0)
        return ((vectors - self.mean[kind]) * scale).astype(np.float32)

    def save(self, path: Path) -> None:
        """As safetensors.

        Raises:
            BadValue: there is no room, or no right to.
        """
        tensors = {f"{kind}.mean": mean for kind, mean in self.mean.items()}
        tensors |= {f"{kind}.deviation": deviation for kind, deviation in self.deviation.items()}
        about = {"format": _FORMAT, "fingerprint": self.fingerprint, "texts": str(self.n_texts)}
        try:
            save_file(tensors, path, about)
        except (SafetensorError, OSError) as error:
            raise BadValue(f"{path} cannot be written: {error}.", hint="Choose another place.") from error


def load_statistics(path: Path, loaded: LoadedModel) -> Statistics:
    """Those in a file, if they are this model's.

    Raises:
        BadValue: they are not, or the file cannot be used.
    """
    wrong = BadValue(
        f"{path.name} holds no embedding statistics.",
        hint="Make them with `chatrwkv embed FILE --fit-stats`.",
    )
    try:
        with safe_open(path, "numpy") as file:
            about: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
    except (SafetensorError, OSError) as error:
        raise wrong from error
    if about.get("format") != _FORMAT:
        raise wrong
    if about.get("fingerprint") != loaded.model.spec.fingerprint:
        raise BadValue(
            f"{path.name} was fitted with another model than {loaded.name}.",
            hint="Fit statistics for this one with --fit-stats.",
        )
    parts: dict[str, dict[str, Vectors]] = {"mean": {}, "deviation": {}}
    for name, tensor in tensors.items():
        kind, _, part = name.rpartition(".")
        parts.get(part, {})[kind] = tensor
    n_texts = about.get("texts", "")
    if parts["mean"].keys() != parts["deviation"].keys() or not n_texts.isdecimal():
        raise wrong
    return Statistics(about["fingerprint"], int(n_texts), parts["mean"], parts["deviation"])


class Embedder:
    """Reads texts, each from a blank state.

    Args:
        loaded: the model; only its torch path is used, since the native one gives nothing but logits.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        model: Any = loaded.model
        self._loaded = loaded
        self._model: Recurrent = model.headless()
        blank = self._model.blank()  # without the copy heads' part
        # A merged checkpoint begins with a state of its own.
        self._start = State({name: loaded.model.blank().tensors[name] for name in blank.tensors})
        self._layers: Sequence[Any] = getattr(self._model.weights, "layers", ())
        self._begin = [0] if not loaded.tokenizer.bytes_of(0) else []
        self.kinds = (HIDDEN, *self._from_state(self._start.thaw().tensors))
        """What can be asked for."""

    def check(self, kind: str) -> str:
        """The kind, if this model has it.

        Raises:
            BadValue: it has not.
        """
        if kind not in self.kinds:
            raise BadValue(
                f"An RWKV-{self._loaded.model.spec.generation} model has no {kind!r} to make vectors of.",
                hint=f"There are: {', '.join(self.kinds)}.",
            )
        return kind

    def read(
        self, texts: Sequence[str], cancelled: Callable[[], bool] = bool
    ) -> Iterator[dict[str, Vectors]]:
        """Every kind for `BATCH` texts at a time, (B, D) each, in the order of the texts.

        Raises:
            BadValue: a text without a token.
            GenerationError: stopped.
        """
        for first in range(0, len(texts), BATCH):
            rows = [self._ids(text) for text in texts[first : first + BATCH]]
            yield {kind: vectors.cpu().numpy() for kind, vectors in self._batch(rows, cancelled).items()}

    def _ids(self, text: str) -> list[int]:
        ids = [*self._begin, *self._loaded.tokenizer.encode(text)]
        if not ids:
            raise BadValue(
                "There is an empty line, and this vocabulary has no token for it.", hint="Remove it."
            )
        return ids

    def _batch(self, rows: Sequence[Sequence[int]], cancelled: Callable[[], bool]) -> dict[str, Tensor]:
        """Rows that are over leave with their state; the others read on."""
        total = torch.zeros(len(rows), self._model.spec.n_embd, dtype=torch.float64)
        states: dict[int, dict[str, Tensor]] = {}
        scratch, going, done = Scratch.stack([self._start] * len(rows)), list(range(len(rows))), 0
        while going:
            if cancelled():
                raise GenerationError("Stopped.")
            pieces = [rows[i][done : done + _CHUNK] for i in going]
            for i, hidden in zip(going, self._model.scan(pieces, scratch, all_logits=True), strict=True):
                total[i] += hidden.double().sum(0).cpu()
            done += _CHUNK
            over = {row for row, i in enumerate(going) if len(rows[i]) <= done}
            for row in over:
                alone = {name: tensor[:, row : row + 1] for name, tensor in scratch.tensors.items()}
                states[going[row]] = self._from_state(alone)
            going = [i for row, i in enumerate(going) if row not in over]
            if going:
                scratch.drop(over)
        lengths = torch.tensor([[len(row)] for row in rows])
        found = {HIDDEN: (total / lengths).float()}
        for kind in self.kinds[1:]:
            found[kind] = torch.cat([states[i][kind] for i in range(len(rows))])
        return found

    @torch.inference_mode()
    def _from_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Kind to (B, L·C), from tensors (L, B, …)."""
        found = {
            name.replace("_", "-"): state[name]
            for name in ("att_shift", "ffn_shift", "aa", "bb")
            if name in state
        }
        if "aa" in state:
            found["wkv"] = torch.where(state["bb"] > 0, state["aa"] / state["bb"], 0.0)
        elif "wkv" in state:
            found["wkv"] = torch.stack([self._read_out(i, state) for i in range(len(state["wkv"]))])
        return {kind: tensor.transpose(0, 1).flatten(1).float().cpu() for kind, tensor in found.items()}

    def _read_out(self, i: int, state: Mapping[str, Tensor]) -> Tensor:
        """S·r of layer i, (B, C), with the r that the last token would have if it came once more.

        Its shift is then the token itself, so that every mix of the two is the token as it was.
        """
        layer, s, h = self._layers[i], state["wkv"][i], state["att_shift"][i]
        att = layer.base.att if hasattr(layer, "base") else layer.att
        r = project(h.to(att.ln_x.weight.device), att.receptance).to(s)
        return (s @ r.view(*s.shape[:2], -1, 1)).flatten(1)


def fit(
    loaded: LoadedModel,
    texts: Sequence[str],
    cancelled: Callable[[], bool] = bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Statistics:
    """Mean and deviation of every channel of every kind over `texts`.

    Raises:
        BadValue: fewer than two texts.
    """
    if len(texts) < 2:
        raise BadValue(
            "A deviation needs at least two lines.", hint="Give varied text, a thousand lines or more."
        )
    embedder, n = Embedder(loaded), 0
    total: dict[str, NDArray[np.float64]] = {}
    squares: dict[str, NDArray[np.float64]] = {}
    for found in embedder.read(texts, cancelled):
        for kind, vectors in found.items():
            exact = vectors.astype(np.float64)
            total[kind] = total.get(kind, 0.0) + exact.sum(0)
            squares[kind] = squares.get(kind, 0.0) + (exact**2).sum(0)
        n += len(vectors)
        progress(n)
    mean = {kind: each / n for kind, each in total.items()}
    deviation = {kind: np.sqrt(np.maximum(squares[kind] / n - mean[kind] ** 2, 0)) for kind in mean}
    return Statistics(
        loaded.model.spec.fingerprint,
        n,
        {kind: each.astype(np.float32) for kind, each in mean.items()},
        {kind: each.astype(np.float32) for kind, each in deviation.items()},
    )
