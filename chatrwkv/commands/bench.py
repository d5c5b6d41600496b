"""`chatrwkv bench`: how fast a model runs here, and how much of what the machine could do that is."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.measuring import settle_native, watched
from chatrwkv.commands.output import add_config, add_json, narrate, print_fields, print_json, print_rows
from chatrwkv.commands.placement import add_placement, placement_flags
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from chatrwkv.config import Settings
    from chatrwkv.engine import EngineThread, ModelInfo
    from chatrwkv.engine.tasks.bench import Figure, Report

_SHAPES = ("0.1b", "0.4b", "1.5b")
_QUIET = 0.2  # cores of others: with more, two threads measure the neighbours too
_COLUMNS = ("figure", "median", "range", "limit", "of_limit")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "The limit of a figure is what the machine's read bandwidth and its fastest matrix product allow; both\n"
        "are measured in every round. Results go to stdout, progress to stderr."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    which.add_argument(
        "--shape", choices=_SHAPES, help="a random RWKV-7 of this shape instead, deleted afterwards"
    )
    parser.add_argument(
        "--threads", metavar="N", type=int, help="on the CPU; all physical cores unless given"
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="medians of N rounds (5)")
    add_placement(parser)
    add_json(parser, "print one JSON object")
    add_config(parser)
    parser.set_defaults(handler=bench)


def bench(args: argparse.Namespace) -> int:
    """Measure and print."""
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.settings import settings_of
    from chatrwkv.engine.cores import default_threads
    from chatrwkv.engine.tasks.bench import measure  # imports torch, which is no part of a load

    n_threads = default_threads() if args.threads is None else args.threads
    for flag, value in (("--threads", n_threads), ("--rounds", args.rounds)):
        if value < 1:
            raise BadValue(f"{flag} is {value}.", hint="Give 1 or more.")
    with _model_of(args) as model:
        settings = settings_of(args, {"model.default": model, **placement_flags(args)})
        start = time.perf_counter()
        with engine_with_model(settings) as (engine, info):
            first_s = time.perf_counter() - start
            _load_again(engine, info, settings)
            task = partial(measure, n_threads=n_threads, n_rounds=args.rounds)
            report = watched(engine.call(task), "measuring")
    report = replace(report, model=args.shape or report.model)
    if args.json:
        print_json({**asdict(report), "first_load_s": first_s})
    else:
        _show(args, report, first_s)
    return 0


@contextmanager
def _model_of(args: argparse.Namespace) -> Iterator[str | None]:
    """The model to be measured, as the settings name it; native code is settled."""
    if args.shape is None:
        settle_native()
        yield args.model
        return
    with tempfile.TemporaryDirectory(prefix="chatrwkv-bench-") as folder:
        settle_native(Path(folder) / "packed")
        from chatrwkv.engine.tasks.shapes import SHAPES, write_random

        narrate(f"making a random {args.shape} ...")
        path = Path(folder) / f"random-{args.shape}.safetensors"
        write_random(SHAPES[args.shape], path)
        yield str(path)


def _load_again(engine: EngineThread, info: ModelInfo, settings: Settings) -> None:
    """A first load packs the weights and keeps them in memory; later ones, which count, map the packed file."""
    from chatrwkv.engine.tasks.bench import wait_for_cache

    wait_for_cache()
    watched(engine.load(Path(info.path), device=settings.model.device, dtype=settings.model.dtype), "loading")


def _show(args: argparse.Namespace, report: Report, first_s: float) -> None:
    print_fields(args, _fields(report, first_s))
    print()
    print_rows(args, [_row(figure) for figure in report.figures], _COLUMNS)
    for note in report.notes:
        narrate(note)
    if report.foreign_load is not None and report.foreign_load > _QUIET:
        narrate(
            f"Other programs kept {report.foreign_load:.1f} cores busy meanwhile: measure again when it is quieter."
        )


def _fields(report: Report, first_s: float) -> dict[str, Any]:
    from chatrwkv.text import format_bytes

    how = f"native code, {report.isa}" if report.is_native else "torch"
    products = (f"{name} {rate:.0f}" for name, rate in report.gemm_gflop_s.items())
    foreign = "not known" if report.foreign_load is None else f"{report.foreign_load:.2f} cores"
    return {
        "model": f"{report.model}: RWKV-{report.generation}, {report.n_params:,} parameters",
        "precision": f"{report.dtype} on {report.device} ({how})",
        "threads": report.n_threads,
        "rounds": report.n_rounds,
        "read by one token": f"{format_bytes(report.weight_bytes)} and a state of {format_bytes(report.state_bytes)}",
        "memory is read at": f"{report.read_gb_s:.1f} GB/s",
        "matrix products": f"{', '.join(products)} GFLOP/s",
        "first load": f"{first_s:.2f} s",
        "foreign load": foreign,
    }


def _row(figure: Figure) -> dict[str, str]:
    low, high, limit = (_number(x, figure.unit) for x in (figure.low, figure.high, figure.limit))
    return {
        "figure": figure.name,
        "median": f"{_number(figure.median, figure.unit)} {_unit(figure)}",
        "range": f"{low} - {high}",
        "limit": limit if figure.limit else "",
        "of_limit": f"{figure.percent:.0f} %" if figure.limit else "",
    }


def _number(value: float, unit: str) -> str:
    """Three digits; seconds as milliseconds."""
    value = value * 1000 if unit == "s" else value
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _unit(figure: Figure) -> str:
    return "ms" if figure.unit == "s" else figure.unit
