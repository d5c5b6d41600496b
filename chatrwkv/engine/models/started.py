"""A model whose file brings the state that every text begins with: a base merged with a tuned `time_state`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chatrwkv.engine.layouts import TUNED, from_tuned
from chatrwkv.engine.reading import is_finite, refuse_values
from chatrwkv.errors import ModelFormatError, StateMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.model import Model
    from chatrwkv.engine.state import Scratch, State


class Started:
    """`model`, but for its blank state. The rest is the model's own."""

    def __init__(self, model: Model, start: State) -> None:
        self.spec = model.spec
        self._model = model
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def blank(self) -> State:
        """The state before the first token; a value, so all may share it."""
        return self._start

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        return self._model.step(token_ids, scratch)

    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        """Read one or more tokens into each row: logits (B, V), or B of (T_b, V) with `all_logits`."""
        return self._model.scan(rows, scratch, all_logits=all_logits)


def started(model: Model, tensors: Mapping[str, Tensor]) -> Model:
    """The model, with the start that its file holds if there is one.

    Raises:
        ModelFormatError: there is one, and it does not fit or is not finite.
    """
    tuned = {name: tensor for name, tensor in tensors.items() if TUNED.match(name)}
    if not tuned:
        return model
    for name, tensor in tuned.items():
        if not is_finite(tensor):
            refuse_values(name, tensor, tensor.dtype)
    try:
        return Started(model, from_tuned(tuned, model.blank()))
    except StateMismatch as error:
        raise ModelFormatError(
            error.message, hint="Merge the state into the model it was tuned on."
        ) from error
