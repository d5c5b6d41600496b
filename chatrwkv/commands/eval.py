"""`chatrwkv eval`: how well a model predicts a text, a list of last words or of questions."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.measuring import settle_native, watched
from chatrwkv.commands.output import add_config, add_json, print_fields, print_json
from chatrwkv.commands.placement import DTYPES, add_placement, placement_flags
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from chatrwkv.engine import LoadedModel
    from chatrwkv.engine.tasks.evaluate import Evaluation, Position

_BLOCKS = " ▏▎▍▌▋▊▉█"
_BAR_CELLS = 40


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        'FILE is a text, or .jsonl with lines of {"text": ...} (bits per byte and last word) or of\n'
        '{"question": ..., "choices": [...], "answer": ...}. Results go to stdout, progress to stderr.'
    )
    parser.add_argument("file", metavar="FILE", help="a text, or .jsonl with texts or questions")
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    parser.add_argument(
        "--against", choices=DTYPES[1:], help="compare with the same model in this precision: KL and top-1"
    )
    add_placement(parser)
    add_json(parser, "print one JSON object")
    add_config(parser)
    parser.set_defaults(handler=evaluate)


def evaluate(args: argparse.Namespace) -> int:
    """Measure and print."""
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.settings import settings_of

    file = Path(args.file).expanduser()
    if not file.is_file():
        raise BadValue(f"There is no file {file}.", hint="Give a text or a .jsonl file.")
    flags = {"model.default": args.model, **placement_flags(args)}
    settings = settings_of(args, flags)
    settle_native()
    with engine_with_model(settings) as (engine, _):
        job = engine.call(_task(file, args.against))
        result = watched(job, file.name)
    if args.json:
        print_json(asdict(result))
    else:
        _show(args, result)
    return 0


def _check_served(loaded: LoadedModel) -> None:
    """A model that waits for native code serves int8 and int4 in bf16.

    Raises:
        BadValue: it does, so that something else would be measured.
    """
    from chatrwkv.engine import kernels

    if loaded.dtype in ("int8", "int4") and not getattr(loaded.model, "is_native", True):
        why_not = kernels.status().why_not or "It is being built."
        raise BadValue(
            f"{loaded.dtype} of RWKV-{loaded.info.generation} on the CPU needs the native library: {why_not}",
            hint="`chatrwkv doctor` tells more; bf16 and fp32 work without it.",
        )


def _task(
    file: Path, against: str | None
) -> Callable[[LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Evaluation]:
    """The work on the engine thread."""

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Evaluation:
        from chatrwkv.engine import load_model
        from chatrwkv.engine.tasks.evaluate import evaluate as measure
        from chatrwkv.engine.tasks.examples import read_examples

        _check_served(loaded)
        reference = None
        if against is not None:
            progress(0, 0, f"loading {loaded.name} in {against}")
            reference = load_model(loaded.path, device=loaded.device, dtype=against, cancelled=cancelled)
            _check_served(reference)
        total, done = max(1, file.stat().st_size), 0

        def read(n_bytes: int) -> None:
            nonlocal done
            done = min(total, done + n_bytes)
            progress(done, total, f"evaluating {file.name}")

        return measure(loaded, read_examples(file), reference=reference, cancelled=cancelled, read=read)

    return task


def _show(args: argparse.Namespace, result: Evaluation) -> None:
    print_fields(args, _fields(result))
    for name, value in result.by_source.items():
        print_fields(args, {f"bits per byte of {name}": f"{value:.3f}"})
    if not result.by_position:
        return
    print("\nloss by token position, in nats" if sys.stdout.isatty() else "\nposition\ttokens\tloss")
    for line in plot(result.by_position) if sys.stdout.isatty() else _rows(result.by_position):
        print(line)


def _fields(result: Evaluation) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "model": result.model,
        "precision": f"{result.dtype} on {result.device}{' (native code)' if result.is_native else ''}",
        "time": f"{result.seconds:.1f} s",
    }
    if result.n_tokens:
        fields |= {
            "documents": result.n_documents,
            "tokens": f"{result.n_tokens:,}",
            "bits per byte": f"{result.bits_per_byte:.4f}",
            "loss": f"{result.loss:.4f} nats a token (perplexity {math.exp(result.loss):.2f})",
        }
    if (words := result.last_words) is not None:
        fields["last words"] = (
            f"{_share(words.accuracy)} of {words.n} right, mean probability {words.probability:.3f},"
            f" perplexity {words.perplexity:.1f}"
        )
    if (choices := result.choices) is not None:
        fields["multiple choice"] = (
            f"{_share(choices.accuracy)} of {choices.n} right ({_share(choices.accuracy_by_sum)} without"
            f" regard to length, {_share(choices.chance)} by chance)"
        )
    if (against := result.against) is not None:
        fields[f"against {against.dtype}"] = (
            f"mean KL {against.mean_kl:.3g} nats, top-1 {_share(against.top1)} of {against.n} tokens,"
            f" {_share(against.top1_sure)} of the {against.n_sure} it is sure of"
        )
    return fields


def plot(positions: tuple[Position, ...]) -> list[str]:
    """One bar for each doubling of the position; all bars together fill the width."""
    longest = max(position.loss for position in positions) or 1.0
    spans = [_span(position) for position in positions]
    width = max(map(len, spans))
    lines = []
    for span, position in zip(spans, positions, strict=True):
        eighths = max(0, round(position.loss / longest * _BAR_CELLS * 8))
        bar = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
        lines.append(f"{span:>{width}}  {bar:<{_BAR_CELLS}}  {position.loss:.3f}  ({position.n:,})")
    return lines


def _rows(positions: tuple[Position, ...]) -> list[str]:
    return [f"{_span(position)}\t{position.n}\t{position.loss:.4f}" for position in positions]


def _span(position: Position) -> str:
    return str(position.first) if position.first == position.last else f"{position.first}-{position.last}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
