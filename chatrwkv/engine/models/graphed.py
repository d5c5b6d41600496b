"""Steps of a model on a CUDA device, each replayed as one graph: no Python and no launch between its layers.

A graph reads and writes fixed memory, so there is one for 1, 2, 4, 8 and 16 rows, each with its own ids, state
and logits. Rows in motion live in there: their scratch is given views of the graph's state, and they are copied
in only when they come from somewhere else.

What is recorded is, for RWKV-7 in fp16, bf16 or int8, the step of `cuda_decode`, once its kernels are ready, and the
eager step otherwise. A graph is held against the eager step before it is used; when none can be had, the eager
step serves. `cuda_kernels.status` says which.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Self, cast
from weakref import ref

import torch

from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.state import Scratch
from chatrwkv.errors import DeviceLost, KernelMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from chatrwkv.engine.cuda_decode import Decoder
    from chatrwkv.engine.cuda_ops import Launch
    from chatrwkv.engine.models.rwkv7 import RWKV7

    Form = Callable[[Tensor, Scratch], Tensor]
    Replay = Callable[[], None]
    Seconds = Callable[[Callable[[], object]], float]
    Record = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]

_log = logging.getLogger(__name__)

SIZES = (1, 2, 4, 8, 16)
_WARM_UPS = 2  # libraries choose their algorithms and take their memory before anything is recorded
# Of the largest number. The kernels are the same; a library may choose another algorithm while recording.
_TOLERANCE = 5e-3
# The same of the fused step, whose sums are rounded in other places; `cuda_selftest` is the finer test of its kernels.
_TOLERANCE_FUSED = {torch.float16: 3e-2, torch.bfloat16: 0.15}


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
        seconds: how long some work takes on the device.
    """

    def __init__(
        self, model: Recurrent, record: Record | None = None, seconds: Seconds | None = None
    ) -> None:
        super().__init__(model.spec, model.device)
        self.weights = model.weights
        self.problem = ""
        """Why the eager step serves; empty when graphs do."""
        self.why_eager = ""
        """Why the eager step is what is recorded; empty while the kernels are not ready, and when they do it."""
        self._model = model
        self._record = record or partial(record_on_cuda, model.device)
        self._seconds = seconds or partial(_seconds_on_cuda, model.device)
        self._decoder: Decoder | None = None
        self._graphs: dict[int, _Graph] = {}

    @property
    def line(self) -> str:
        """What runs a step, for people."""
        if self.problem:
            return f"torch operations one by one ({self.problem})"
        if self._decoder is not None:
            return "fused kernels in one CUDA graph"
        return f"torch operations in one CUDA graph ({self.why_eager or 'the fused kernels are not ready'})"

    def blank_rows(self, n_rows: int) -> dict[str, Tensor]:
        """The state before the first token, B behind L."""
        return self._model.blank_rows(n_rows)

    def headless(self) -> Recurrent:
        """Of the model itself: no token is drawn from what it gives."""
        return self._model.headless()

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
        if self._decoder is None and not self.why_eager:
            self._look_for_kernels()
        if size not in self._graphs:
            graph = self._recorded(size)
            if graph is not None:
                self._graphs[size] = graph
            self._tell()
        return self._graphs.get(size)

    def _look_for_kernels(self) -> None:
        """Take the fused kernels as soon as they are there; what was recorded without them goes."""
        launch = _launcher(self.device)
        self.why_eager = _why_eager(self._model)
        if launch is None or self.why_eager:
            return
        from chatrwkv.engine.cuda_decode import Decoder

        del self.weights  # it would hold the matrices that are laid out anew
        try:
            self._decoder = Decoder(cast("RWKV7", self._model), launch)
            self._graphs.clear()
        except RuntimeError as error:  # no memory left
            self.why_eager = str(error)
        finally:
            self.weights = self._model.weights

    def _recorded(self, size: int) -> _Graph | None:
        if self._decoder is not None:
            forms = [_fused(self._decoder, is_skipping=is_skipping) for is_skipping in (False, True)]
            tolerance = _TOLERANCE_FUSED[self._decoder.dtype]
            try:
                return _Graph(self._model, size, self._record, forms, tolerance).fastest(self._seconds)
            except (RuntimeError, KernelMismatch, DeviceLost) as error:
                self.why_eager = str(error)
                self._decoder = None
                self._graphs.clear()
                _log.warning("The fused kernels are not used: %s", error)
        try:
            return _Graph(self._model, size, self._record, [_eager(self._model)], _TOLERANCE)
        except (RuntimeError, KernelMismatch) as error:
            self.problem = str(error)
            self._graphs.clear()
            _log.warning("Steps are not replayed as graphs: %s", error)
            return None

    def _tell(self) -> None:
        if self.device.type == "cuda":
            from chatrwkv.engine import cuda_kernels

            cuda_kernels.tell_decode(self.device, self.line)


