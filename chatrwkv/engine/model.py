"""From a path to a model that runs: find, open, check, measure, cast, load.

Everything that can be refused is refused before the weights are read: container, generation, shapes,
tokenizer, memory. A generation is one entry in `_FAMILIES` and one file in `models/`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import torch

from chatrwkv.engine import kernels
from chatrwkv.engine.checkpoint import Checkpoint, open_checkpoint
from chatrwkv.engine.events import ModelInfo
from chatrwkv.engine.memory import free_bytes, readable
from chatrwkv.engine.options import read_options, shown, with_options
from chatrwkv.engine.spec import Generation, ModelSpec, detect
from chatrwkv.engine.tokens.choice import tokenizer_for
from chatrwkv.engine.weights import is_matrix, prepare
from chatrwkv.errors import (
    BadValue,
    ModelError,
    ModelFormatError,
    ModelNotFound,
    ModelTooLarge,
    ModelUnsupported,
    StateMismatch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from chatrwkv.engine.kernels import Library
    from chatrwkv.engine.state import Scratch, Snapshot, State
    from chatrwkv.engine.tokens.tokenizer import Tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Formats of the native path, with bytes a weight; the torch path serves in bf16 while there is none.
QUANTISED = {"int8": 8.25 / 8, "int4": 4.25 / 8}
# Up to this size float32 is kept on the CPU: exact, and 1.2 GB at most. With bf16 instructions in the CPU,
# bf16 decodes 1.3 times and prefills 3 times as fast (L12 C768), but not every CPU has them.
_SMALL_PARAMS = 300_000_000

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


class LoadCancelled(ModelError):
    """The load was stopped on request."""


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
        if not all(_is_finite(t) for t in (*snapshot.state.tensors.values(), snapshot.logits)):
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
        device: auto, cpu, cuda, cuda:N.
        dtype: auto, fp32, bf16, fp16, int8, int4: of the matrices; states and vectors are always float32.
        progress: called with (bytes done, bytes in all) after each tensor.
        cancelled: asked after each tensor.

    Raises:
        ModelError: with the reason; nothing stays allocated.
        LoadCancelled: `cancelled` said so.
    """
    file = _checkpoint_file(path)
    checkpoint = open_checkpoint(file)
    spec = detect(checkpoint.shapes, checkpoint.fingerprint, checkpoint.dtype)
    family = _family(spec.generation)
    family.check(checkpoint.tensors, spec)
    options = read_options(file, spec)
    spec = with_options(spec, options)
    name = path.name if path.is_dir() else path.stem
    tokenizer = tokenizer_for(file, spec.n_vocab, str(options.get("tokenizer", "auto")))
    place = choose_device(device)
    if dtype in QUANTISED and spec.generation is not Generation.V7:
        raise BadValue(
            f"{dtype} is there for RWKV-7 only, and this is an RWKV-{spec.generation}.", hint="Use bf16."
        )
    native = kernels.library() if place.type == "cpu" and spec.generation is Generation.V7 else None
    kind = choose_dtype(
        dtype, place, spec.n_params, is_exact_in_bf16=native is not None and spec.dtype == "bf16"
    )
    _check_memory(name, checkpoint, place, kind, is_native=native is not None)
    if native is not None:
        model = _load_native(checkpoint, spec, kind, native, progress, cancelled)
    else:
        tensors = _read(checkpoint, place, DTYPES["bf16" if kind in QUANTISED else kind], progress, cancelled)
        model = family(spec, tensors, options) if family.TAKES_OPTIONS else family(spec, tensors)
        if place.type == "cpu" and spec.generation is Generation.V7:
            model = import_module("chatrwkv.engine.models.native7").SwitchingRWKV7(model, kind)
    info = ModelInfo(
        name=name,
        path=str(path),
        generation=spec.generation.value,
        n_layer=spec.n_layer,
        n_embd=spec.n_embd,
        n_vocab=spec.n_vocab,
        n_params=spec.n_params,
        fingerprint=spec.fingerprint,
        tokenizer_id=tokenizer.tokenizer_id,
        device=str(place),
        dtype=kind,
        state_bytes=model.blank().n_bytes,
        card_family="builtin" if path.parent.name == "builtin" else _card_family(name),
        options=shown(options),
        n_context=spec.n_context,
    )
    banned = tokenizer.unused(spec.n_vocab)
    return LoadedModel(model, tokenizer, name, path, str(place), kind, banned, info)


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


