"""`chatrwkv states`: saved states, what is in them, and whether every byte is as it was written."""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands import states_work
from chatrwkv.commands.output import add_actions, add_config, add_json, narrate, print_fields, print_rows
from chatrwkv.errors import StateError, StateMismatch
from chatrwkv.paths import Paths
from chatrwkv.text import format_bytes

if TYPE_CHECKING:
    from chatrwkv.engine import Generation, StateInfo

_SUFFIX = ".rwkvstate"
FORMS = ("package", "pth", "web-rwkv", "rwkv.cpp", "albatross", "chatrwkv-v1")
"""Of `states export`; the names of `engine.foreign`, which cannot be asked without torch."""
_EPILOG = """forms:
  package      list of the rwkv package, for torch.load
  pth          tuned state (att.time_state), without the token shifts
  web-rwkv     the same for web-rwkv and ai00 (.st)
  rwkv.cpp     buffer of float32
  albatross    a batch of one, RWKV-7
  chatrwkv-v1  one tensor, RWKV-4"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = add_actions(parser)
    list_parser = actions.add_parser("list", help="list the states in a folder", allow_abbrev=False)
    list_parser.add_argument("folder", metavar="FOLDER", nargs="?", help="default: where the app saves them")
    add_json(list_parser)
    add_config(list_parser)
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
    verify_parser.add_argument(
        "--reread", action="store_true", help="read their text with the model again and compare, too"
    )
    verify_parser.add_argument("-m", "--model", metavar="MODEL", help="the model they are of, for --reread")
    add_config(verify_parser)
    verify_parser.set_defaults(handler=verify)
    states_work.diff_arguments(
        actions.add_parser("diff", help="compare two states, head by head", allow_abbrev=False)
    )
    states_work.learn_arguments(
        actions.add_parser("learn", help="read a text file into a saved state", allow_abbrev=False)
    )
    _import_arguments(
        actions.add_parser("import", help="make a .rwkvstate of another program's state", allow_abbrev=False)
    )
    export_parser = actions.add_parser(
        "export",
        help="write a state for another program",
        allow_abbrev=False,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _export_arguments(export_parser)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="of the rwkv package, state tuning, a merged model, ChatRWKV v1, rwkv.cpp, web-rwkv or Albatross",
    )
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model it is for")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: a saved state of the same name")
    parser.add_argument("--row", metavar="N", type=int, default=0, help="of a batch, from 0 on")
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_config(parser)
    parser.set_defaults(handler=import_one)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rwkvstate file, or the name of a saved state")
    parser.add_argument("--as", dest="form", choices=FORMS, required=True, help="see below")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="where to")
    parser.add_argument(
        "-m", "--model", metavar="MODEL", help="whose state it is; states of old versions do not say"
    )
    parser.add_argument("--force", action="store_true", help="replace the file")
    add_config(parser)
    parser.set_defaults(handler=export_one)


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
    if not args.folder and not args.json:
        narrate(states_work.kept_by_chats(args))
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


def check_state(path: Path) -> None:
    """Whether it may be a state, as far as can be told without the model.

    Raises:
        StateError: it is none, or is damaged.
    """
    from chatrwkv.engine import is_own_state, peek_state

    if is_own_state(path):
        peek_state(path)


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
    from chatrwkv.chat.portable import conversation_in, has_conversation

    if not has_conversation(state):
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
    if args.reread and not wrong:
        states_work.reread(args, [state_path(reference) for reference in args.files])
    for other in wrong[1:]:
        narrate(f"warning: {other}")
    if wrong:
        raise wrong[0]
    return 0


def import_one(args: argparse.Namespace) -> int:
    """Hold the file against the model, whose weights are not read, and save it as one of ours."""
    from chatrwkv.commands.models import model_entry
    from chatrwkv.commands.settings import settings_of
    from chatrwkv.engine import import_state, is_own_state, read_spec, save_state
    from chatrwkv.paths import private_dir

    source = Path(args.file).expanduser()
    if is_own_state(source):
        raise StateError(f"{source.name} is a state of this program already.", hint="Load it as it is.")
    target = Path(args.output or Paths.default().saved_states / f"{source.stem}{_SUFFIX}").expanduser()
    _refuse_existing(target, force=args.force)
    entry = model_entry(settings_of(args, {"model.default": args.model}))
    spec = read_spec(entry.path)
    snapshot = import_state(source, spec, row=args.row)
    if not args.output:
        private_dir(target.parent)
    notes = {"model": entry.name, "title": source.stem, "generation": spec.generation.value}
    save_state(target, snapshot, {**notes, "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")})
    narrate(f"{target}: a state of {entry.name}.")
    return 0


def export_one(args: argparse.Namespace) -> int:
    """Write the file, and say what of the state it cannot hold."""
    from chatrwkv.engine import export_state, load_state

    source, target = state_path(args.file), Path(args.output).expanduser()
    _refuse_existing(target, force=args.force)
    snapshot, notes = load_state(source)
    generation = _generation(args, source.name, snapshot.fingerprint, notes.get("generation", ""))
    if not export_state(target, snapshot.state, generation, args.form):
        narrate("note: the form has no place for the token shifts; the next token sees none before it.")
    narrate(f"{target}: written as {args.form}.")
    return 0


def _generation(args: argparse.Namespace, name: str, fingerprint: str, noted: str) -> Generation:
    """Of the state: as noted beside it, or of the model that is named.

    Raises:
        StateMismatch: neither says, or the model is another one.
    """
    from chatrwkv.commands.models import model_entry
    from chatrwkv.commands.settings import settings_of
    from chatrwkv.engine import Generation, read_spec

    if not args.model:
        if noted not in set(Generation):
            raise StateMismatch(
                f"{name} does not say of which generation it is.", hint="Name its model with -m."
            )
        return Generation(noted)
    spec = read_spec(model_entry(settings_of(args, {"model.default": args.model})).path)
    if spec.fingerprint != fingerprint:
        raise StateMismatch(
            f"{name} belongs to another model than {args.model}.", hint="Name the one it is from."
        )
    return spec.generation


def _refuse_existing(path: Path, *, force: bool) -> None:
    if not force and (path.exists() or path.is_symlink()):
        raise StateError(f"{path} exists already.", hint="Choose another name, or add --force.")