def _launcher(device: torch.device) -> Launch | None:
    """What launches the fused kernels, once they are built and tested."""
    if device.type != "cuda":
        return None
    from chatrwkv.cuda.decode_abi import UNIT
    from chatrwkv.engine import cuda_kernels

    return cuda_kernels.launcher(device, UNIT)


def _why_eager(model: Recurrent) -> str:
    """Why there are no fused kernels for this model; empty when there are."""
    from chatrwkv.engine.models.rwkv7 import RWKV7

    if type(model) is not RWKV7:
        return f"there are no fused kernels for RWKV-{model.spec.generation}"
    from chatrwkv.engine.cuda_decode import why_not

    reason = why_not(model)
    return f"there are no fused kernels for {reason}" if reason else ""


def _seconds_on_cuda(device: torch.device, work: Callable[[], object]) -> float:
    from chatrwkv.engine.cuda_forms import event_seconds

    with torch.cuda.device(device):
        return event_seconds(work)


def _eager(model: Recurrent) -> Form:
    # a step takes whatever becomes a tensor
    return lambda ids, rows: model.step(cast("Sequence[int]", ids), rows)


def _fused(decoder: Decoder, *, is_skipping: bool) -> Form:
    from chatrwkv.engine.cuda_decode import decode7

    def form(ids: Tensor, rows: Scratch) -> Tensor:
        state = (rows.tensors[name] for name in ("att_shift", "wkv", "ffn_shift"))
        return cast("Tensor", decode7(ids, *state, decoder.number, is_skipping))

    return form


class _Graph:
    """The step of some number of rows, recorded in one form or several, and the memory it works on."""

    def __init__(
        self, model: Recurrent, n_rows: int, record: Record, forms: Sequence[Form], tolerance: float
    ) -> None:
        self._ids = torch.zeros(n_rows, dtype=torch.int64, device=model.device)
        self._state = model.blank_rows(n_rows)
        self._given: dict[str, Tensor] = {}
        self._owner: ref[Scratch] | None = None
        rows = Scratch(self._state)
        self._forms = [record(partial(form, self._ids, rows)) for form in forms]
        if any(rows.tensors[name] is not tensor for name, tensor in self._state.items()):
            raise KernelMismatch("A step makes a new state instead of changing it in place.")
        for form in self._forms:
            self._replay, self._logits = form
            self._check(model, n_rows, tolerance)

    def fastest(self, seconds: Seconds) -> Self:
        """Itself in its fastest form; the others are let go."""
        self._forms = [min(self._forms, key=lambda form: seconds(form[0]))]
        ((self._replay, self._logits),) = self._forms
        return self

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

    def _check(self, model: Recurrent, n_rows: int, tolerance: float) -> None:
        """Two steps, so that the second one begins with what the first one left."""
        eager, replayed = (Scratch(model.blank_rows(n_rows)) for _ in range(2))
        for first in (1, 2):
            ids = [(first + 5 * row) % model.spec.n_vocab for row in range(n_rows)]
            wanted, found = model.step(ids, eager), self.run(ids, replayed)
        pairs = [(wanted, found), *((eager.tensors[name], replayed.tensors[name]) for name in eager.tensors)]
        worst = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in pairs)
        if not worst <= tolerance:
            raise KernelMismatch(
                f"A replayed step differs from an eager one by {worst:.3g} of the largest number."
            )
