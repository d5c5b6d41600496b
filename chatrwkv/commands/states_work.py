"""`chatrwkv states learn`, `diff` and `verify --reread`: what of states needs more than their files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import add_config, add_json, narrate, print_json
from chatrwkv.commands.settings import settings_of
from chatrwkv.errors import StateMismatch
from chatrwkv.paths import Paths, bundled_prompts
from chatrwkv.text import format_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from chatrwkv.chat.template import Templates
    from chatrwkv.engine import EngineThread, StateDifference


def learn_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `learn`."""
    parser.add_argument("file", metavar="FILE", help="UTF-8 text of up to 1 MB")
    parser.add_argument("--as", dest="name", metavar="NAME", default="", help="default: the file's name")
    parser.add_argument("--twice", action="store_true", help="feed it twice")
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model that reads")
    parser.add_argument("-t", "--template", metavar="NAME", default="", help="of the chats about it")
    add_config(parser)
    parser.set_defaults(handler=learn)


def diff_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `diff`."""
    for name, letter in (("first", "A"), ("second", "B")):
        parser.add_argument(name, metavar=letter, help="a .rwkvstate file, or the name of a saved state")
    add_json(parser)
    parser.set_defaults(handler=diff)


def learn(args: argparse.Namespace) -> int:
    """Read a document and print the path of its state."""
    from chatrwkv.chat.learning import free_state_path, learning, read_document
    from chatrwkv.chat.plan import NothingKept
    from chatrwkv.commands.running import engine_with_model, watched

    document = read_document(Path(args.file).expanduser(), args.name)
    target = free_state_path(Paths.default().saved_states, document.name)
    templates = _templates()
    template = templates.get(args.template) if args.template else None
    with engine_with_model(settings_of(args, {"model.default": args.model})) as (engine, model):
        template = template or templates.default_for(model.card_family)
        narrate(
            f"reading {document.source}, {format_bytes(document.n_bytes)}{', twice' if args.twice else ''}"
        )
        task = learning(document, target, template, NothingKept(), twice=args.twice)
        saved = watched(engine.call(task), "reading")
    print(saved)
    return 0


def diff(args: argparse.Namespace) -> int:
    """Compare two files; no model is needed."""
    from chatrwkv.commands.states import state_path
    from chatrwkv.engine import difference, load_state

    found = difference(*(load_state(state_path(name))[0] for name in (args.first, args.second)))
    if args.json:
        print_json({"cosine": found.cosine, **asdict(found)})
    else:
        _print_difference(found)
    return 0


def _print_difference(found: StateDifference) -> None:
    print(f"cosine {found.cosine:.6f}")
    print(f"largest difference {found.distance.max_difference:.4g}")
    print(f"KL of the next tokens {found.distance.kl:.4g} nats")
    print("layer\thead\tcosine\tnorm of A\tnorm of B\tnorm of B - A")
    for number, layer in enumerate(found.heads):
        for place, head in enumerate(layer):
            print(
                f"{number}\t{place}\t{head.cosine:.6f}\t{head.norm_a:.4g}\t{head.norm_b:.4g}\t{head.norm_difference:.4g}"
            )


def reread(args: argparse.Namespace, paths: Sequence[Path]) -> None:
    """Read the texts in state files again and compare with the states beside them.

    Raises:
        StateMismatch: a state does not follow from its text, or belongs to another model.
    """
    from chatrwkv.commands.running import engine_with_model

    templates = _templates()
    with engine_with_model(settings_of(args, {"model.default": args.model})) as (engine, _):
        for path in paths:
            narrate(f"{path}: {_reread(engine, templates, path)}")


def _reread(engine: EngineThread, templates: Templates, path: Path) -> str:
    from chatrwkv.chat.plan import plan_path
    from chatrwkv.chat.portable import has_conversation, load_portable
    from chatrwkv.chat.state_tools import verify
    from chatrwkv.commands.running import watched
    from chatrwkv.commands.turn import OneMind
    from chatrwkv.engine import peek_state

    if not has_conversation(peek_state(path)):
        raise StateMismatch(
            f"{path.name} holds no text that could be read again.",
            hint="States that were imported have none; leave out --reread.",
        )
    conversation, snapshot = load_portable(path, engine.info)
    template = templates.get(conversation.template)
    plan = plan_path(conversation.path(), template, conversation.thinking, for_reply=False)
    found: Any = watched(engine.call(verify(plan, OneMind(snapshot))), "checking")
    if found.distance is None:
        raise StateMismatch(
            f"{path.name} does not belong to the text in it.",
            hint="Load it in the app: its text is read again.",
        )
    numbers = f"largest difference {found.distance.max_difference:.2g}, KL {found.distance.kl:.2g} nats"
    if not found.is_good:
        raise StateMismatch(
            f"{path.name} does not follow from the text in it ({numbers}).",
            hint="Load it in the app and give /refresh.",
        )
    return f"{found.n_tokens:,} tokens read again, {numbers}."


def kept_by_chats(args: argparse.Namespace) -> str:
    """How much of the disk the states of the chats take."""
    from chatrwkv.chat.shelf import Shelf

    own = settings_of(args).chat
    n, n_bytes = Shelf(Paths.default().states, 0).totals()
    budget = format_bytes(own.state_disk_budget_mb * 1_000_000)
    rounded = (
        f"; unused for {own.state_fp16_after_days} days: half precision" if own.state_fp16_after_days else ""
    )
    return f"{n:,} kept by chats, {format_bytes(n_bytes)} of {budget}, rebuilt from their text when they go{rounded}"


def _templates() -> Templates:
    from chatrwkv.chat.template import load_templates

    return load_templates([bundled_prompts(), Paths.default().user_prompts])
