"""`chatrwkv embed`: a vector for each line of a text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import add_config, narrate
from chatrwkv.commands.placement import add_placement, placement_flags
from chatrwkv.errors import BadValue, StoreFull

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from chatrwkv.engine import LoadedModel

SUFFIX = ".embed"
"""Statistics beside a model have its name and this."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "Each line of FILE is a text of its own, read from a blank state. Without --out and --json a line of\n"
        "numbers with tabs between is printed for each. Vectors are normalised, channel by channel, with the\n"
        "statistics beside the model (MODEL.embed) or of --stats; make them with --fit-stats from a thousand\n"
        "lines of varied text or more."
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="a text; `-` is stdin")
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("hidden", "state"),
        default="hidden",
        help="the mean of what the head reads, or what the state is after the last token",
    )
    parser.add_argument(
        "--kind",
        choices=("att-shift", "ffn-shift", "aa", "bb", "wkv"),
        help="which part of the state (default: wkv, what the layers read out of their memory)",
    )
    statistics = parser.add_mutually_exclusive_group()
    statistics.add_argument("--stats", metavar="FILE", help="normalise with these")
    statistics.add_argument("--raw", action="store_true", help="do not normalise")
    statistics.add_argument("--fit-stats", metavar="FILE", help="write statistics of the lines, no vectors")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--out", metavar="FILE", help="write a NumPy file, (lines, channels) float32")
    form.add_argument("--json", action="store_true", help="print one JSON object a line")
    add_placement(parser)
    add_config(parser)
    parser.set_defaults(handler=embed)


def embed(args: argparse.Namespace) -> int:
    """Read the lines, then print or write."""
    from chatrwkv.commands.measuring import watched
    from chatrwkv.commands.models import model_entry, weights_file
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.settings import settings_of

    if args.kind and args.source == "hidden":
        raise BadValue("--kind is about the state.", hint="Add `--from state`, or leave --kind out.")
    if args.fit_stats and (args.out or args.json):
        raise BadValue("--fit-stats makes no vectors.", hint="Leave --out and --json out.")
    target = _target(args.fit_stats or args.out)
    lines = _lines(args.file)
    settings = settings_of(args, {"model.default": args.model, **placement_flags(args)})
    stats = args.stats and Path(args.stats).expanduser()
    if not args.raw and not stats:
        stats = weights_file(model_entry(settings).path).with_suffix(SUFFIX)
    if stats and not args.fit_stats and not stats.is_file():
        raise BadValue(
            f"There are no statistics {stats}, so channels cannot be compared.",
            hint="Make them with `chatrwkv embed TEXT --fit-stats FILE`, or give --raw.",
        )
    with engine_with_model(settings) as (engine, _):
        if args.fit_stats:
            assert target is not None
            n = watched(engine.call(_fit(lines, target)), "reading")
            narrate(f"{target}: statistics of {n:,} lines.")
            return 0
        kind = "hidden" if args.source == "hidden" else args.kind or "wkv"
        vectors = watched(engine.call(_vectors(lines, kind, stats or None)), "reading")
    if target is None:
        _print(args, kind, lines, vectors)
    else:
        _store(target, vectors)
    return 0


def _target(name: str | None) -> Path | None:
    """Where a file goes; looked at before the long work.

    Raises:
        BadValue: it cannot go there.
    """
    if name is None:
        return None
    path = Path(name).expanduser()
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadValue(f"{path} cannot be written.", hint="Give a file in a folder of yours.")
    return path


def _lines(name: str) -> list[str]:
    """The lines of a file or of stdin.

    Raises:
        BadValue: there are none.
    """
    if name == "-":
        raw = sys.stdin.buffer.read()
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise BadValue(f"There is no file {path}.", hint="Give a text, or pipe one in.")
        raw = path.read_bytes()
    # Not `splitlines`, which also cuts at form feeds and at U+2028.
    lines = raw.decode("utf-8-sig", "replace").replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines == [""]:
        raise BadValue("There are no lines to read.", hint="Give one text a line.")
    return lines


def _fit(
    lines: Sequence[str], path: Path
) -> Callable[[LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], int]:
    """Runs on the engine thread."""

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> int:
        from chatrwkv.engine.tasks.embed import fit

        stats = fit(loaded, lines, cancelled, lambda done: progress(done, len(lines), "reading"))
        stats.save(path)
        return stats.n_texts

    return task


def _vectors(
    lines: Sequence[str], kind: str, stats: Path | None
) -> Callable[[LoadedModel, Callable[[], bool], Callable[[int, int, str], None]], Any]:
    """Runs on the engine thread."""

    def task(
        loaded: LoadedModel, cancelled: Callable[[], bool], progress: Callable[[int, int, str], None]
    ) -> Any:
        import numpy as np

        from chatrwkv.engine.tasks.embed import Embedder, load_statistics

        embedder = Embedder(loaded)
        embedder.check(kind)
        known = load_statistics(stats, loaded) if stats else None
        parts, n = [], 0
        for found in embedder.read(lines, cancelled):
            parts.append(known.normalised(kind, found[kind]) if known else found[kind])
            n += len(parts[-1])
            progress(n, len(lines), "reading")
        return np.concatenate(parts)

    return task


def _store(path: Path, vectors: Any) -> None:
    import numpy as np

    try:
        with path.open("wb") as file:  # given a name, NumPy would put `.npy` behind it
            np.save(file, vectors, allow_pickle=False)
    except OSError as error:
        raise StoreFull(f"{path} cannot be written: {error.strerror or error}.") from error
    narrate(f"{path}: {len(vectors):,} vectors of {vectors.shape[1]:,} channels.")


def _print(args: argparse.Namespace, kind: str, lines: Sequence[str], vectors: Any) -> None:
    from chatrwkv.commands.output import Output

    output = Output()
    for line, vector in zip(lines, vectors, strict=True):
        numbers = [float(f"{number:.7g}") for number in vector]  # all that float32 holds
        if args.json:
            output.json({"text": line, "kind": kind, "vector": numbers})
        else:
            output.write("\t".join(map(str, numbers)) + "\n")
