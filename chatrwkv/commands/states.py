"""`chatrwkv states`: saved states, what is in them, and whether every byte is as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import add_json, narrate, print_fields, print_rows
from chatrwkv.errors import StateError
from chatrwkv.paths import Paths
from chatrwkv.text import format_bytes

if TYPE_CHECKING:
    import argparse

    from chatrwkv.engine import StateInfo

_SUFFIX = ".rwkvstate"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    list_parser = actions.add_parser("list", help="list the states in a folder", allow_abbrev=False)
    list_parser.add_argument("folder", metavar="FOLDER", nargs="?", help="default: where the app saves them")
    add_json(list_parser)
    list_parser.set_defaults(handler=list_all)
    info_parser = actions.add_parser("info", help="print what the header says", allow_abbrev=False)
    info_parser.add_argument("file", metavar="FILE", help="a .rwkvstate file, or the name of a saved state")
    add_json(info_parser)
    info_parser.set_defaults(handler=info)
    verify_parser = actions.add_parser(
        "verify", help="read every byte and check it; exit 4 if one is wrong", allow_abbrev=False
    )
    verify_parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a .rwkvstate file, or the name of a saved state"
    )
    verify_parser.set_defaults(handler=verify)


def list_all(args: argparse.Namespace) -> int:
    """One line a state; those that cannot be read are told on stderr and do not stop the list."""
    from chatrwkv.engine import peek_state

    folder = Path(args.folder) if args.folder else Paths.default().saved_states
    if args.folder and not folder.is_dir():
        raise StateError(f"{folder} is not a folder.", hint="Check the path.")
    rows = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            rows.append(_row(peek_state(path), in_json=args.json))
        except StateError as error:
            narrate(f"warning: {error}")
    print_rows(args, rows, ("name", "model", "tokens", "size", "created"))
    return 0


def _row(state: StateInfo, *, in_json: bool) -> dict[str, Any]:
    return {
        "name": state.path.stem,
        "model": state.model,
        "tokens": state.n_tokens,
        "size": state.n_bytes if in_json else format_bytes(state.n_bytes),
        "created": state.created,
        "file": str(state.path),
    }


def state_path(reference: str) -> Path:
    """The file that is meant: a path, or the name of a state in the folder of saved ones."""
    path = Path(reference).expanduser()
    if path.exists() or "/" in reference or path.suffix == _SUFFIX:
        return path
    named = Paths.default().saved_states / f"{reference}{_SUFFIX}"
    return named if named.exists() else path


def info(args: argparse.Namespace) -> int:
    """Print the header of one file."""
    from chatrwkv.engine import peek_state

    state = peek_state(state_path(args.file))
    fields: dict[str, Any] = {
        "file": str(state.path),
        "model": state.model,
        "fingerprint": state.fingerprint,
        "tokens": state.n_tokens,
        "chain": state.chain,
        "size": state.n_bytes if args.json else format_bytes(state.n_bytes),
        "created": state.created,
    }
    fields["conversation"] = _conversation(state)
    notes = {k: v for k, v in state.metadata.items() if k not in ("model", "created", "conversation")}
    if args.json:
        fields["notes"] = notes
    else:
        fields |= {f"note: {key}": value for key, value in notes.items()}
    print_fields(args, fields)
    return 0


def _conversation(state: StateInfo) -> str:
    """What is said in it, in a few words."""
    from chatrwkv.chat.portable import conversation_in

    if "conversation" not in state.metadata:
        return "none"
    said = [node for node in conversation_in(state).path() if node.text]
    return f"{len(said)} messages"


def verify(args: argparse.Namespace) -> int:
    """Read the files whole.

    Raises:
        StateError: the first that is wrong, after all were looked at.
    """
    from chatrwkv.engine import load_state

    wrong: list[StateError] = []
    for reference in args.files:
        path = state_path(reference)
        try:
            load_state(path)
        except StateError as error:
            wrong.append(error)
        else:
            narrate(f"{path}: every byte is as it was written.")
    for other in wrong[1:]:
        narrate(f"warning: {other}")
    if wrong:
        raise wrong[0]
    return 0
