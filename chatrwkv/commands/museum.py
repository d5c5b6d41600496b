"""`chatrwkv museum`: one prompt for a tiny model of every generation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from chatrwkv.commands.measuring import watched
from chatrwkv.commands.output import add_json, narrate, print_json, print_rows

if TYPE_CHECKING:
    import argparse

_COLUMNS = ("model", "bits_per_byte", "tok_s", "state", "parameters", "reply")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "Bits per byte are measured on text that none of them has seen; less is better. They learnt the same\n"
        "text from the same number of tokens. They are toys: `chatrwkv -m museum-4` talks to one of them."
    )
    parser.add_argument("prompt", metavar="PROMPT", nargs="*", help="what to ask (Tell me a story.)")
    add_json(parser)
    parser.set_defaults(handler=show)


def show(args: argparse.Namespace) -> int:
    """Ask and print."""
    from chatrwkv.chat.museum import PROMPT, exhibits, visiting
    from chatrwkv.commands.prompts import all_templates
    from chatrwkv.engine import EngineThread
    from chatrwkv.text import format_bytes

    text = " ".join(args.prompt)
    task, first = visiting(text, all_templates()), exhibits()[0]
    engine = EngineThread()
    engine.start()
    try:
        engine.load(first, device="cpu", dtype="fp32").result()
        found = watched(engine.call(task), "the museum")
    finally:
        engine.close()
    if args.json:
        print_json([asdict(exhibit) for exhibit in found])
        return 0
    narrate(text or PROMPT)
    rows = [
        {
            "model": f"RWKV-{exhibit.generation}",
            "bits_per_byte": f"{exhibit.bits_per_byte:.2f}",
            "tok_s": f"{exhibit.tok_s:.0f}",
            "state": format_bytes(exhibit.state_bytes),
            "parameters": f"{exhibit.n_params:,}",
            "reply": exhibit.reply,
        }
        for exhibit in found
    ]
    print_rows(args, rows, _COLUMNS)
    return 0
