"""How commands write: data to stdout, narration to stderr, nothing that a terminal would act on.

A terminal gets everything through the sanitiser. A pipe gets a reply as it is unless `--safe` is given; the
columns of lists are cleaned always, since a line end in a name would forge a row.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from chatrwkv.text import Sanitiser, cell_width, sanitise, sanitise_name

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _SubParsersAction
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class Output:
    """stdout for text that somebody else wrote.

    Args:
        safe: remove escape sequences; None does so for a terminal only.
    """

    def __init__(self, *, safe: bool | None = None) -> None:
        self.is_safe = sys.stdout.isatty() if safe is None else safe
        self._sanitiser = Sanitiser()
        self._last = "\n"

    def write(self, text: str) -> None:
        """Write a piece at once."""
        shown = self._sanitiser.feed(text) if self.is_safe else text
        if shown:
            self._last = shown[-1]
            sys.stdout.write(shown)
            sys.stdout.flush()

    def end_line(self) -> None:
        """Close a line that is still open."""
        if self._last != "\n":
            self._sanitiser = Sanitiser()
            self.write("\n")

    def json(self, value: Any) -> None:
        """One JSON value on one line; for a terminal in ASCII, which holds no escape sequence."""
        self.end_line()
        self.write(json.dumps(value, ensure_ascii=self.is_safe) + "\n")


def add_json(parser: ArgumentParser, what: str = "print JSON") -> None:
    """The `--json` of a command."""
    parser.add_argument("--json", action="store_true", help=what)


def add_actions(parser: ArgumentParser) -> _SubParsersAction[ArgumentParser]:
    """The actions of a command; without one, the help is shown, because it lists them."""

    def show_help(_: Namespace) -> int:
        parser.print_help(sys.stderr)
        return 2

    parser.set_defaults(handler=show_help)
    return parser.add_subparsers(metavar="ACTION")


def add_config(parser: ArgumentParser) -> None:
    """The `--config` of a command."""
    parser.add_argument("--config", metavar="FILE", help="read this settings file instead of your own")


def print_rows(args: Namespace, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A list: one JSON array, aligned columns for a terminal, or tab-separated values for a pipe."""
    if args.json:
        print_json([dict(row) for row in rows])
        return
    cells = [[sanitise_name(_cell(row.get(column))) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in cells:
            print("\t".join(line))
        return
    table = [[column.upper().replace("_", " ") for column in columns], *cells]
    widths = [max(cell_width(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        padded = (cell + " " * (widths[i] - cell_width(cell)) for i, cell in enumerate(line))
        print("  ".join(padded).rstrip())


def print_fields(args: Namespace, fields: Mapping[str, Any]) -> None:
    """One thing: a JSON object, aligned lines for a terminal, or name and value with a tab for a pipe."""
    if args.json:
        print_json(dict(fields))
        return
    if not sys.stdout.isatty():
        for name, value in fields.items():
            print(f"{name}\t{sanitise_name(_cell(value))}")
        return
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        print(f"{name.replace('_', ' '):<{width}}  {sanitise_name(_cell(value))}".rstrip())


def print_json(value: Any) -> None:
    """Readable JSON."""
    print(json.dumps(value, ensure_ascii=sys.stdout.isatty(), indent=2, default=str))


def narrate(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(sanitise(text) + "\n")
    sys.stderr.flush()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def describe_problems(failed: Iterable[tuple[Path, Exception]]) -> None:
    """Say what could not be read, without failing."""
    for _, error in failed:
        narrate(f"warning: {error}")
