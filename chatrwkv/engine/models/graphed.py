"""Steps of a model on a CUDA device, each replayed as one graph: no Python and no launch between its layers.

A graph reads and writes fixed memory, so there is one for 1, 2, 4, 8 and 16 rows, each with its own ids, state
and logits. Rows in motion live in there: their scratch is given views of the graph's state, and they are copied
in only when they come from somewhere else. A graph is held against the eager step before it is used; when it
cannot be had, the eager step serves.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, cast
from weakref import ref

import torch

from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import KernelMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    Replay = Callable[[], None]
    Record = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]

_log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16)
_WARM_UPS = 2  # libraries choose their algorithms and take their memory before anything is recorded
# Of the largest number. The kernels are the same; a library may choose another algorithm while recording.
_TOLERANCE = 5e-3


def can_be_graphed(model: Recurrent) -> bool:
    """Whether its step changes a state of fixed size in place, on an NVIDIA device."""
    has_own_step = type(model).step is not Recurrent.step
    is_wanted = os.environ.get("CHATRWKV_NATIVE", "1") != "0"
    return model.device.type == "cuda" and torch.version.hip is None and has_own_step and is_wanted


def record_on_cuda(device: torch.device, work: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
    """Record what `work` launches; what replays it, and the tensor that holds its result after each replay."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Kernels may be built and tested on another thread meanwhile: only this one must do nothing else.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return replay, result


class Graphed(Recurrent):
    """`model`, its steps replayed; everything else is the model's own.

    Args:
        model: for which `can_be_graphed`.
        record: how work is recorded.
    """

    def __init__(self, model: Recurrent, record: Record | None = None) -> None:
        super().__init__(model.spec, model.device)
        self.weights = model.weights
        self.problem = ""
        """Why the eager step serves; empty when graphs do."""
        self._model = model
        self._record = record or partial(record_on_cuda, model.device)
        self._graphs: dict[int, _Graph] = {}

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        return self._model.blank_rows(n_rows)

    def forward(
        self, token_ids: Tensor, state: Mapping[str, Tensor], lengths: Tensor | None, *, all_logits: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's own."""
        return self._model.forward(token_ids, state, lengths, all_logits=all_logits)

    @torch.inference_mode()
    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V)."""
        graph = self._graph(len(token_ids))
        if graph is None:
            return self._model.step(token_ids, scratch)
        scratch.to(self.device)
        return graph.run(token_ids, scratch)

    def _graph(self, n_rows: int) -> _Graph | None:
        size = next((size for size in SIZES if size >= n_rows), None)
        if size is None or self.problem:
            return None
        if size not in self._graphs:
            try:
                self._graphs[size] = _Graph(self._model, size, self._record)
            except (RuntimeError, KernelMismatch) as error:
                self.problem = str(error)
                self._graphs.clear()
                _log.warning("Steps are not replayed as graphs: %s", error)
                return None
        return self._graphs[size]


class _Graph:
    """The step of some number of rows, and the memory it works on."""

    def __init__(self, model: Recurrent, n_rows: int, record: Record) -> None:
        self._ids = torch.zeros(n_rows, dtype=torch.int64, device=model.device)
        self._state = model.blank_rows(n_rows)
        self._given: dict[str, Tensor] = {}
        self._owner: ref[Scratch] | None = None
        rows = Scratch(self._state)
        ids = cast("Sequence[int]", self._ids)  # a step takes whatever becomes a tensor
        self._replay, self._logits = record(lambda: model.step(ids, rows))
        if any(rows.tensors[name] is not tensor for name, tensor in self._state.items()):
            raise KernelMismatch("A step makes a new state instead of changing it in place.")
        self._check(model, n_rows)

    def run(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Step the rows of `scratch`, which is given views of the graph's state."""
        n = len(token_ids)
        self._ids[:n].copy_(torch.tensor(token_ids))
        self._take(scratch, n)
        self._replay()
        return self._logits[:n].clone()

    def _take(self, scratch: Scratch, n: int) -> None:
        owner = self._owner() if self._owner else None
        if owner is scratch and all(scratch.tensors[name] is view for name, view in self._given.items()):
            return
        if owner is not None and owner is not scratch:
            for name, view in self._given.items():
                if owner.tensors.get(name) is view:  # about to be overwritten
                    owner.tensors[name] = view.clone()
        self._given = {name: tensor[:, :n] for name, tensor in self._state.items()}
        for name, view in self._given.items():
            view.copy_(scratch.tensors[name])
        scratch.tensors = dict(self._given)
        self._owner = ref(scratch)

    def _check(self, model: Recurrent, n_rows: int) -> None:
        """Two steps, so that the second one begins with what the first one left."""
        eager, replayed = (Scratch(model.blank_rows(n_rows)) for _ in range(2))
        for first in (1, 2):
            ids = [(first + 5 * row) % model.spec.n_vocab for row in range(n_rows)]
            wanted, found = model.step(ids, eager), self.run(ids, replayed)
        pairs = [(wanted, found), *((eager.tensors[name], replayed.tensors[name]) for name in eager.tensors)]
        worst = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in pairs)
        if not worst <= _TOLERANCE:
            raise KernelMismatch(
                f"A replayed step differs from an eager one by {worst:.3g} of the largest number."
            )
