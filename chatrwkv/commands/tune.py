"""`chatrwkv tune`: a persona from a few examples, as an initial state."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.commands.output import add_config, add_json, narrate, print_fields, print_json
from chatrwkv.commands.placement import add_placement, placement_flags
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from chatrwkv.engine import Job, Tuned, TuneRecipe


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        'DATA has lines of {"text": ...} or {"turns": [["user", ...], ["assistant", ...]]}. ctrl+c keeps\n'
        "the best so far; the same command goes on. Open the result with `chatrwkv --state FILE`."
    )
    parser.add_argument("data", metavar="DATA", help="examples as .jsonl")
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the state, such as persona.pth"
    )
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    parser.add_argument("-p", "--prompt", metavar="NAME", help="template that turns are written in")
    parser.add_argument("--held-out", metavar="FILE", help="examples that only measure, instead of a fifth")
    parser.add_argument("--repeats", metavar="N", type=int, default=4, help="how often each is seen (4)")
    parser.add_argument("--lr", metavar="X", type=float, default=1.0, help="first learning rate (1)")
    parser.add_argument("--lr-final", metavar="X", type=float, default=0.01, help="last learning rate (0.01)")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="order of the examples (1)")
    add_placement(parser)
    add_json(parser, "print one JSON object")
    add_config(parser)
    parser.set_defaults(handler=run)


def run(args: argparse.Namespace) -> int:
    """Train and write."""
    from chatrwkv.chat.lessons import read_lessons, tuning
    from chatrwkv.commands.prompts import all_templates
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.settings import settings_of

    recipe, output = _recipe(args), Path(args.output).expanduser()
    if not output.absolute().parent.is_dir():
        raise BadValue(f"There is no folder {output.parent}.", hint="Make it first.")
    settings = settings_of(args, {"model.default": args.model, **placement_flags(args)})
    templates = all_templates()
    if args.prompt:
        templates.get(args.prompt)
    with engine_with_model(settings) as (engine, info):
        template = templates.get(args.prompt) if args.prompt else templates.default_for(info.card_family)
        lessons = read_lessons(Path(args.data).expanduser(), template)
        held_out = read_lessons(Path(args.held_out).expanduser(), template) if args.held_out else []
        result = _followed(engine.call(tuning(lessons, output.absolute(), recipe, held_out)))
    _show(args, result, info.name)
    return 0


def _show(args: argparse.Namespace, result: Tuned, model: str) -> None:
    if args.json:
        print_json(asdict(result) | {"path": str(result.path), "model": model})
    else:
        measured = f"{result.n_held_out} held out" if result.n_held_out else "all of them measured"
        print_fields(
            args,
            {
                "wrote": str(result.path),
                "model": model,
                "examples": f"{result.n_lessons} ({measured})",
                "steps": f"{result.n_steps}, best at {result.best_step}",
                "loss": f"{result.before:.3f} to {result.after:.3f} nats a token ({-100 * result.gain:+.0f} %)",
                "time": f"{result.seconds:.0f} s",
            },
        )
    if not result.is_complete:
        narrate("stopped; the same command goes on")
    narrate(f"chatrwkv --state {result.path} talks to it")


def _recipe(args: argparse.Namespace) -> TuneRecipe:
    from chatrwkv.engine import TuneRecipe

    if args.repeats < 1:
        raise BadValue(f"--repeats is {args.repeats}.", hint="Give 1 or more.")
    if not 0 < args.lr_final <= args.lr <= 100:
        raise BadValue(
            f"--lr {args.lr} and --lr-final {args.lr_final} do not fit.",
            hint="The rate falls from one to the other; the author's are 1 and 0.01.",
        )
    return TuneRecipe(repeats=args.repeats, lr=args.lr, lr_final=args.lr_final, seed=args.seed)


def _followed(job: Job[Tuned]) -> Tuned:
    """Wait for the end; the losses on a terminal. ctrl+c asks it to stop, a second one is passed on."""
    from chatrwkv.engine import Progress
    from chatrwkv.text import cut

    is_watched, shown = sys.stderr.isatty(), 0
    with _stopped_by_interrupt(job):
        for event in job:
            if is_watched and isinstance(event, Progress):
                line = cut(f"{event.what}  {event.done}/{event.total}", 79)
                sys.stderr.write("\r" + line + " " * max(0, shown - len(line)))
                sys.stderr.flush()
                shown = len(line)
    if shown:
        sys.stderr.write("\n")
    return job.result()


@contextmanager
def _stopped_by_interrupt(job: Job[Tuned]) -> Iterator[None]:
    """The first ctrl+c cancels the job, so that what was learnt is written."""
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        job.cancel()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
