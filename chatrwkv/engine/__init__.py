"""The engine: checkpoints, states, tokens, sampling, one thread. Knows no terminal and no database.

The names below are all that the layers above may use. They are found on first use (PEP 562), so that
importing this package does not import torch; what needs torch is touched on the engine thread only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatrwkv.engine.events import (
        Done,
        Event,
        Failed,
        Finished,
        FinishReason,
        GenerationStats,
        ModelInfo,
        Prefilled,
        Progress,
        Token,
    )
    from chatrwkv.engine.foreign import export_state, import_state
    from chatrwkv.engine.identity import EMPTY_CHAIN, extend
    from chatrwkv.engine.importing import without_collector
    from chatrwkv.engine.kernels import NativeStatus, native_status, prepare_native
    from chatrwkv.engine.memory import give_back
    from chatrwkv.engine.model import LoadedModel, Model, load_model, read_spec
    from chatrwkv.engine.params import SAMPLING_FIELDS, SAMPLING_KINDS, SamplingParams
    from chatrwkv.engine.record import Drawn, gap_rows, unpack_rows
    from chatrwkv.engine.request import GenerateRequest, Prompt
    from chatrwkv.engine.spec import Generation, ModelSpec, detect
    from chatrwkv.engine.state import Scratch, Snapshot, State
    from chatrwkv.engine.statefile import (
        StateInfo,
        is_own_state,
        load_attached,
        load_state,
        peek_state,
        save_state,
    )
    from chatrwkv.engine.tasks.examples import Exhibit
    from chatrwkv.engine.tasks.lessons import Lesson, Tuned, TuneRecipe, progress_file
    from chatrwkv.engine.tasks.museum import visit
    from chatrwkv.engine.tasks.read import read_ids
    from chatrwkv.engine.tasks.redraw import redraw
    from chatrwkv.engine.tasks.score import log_likelihood
    from chatrwkv.engine.tasks.statemath import (
        Distance,
        HeadDifference,
        StateDifference,
        difference,
        distance,
        mixed,
        moved_by,
    )
    from chatrwkv.engine.tasks.tune import tune
    from chatrwkv.engine.tokens.detok import Utf8Stream
    from chatrwkv.engine.tokens.stops import StopMatcher
    from chatrwkv.engine.tokens.tokenizer import Tokenizer, WorldTokenizer
    from chatrwkv.engine.worker import EngineThread, Job

__all__ = [
    "EMPTY_CHAIN",
    "SAMPLING_FIELDS",
    "SAMPLING_KINDS",
    "Distance",
    "Done",
    "Drawn",
    "EngineThread",
    "Event",
    "Exhibit",
    "Failed",
    "FinishReason",
    "Finished",
    "GenerateRequest",
    "Generation",
    "GenerationStats",
    "HeadDifference",
    "Job",
    "Lesson",
    "LoadedModel",
    "Model",
    "ModelInfo",
    "ModelSpec",
    "NativeStatus",
    "Prefilled",
    "Progress",
    "Prompt",
    "SamplingParams",
    "Scratch",
    "Snapshot",
    "State",
    "StateDifference",
    "StateInfo",
    "StopMatcher",
    "Token",
    "Tokenizer",
    "TuneRecipe",
    "Tuned",
    "Utf8Stream",
    "WorldTokenizer",
    "detect",
    "difference",
    "distance",
    "export_state",
    "extend",
    "gap_rows",
    "give_back",
    "import_state",
    "is_own_state",
    "load_attached",
    "load_model",
    "load_state",
    "log_likelihood",
    "mixed",
    "moved_by",
    "native_status",
    "peek_state",
    "prepare_native",
    "progress_file",
    "read_ids",
    "read_spec",
    "redraw",
    "save_state",
    "tune",
    "unpack_rows",
    "visit",
    "without_collector",
]

_HOMES: dict[str, tuple[str, ...]] = {
    "events": (
        "Done",
        "Event",
        "Failed",
        "FinishReason",
        "Finished",
        "GenerationStats",
        "ModelInfo",
        "Prefilled",
        "Progress",
        "Token",
    ),
    "foreign": ("export_state", "import_state"),
    "identity": ("EMPTY_CHAIN", "extend"),
    "importing": ("without_collector",),
    "kernels": ("NativeStatus", "native_status", "prepare_native"),
    "memory": ("give_back",),
    "model": ("LoadedModel", "Model", "load_model", "read_spec"),
    "params": ("SAMPLING_FIELDS", "SAMPLING_KINDS", "SamplingParams"),
    "record": ("Drawn", "gap_rows", "unpack_rows"),
    "request": ("GenerateRequest", "Prompt"),
    "spec": ("Generation", "ModelSpec", "detect"),
    "state": ("Scratch", "Snapshot", "State"),
    "statefile": ("StateInfo", "is_own_state", "load_attached", "load_state", "peek_state", "save_state"),
    "tasks.examples": ("Exhibit",),
    "tasks.lessons": ("Lesson", "TuneRecipe", "Tuned", "progress_file"),
    "tasks.museum": ("visit",),
    "tasks.read": ("read_ids",),
    "tasks.redraw": ("redraw",),
    "tasks.score": ("log_likelihood",),
    "tasks.statemath": (
        "Distance",
        "HeadDifference",
        "StateDifference",
        "difference",
        "distance",
        "mixed",
        "moved_by",
    ),
    "tasks.tune": ("tune",),
    "tokens.detok": ("Utf8Stream",),
    "tokens.stops": ("StopMatcher",),
    "tokens.tokenizer": ("Tokenizer", "WorldTokenizer"),
    "worker": ("EngineThread", "Job"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return list(__all__)
