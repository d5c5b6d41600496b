"""From a path to a model that runs: find, open, check, measure, cast, load.

Everything that can be refused is refused before the weights are read: container, generation, shapes,
tokenizer, memory. A generation is one entry in `_FAMILIES` and one file in `models/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from chatrwkv.engine import kernels
from chatrwkv.engine.checkpoint import Checkpoint, open_checkpoint
from chatrwkv.engine.events import ModelInfo
from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.models.graphed import Graphed, can_be_graphed
from chatrwkv.engine.models.split import Split
from chatrwkv.engine.models.started import started
from chatrwkv.engine.options import read_options, shown, with_options
from chatrwkv.engine.placement import make_plan, rescale_every
from chatrwkv.engine.reading import (
    LoadCancelled,
    check_memory,
    check_numbers,
    is_finite,
    read_tensors,
    refuse_values,
)
from chatrwkv.engine.spec import Generation, ModelSpec, detect
from chatrwkv.engine.tokens.choice import tokenizer_for
from chatrwkv.errors import ModelFormatError, ModelNotFound, ModelUnsupported, StateMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from chatrwkv.engine.kernels import Library
    from chatrwkv.engine.options import Options
    from chatrwkv.engine.plan import Plan
    from chatrwkv.engine.state import Scratch, Snapshot, State
    from chatrwkv.engine.tokens.tokenizer import Tokenizer

# generation: (module in models/, class)
_FAMILIES: dict[Generation, tuple[str, str]] = {
    Generation.V1: ("rwkv1", "RWKV1"),
    Generation.V2: ("rwkv23", "RWKV23"),
    Generation.V3: ("rwkv23", "RWKV23"),
    Generation.V4: ("rwkv4", "RWKV4"),
    Generation.V4A: ("rwkv4ab", "RWKV4AB"),
    Generation.V4B: ("rwkv4ab", "RWKV4AB"),
    Generation.V5_0: ("rwkv5", "RWKV5"),
    Generation.V5_1: ("rwkv5", "RWKV5"),
    Generation.V5_2: ("rwkv5", "RWKV5"),
    Generation.V6: ("rwkv6", "RWKV6"),
    Generation.V7: ("rwkv7", "RWKV7"),
    Generation.V7A: ("rwkv8", "RWKV8"),
    Generation.V7B: ("rwkv8", "RWKV8"),
    Generation.V8RC: ("rwkv8", "RWKV8"),
    Generation.V8RC_HYBRID: ("rwkv8", "RWKV8"),
}

# what a name says about the training data, for the choice of a template only
_CARDS = (
    ("g1", r"rwkv7[ab]?-g\d|[-_]g1[a-z]?[-_]"),
    ("raven", "raven"),
    ("world", "world"),
    ("pile", "pile"),
)


class Model(Protocol):
    """What every generation offers. Only the engine thread calls `scan` and `step`."""

    spec: ModelSpec

    def blank(self) -> State:
        """The state before the first token."""
        ...

    def step(self, token_ids: Sequence[int], scratch: Scratch) -> Tensor:
        """Read one token into each row: logits (B, V) float32."""
        ...

    def scan(
        self, rows: Sequence[Sequence[int]], scratch: Scratch, *, all_logits: bool = False
    ) -> Tensor | list[Tensor]:
        """Read one or more tokens into each row: logits (B, V), or B of (T_b, V) with `all_logits`."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model, the tokenizer that belongs to it, and what may be shown of both."""

    model: Model
    tokenizer: Tokenizer
    name: str
    path: Path
    device: str
    dtype: str
    banned: frozenset[int]
    """Ids of the head without an entry in the vocabulary; never drawn."""
    info: ModelInfo

    def adopt(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot, if it fits this model.

        Raises:
            StateMismatch: it was made by another model, or its shapes or values cannot be used.
        """
        hint = "Load the model it was saved with."
        if snapshot.fingerprint != self.model.spec.fingerprint:
            raise StateMismatch(f"The state belongs to another model than {self.name}.", hint=hint)
        n_vocab = self.model.spec.n_vocab
        if not snapshot.state.fits(self.model.blank(), n_vocab) or snapshot.logits.shape != (n_vocab,):
            raise StateMismatch(f"The state has not the shape of a state of {self.name}.", hint=hint)
        if not all(is_finite(t) for t in (*snapshot.state.tensors.values(), snapshot.logits)):
            raise StateMismatch("The state holds values that are no numbers.", hint="Use an earlier one.")
        return snapshot


def load_model(
    path: Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> LoadedModel:
    """Load a checkpoint file, or a folder with one (and its `vocab.txt`).

    Args:
        path: a .pth or .safetensors file, or a folder.
        device: auto, cpu, cuda, cuda:N, mps, or a strategy such as "cuda fp16 *10 -> cpu fp32".
        dtype: auto, fp32, bf16, fp16, int8, int4: of the matrices; states and vectors are always float32.
        progress: called with (bytes done, bytes in all) after each tensor.
        cancelled: asked after each tensor.

    Raises:
        ModelError: with the reason; nothing stays allocated.
        LoadCancelled: `cancelled` said so.
    """
    source = _opened(path)
    kind = str(source.options.get("tokenizer", "auto"))
    tokenizer = tokenizer_for(source.checkpoint.path, source.spec.n_vocab, kind)
    plan, model = _run_as(source, device, dtype, progress, cancelled)
    info = _info(source.name, path, source.spec, plan, tokenizer, model, source.options)
    banned = tokenizer.unused(source.spec.n_vocab)
    return LoadedModel(model, tokenizer, source.name, path, plan.place, plan.dtype, banned, info)


def load_bare(path: Path, *, device: str = "auto", dtype: str = "auto") -> tuple[Model, Plan]:
    """A model without a tokenizer, for whoever brings ids; as `load_model` otherwise."""
    plan, model = _run_as(_opened(path), device, dtype, None, None)
    return model, plan


def read_spec(path: Path) -> ModelSpec:
    """The blueprint of a model file or folder, with its options and fingerprint; its weights are not read.

    Raises:
        ModelError: it is no model that runs here.
    """
    return _opened(path).spec


@dataclass(frozen=True, slots=True)
class _Source:
    """A model file that was opened and found to be sound; its weights are not read."""

    name: str
    checkpoint: Checkpoint
    spec: ModelSpec
    options: Options


def _opened(path: Path) -> _Source:
    checkpoint = open_checkpoint(_checkpoint_file(path))
    spec = detect(checkpoint.shapes, dtype=checkpoint.dtype)
    _family(spec.generation).check(checkpoint.tensors, spec)
    spec = replace(spec, fingerprint=checkpoint.fingerprint)  # reads samples: only of what can run
    options = read_options(checkpoint.path, spec)
    name = path.name if path.is_dir() else path.stem
    return _Source(name, checkpoint, with_options(spec, options), options)


def _run_as(
    source: _Source,
    device: str,
    dtype: str,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> tuple[Plan, Model]:
    """Plan, check the memory, read the weights."""
    checkpoint, spec = source.checkpoint, source.spec
    native = kernels.library() if spec.has_native_path else None
    is_exact = native is not None and spec.dtype == "bf16"
    plan = make_plan(device, dtype, spec, is_exact_in_bf16=is_exact)
    is_native = native is not None and _suits_native(plan, spec)
    check_memory(source.name, checkpoint, plan if is_native else _served(plan, spec), is_native=is_native)
    if native is not None and is_native:
        model = _load_native(source, plan.dtype, native, progress, cancelled)
    else:
        model = _load_torch(checkpoint, spec, source.options, plan, progress, cancelled)
    return plan, started(model, checkpoint.tensors)


def in_float32(loaded: LoadedModel) -> Recurrent:
    """The model as its family's own class in float32, whose `forward` can be differentiated.

    A model in another precision, or with native code, is read once more from its file, onto the device of
    its first layer.

    Raises:
        ModelError: the file is gone or has changed, or it does not fit beside the loaded model.
    """
    if isinstance(loaded.model, Recurrent) and loaded.dtype == "fp32":
        return loaded.model
    checkpoint = open_checkpoint(_checkpoint_file(loaded.path))
    spec = loaded.model.spec
    options = read_options(checkpoint.path, spec)
    found = with_options(replace(spec, fingerprint=checkpoint.fingerprint), options)
    if found.fingerprint != spec.fingerprint:
        raise ModelFormatError(
            f"{checkpoint.path.name} has changed since it was loaded.", hint="Load it again."
        )
    device = str(next(iter(loaded.model.blank().tensors.values())).device)
    plan = make_plan(device, "fp32", spec)
    check_memory(loaded.name, checkpoint, plan, is_native=False)
    family, tensors = _family(spec.generation), read_tensors(checkpoint, plan, None, None)
    return cast(
        "Recurrent", family(spec, tensors, options) if family.TAKES_OPTIONS else family(spec, tensors)
    )


def _info(
    name: str,
    path: Path,
    spec: ModelSpec,
    plan: Plan,
    tokenizer: Tokenizer,
    model: Model,
    options: Options,
) -> ModelInfo:
    return ModelInfo(
        name=name,
        path=str(path),
        generation=spec.generation.value,
        n_layer=spec.n_layer,
        n_embd=spec.n_embd,
        n_vocab=spec.n_vocab,
        n_params=spec.n_params,
        fingerprint=spec.fingerprint,
        tokenizer_id=tokenizer.tokenizer_id,
        device=plan.place,
        dtype=plan.dtype,
        state_bytes=model.blank().n_bytes,
        card_family="builtin" if "builtin" in [p.name for p in path.parents[:2]] else _card_family(name),
        options=shown(options),
        n_context=spec.n_context,
        has_native_path=_suits_native(plan, spec),
    )


def _suits_native(plan: Plan, spec: ModelSpec) -> bool:
    """Whether the native path can run it: one precision, of those it packs, on the CPU."""
    is_alike = plan.is_uniform and plan.devices == ("cpu",)
    return spec.has_native_path and is_alike and plan.dtype != "fp16"


def _served(plan: Plan, spec: ModelSpec) -> Plan:
    """What torch loads: int8 and int4 in bf16 if native code may be ready later, which packs them from it.

    RWKV-7 always, whose torch path is not for coarse weights; the others while the library is being built.
    """
    may_come = spec.generation is Generation.V7 or kernels.status().is_building
    is_waiting = _suits_native(plan, spec) and plan.slots[0].quant and may_come
    return plan.with_dtype("bf16") if is_waiting else plan


def _load_torch(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    options: Options,
    plan: Plan,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Model:
    """The family's own model, on one device or split over several."""
    family = _family(spec.generation)
    served = _served(plan, spec)
    tensors = read_tensors(checkpoint, served, progress, cancelled)
    model = family(spec, tensors, options) if family.TAKES_OPTIONS else family(spec, tensors)
    if family.RESCALES and any(slot.dtype == "fp16" for slot in plan.slots):
        model.rescale(rescale_every())
    if plan.is_split:
        return Split(model, plan)
    if _suits_native(plan, spec) and not served.slots[0].quant:
        switching: Model = import_module("chatrwkv.engine.models.native").Switching(model, plan.dtype)
        return switching
    return cast("Model", Graphed(model) if can_be_graphed(model) else model)


def _checkpoint_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for pattern in ("model.safetensors", "*.safetensors", "*.pth"):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            raise ModelNotFound(
                f"The folder {path} holds {len(found)} models.", hint="Name one of its files."
            )
    raise ModelNotFound(
        f"The folder {path} holds no model.", hint="It needs a .pth file or a model.safetensors."
    )


def _family(generation: Generation) -> Any:
    if generation not in _FAMILIES:
        ready = ", ".join(f"RWKV-{known}" for known in sorted(_FAMILIES))
        raise ModelUnsupported(
            f"This is an RWKV-{generation} model, which is not supported yet.", hint=f"These are: {ready}."
        )
    module, name = _FAMILIES[generation]
    return getattr(import_module(f"chatrwkv.engine.models.{module}"), name)


def _load_native(
    source: _Source,
    kind: str,
    native: Library,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Model:
    """Packed weights: from the cache, or straight from the mapped file, each tensor checked and read once."""
    from chatrwkv.engine.models import native as native_models

    def check(name: str, stored: Tensor) -> None:
        if cancelled is not None and cancelled():
            raise LoadCancelled("Loading was stopped.")
        check_numbers(name, stored)
        if not is_finite(stored):
            refuse_values(name, stored, torch.float32)

    file = native_models.Source(source.checkpoint.tensors, source.spec, source.options)
    return native_models.load(file, kind, native, check, progress)


def _card_family(name: str) -> str:
    low = name.lower()
    return next((family for family, pattern in _CARDS if re.search(pattern, low)), "")
