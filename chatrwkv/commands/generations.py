"""`chatrwkv generations`: what tells one RWKV from another."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from chatrwkv.commands.output import add_json, print_fields, print_rows

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "`since` is the month of the first public code or model; the state is in numbers of 4 bytes.\n"
        "L layers, C width, H heads, N head size; A, d, q, R and Q are widths of the older and extra attentions."
    )
    add_json(parser)
    parser.set_defaults(handler=generations)


def generations(args: argparse.Namespace) -> int:
    """A block each for a terminal, whose lines are too short for a table."""
    from chatrwkv.engine.generations import rows

    table = rows()
    if args.json or not sys.stdout.isatty():
        print_rows(args, table, tuple(table[0]))
        return 0
    for number, row in enumerate(table):
        if number:
            print()
        print_fields(args, row)
    return 0