def choose_device(device: str) -> torch.device:
    """The torch device of `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        BadValue: no such device here.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise BadValue(f"There is no device {device!r}.", hint="Use auto, cpu, cuda or cuda:0.")
    n_cuda = torch.cuda.device_count() if device != "cpu" else 0
    if device == "auto":
        return torch.device("cuda:0" if n_cuda else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= n_cuda:
        raise BadValue(f"{device} was asked for, but torch sees {n_cuda} CUDA devices.", hint="Use cpu.")
    return torch.device("cuda", index)


def choose_dtype(dtype: str, device: torch.device, n_params: int, *, is_exact_in_bf16: bool = False) -> str:
    """One of `DTYPES` or `QUANTISED`: by measure for `auto`.

    `is_exact_in_bf16`: the file holds bf16 and what will run it computes in float32, so that more bits would
    only cost time.

    Raises:
        BadValue: unknown, or not possible on the device.
    """
    if dtype == "auto":
        if device.type == "cuda":
            return "fp16"
        return "fp32" if n_params <= _SMALL_PARAMS and not is_exact_in_bf16 else "bf16"
    if dtype not in DTYPES and dtype not in QUANTISED:
        raise BadValue(
            f"There is no precision {dtype!r}.", hint=f"Use auto, {', '.join([*DTYPES, *QUANTISED])}."
        )
    if dtype in QUANTISED and device.type != "cpu":
        raise BadValue(f"{dtype} needs the CPU.", hint=f"Use fp16 or bf16 on {device}.")
    if dtype == "fp16" and device.type == "cpu":
        raise BadValue("fp16 needs a CUDA device.", hint="Use fp32 or bf16 on the CPU.")
    return dtype


def _loaded_bytes(name: str, tensor: Tensor, kind: str, *, is_native: bool) -> int:
    if not is_matrix(name, tensor):
        return tensor.numel() * 4
    if kind not in QUANTISED:
        return tensor.numel() * DTYPES[kind].itemsize
    is_coarse = is_native and name != "emb.weight"
    return int(tensor.numel() * (QUANTISED[kind] if is_coarse else 2))


def _check_memory(
    name: str, checkpoint: Checkpoint, device: torch.device, kind: str, *, is_native: bool
) -> None:
    """Refuse what cannot fit: weights, a second embedding while ln0 is folded, and 256 MiB for the work."""
    sizes = [_loaded_bytes(n, t, kind, is_native=is_native) for n, t in checkpoint.tensors.items()]
    needed = sum(sizes) + max(sizes) + (256 << 20)
    free = free_bytes(device)
    if needed > free:
        smaller = "Close other programs or choose a smaller model."
        hint = f"Try the precision bf16, or a smaller model. {smaller}" if kind == "fp32" else smaller
        raise ModelTooLarge(
            f"{name} needs {readable(needed)} in {kind} on {device}, but {readable(free)} are free.",
            hint=hint,
        )


def _read(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> dict[str, Tensor]:
    """Copies of all tensors on the device, matrices in `dtype`, each one checked for NaN and Inf."""
    total = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    done = 0
    tensors: dict[str, Tensor] = {}
    for name, stored in checkpoint.tensors.items():
        if cancelled is not None and cancelled():
            raise LoadCancelled("Loading was stopped.")
        _check_numbers(name, stored)
        # always a copy: a view of the mapped file would die with the file
        tensor = prepare(name, stored, device, dtype)
        if not _is_finite(tensor):
            _refuse_values(name, stored, dtype)
        tensors[name] = tensor
        done += stored.nbytes
        if progress is not None:
            progress(done, total)
    return tensors


def _load_native(
    checkpoint: Checkpoint,
    spec: ModelSpec,
    kind: str,
    native: Library,
    progress: Callable[[int, int], None] | None,
    cancelled: Callable[[], bool] | None,
) -> Model:
    """Packed weights: from the cache, or straight from the mapped file, each tensor checked and read once."""
    from chatrwkv.engine.models.native7 import load7

    def check(name: str, stored: Tensor) -> None:
        if cancelled is not None and cancelled():
            raise LoadCancelled("Loading was stopped.")
        _check_numbers(name, stored)
        if not _is_finite(stored):
            _refuse_values(name, stored, torch.float32)

    return load7(checkpoint.tensors, spec, kind, native, check, progress)


def _check_numbers(name: str, stored: Tensor) -> None:
    if not stored.is_floating_point():
        raise ModelFormatError(
            f"The tensor {name!r} holds {stored.dtype} instead of floating point numbers.",
            hint="Quantised files are not supported; use the published .pth.",
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.numel():  # a past of no tokens
        return True
    # min and max carry NaN and Inf along; isfinite would allocate a byte for every value
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _refuse_values(name: str, stored: Tensor, dtype: torch.dtype) -> None:
    if _is_finite(stored):
        raise ModelFormatError(
            f"The tensor {name!r} has values beyond the range of {dtype}.", hint="Use bf16 or fp32."
        )
    raise ModelFormatError(
        f"The tensor {name!r} holds NaN or infinite values.",
        hint="The file is damaged or its training failed; download it again.",
    )


def _card_family(name: str) -> str:
    low = name.lower()
    return next((family for family, pattern in _CARDS if re.search(pattern, low)), "")
