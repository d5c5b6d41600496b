"""`chatrwkv models`: which models there are, and what a file is, without loading its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatrwkv.commands.output import add_actions, add_config, add_json, print_fields, print_rows
from chatrwkv.commands.placement import add_placement, placement_flags, plan_fields
from chatrwkv.commands.settings import settings_of
from chatrwkv.errors import ModelNotFound
from chatrwkv.paths import Paths, bundled_models
from chatrwkv.text import format_bytes

if TYPE_CHECKING:
    import argparse

    from chatrwkv.chat.catalog import Catalog, ModelEntry
    from chatrwkv.chat.template import Templates
    from chatrwkv.config import Settings
    from chatrwkv.engine.checkpoint import Checkpoint


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = add_actions(parser)
    list_parser = actions.add_parser(
        "list", help="list built-in models and those in the folders", allow_abbrev=False
    )
    add_json(list_parser)
    add_config(list_parser)
    list_parser.set_defaults(handler=list_all)
    info_parser = actions.add_parser("info", help="open a model and print what it is", allow_abbrev=False)
    info_parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="name or path; default: the one `run` would use"
    )
    add_placement(info_parser)
    add_json(info_parser)
    add_config(info_parser)
    info_parser.set_defaults(handler=info)


def catalog_of(settings: Settings) -> Catalog:
    """Everything that can be listed."""
    from chatrwkv.chat.catalog import Catalog

    paths = Paths.default()
    folders = [Path(folder).expanduser() for folder in settings.model.folders]
    return Catalog(bundled_models(), paths.models, folders, paths.saved_states)


def model_entry(settings: Settings) -> ModelEntry:
    """The model that the settings name; else the built-in one, or the first there is.

    Raises:
        ModelNotFound: there is none.
    """
    catalog = catalog_of(settings)
    if settings.model.default:
        return catalog.find(settings.model.default)
    entry = next(iter(catalog.models()), None)
    if entry is None:
        raise ModelNotFound(
            "There is no model: none is built in, and the models folder is empty.",
            hint=f"Put a .pth or .safetensors file into {Paths.default().models}, or give its path with -m.",
        )
    return entry


def list_all(args: argparse.Namespace) -> int:
    """One line a model."""
    rows = [
        {
            "name": entry.name,
            "size": entry.size_bytes if args.json else format_bytes(entry.size_bytes),
            "family": entry.family,
            "source": entry.source,
            "problem": entry.problem,
            "path": str(entry.path),
        }
        for entry in catalog_of(settings_of(args)).models()
    ]
    shown = ("name", "size", "family", "source", "path")
    print_rows(args, rows, (*shown, "problem") if any(row["problem"] for row in rows) else shown)
    return 0


def info(args: argparse.Namespace) -> int:
    """What the tensors say; the name is not believed."""
    from chatrwkv.engine import detect
    from chatrwkv.engine.checkpoint import open_checkpoint
    from chatrwkv.engine.generations import state_size
    from chatrwkv.engine.options import read_options, shown, with_options
    from chatrwkv.engine.tokens.choice import named

    placement = placement_flags(args)
    settings = settings_of(args, {"model.default": args.model, **placement})
    entry = model_entry(settings)
    checkpoint = open_checkpoint(weights_file(entry.path))
    spec = detect(checkpoint.shapes, checkpoint.fingerprint, checkpoint.dtype)
    options = read_options(checkpoint.path, spec)
    spec = with_options(spec, options)
    size = state_size(spec, checkpoint.shapes)
    chosen = shown(options)
    is_json = bool(args.json)
    fields: dict[str, Any] = {
        "name": entry.name,
        "path": str(entry.path),
        "size": entry.size_bytes if is_json else format_bytes(entry.size_bytes),
        "generation": spec.generation.value if is_json else f"RWKV-{spec.generation.value}",
        "layers": spec.n_layer,
        "width": spec.n_embd,
        "heads": spec.n_head,
        "head_size": spec.head_size,
        "vocabulary": spec.n_vocab,
        "parameters": spec.n_params if is_json else f"{spec.n_params:,}",
        "dtype": spec.dtype,
        "fingerprint": spec.fingerprint,
        "tokenizer": named(checkpoint.path, spec.n_vocab, str(options["tokenizer"])),
        "family": entry.family,
        "templates": _templates().fitting(entry.family),
        "state": size.n_bytes if is_json else format_bytes(size.n_bytes),
        "state_per_token": size.per_token if is_json else format_bytes(size.per_token),
        "context": spec.n_context,
        "options": chosen if is_json else ", ".join(f"{name} {value}" for name, value in chosen.items()),
    }
    if not is_json:  # where there is nothing to say
        fields = {name: value for name, value in fields.items() if value not in (0, "", "0 B")}
    fields |= _sizes(args, checkpoint, spec.n_layer, settings if any(placement.values()) else None)
    card = entry.path / "CARD.md"
    if entry.path.is_dir() and card.is_file():
        fields["card"] = str(card)
    print_fields(args, fields)
    return 0


def _templates() -> Templates:
    from chatrwkv.chat.template import load_templates
    from chatrwkv.paths import bundled_prompts

    return load_templates([bundled_prompts(), Paths.default().user_prompts])


def _sizes(
    args: argparse.Namespace, checkpoint: Checkpoint, n_layer: int, settings: Settings | None
) -> dict[str, Any]:
    """Memory in every precision, and the plan of the settings if one is asked for."""
    from chatrwkv.engine.plan import BYTES, plain_plan

    sizes = {kind: plain_plan("cpu", kind, n_layer).memory(checkpoint.shapes)["cpu"] for kind in BYTES}
    text = ", ".join(f"{kind} {format_bytes(n)}" for kind, n in sizes.items())
    fields: dict[str, Any] = {"memory": sizes if args.json else text}
    if settings is not None:
        plan = plan_fields(checkpoint.path, settings, in_bytes=args.json)
        memory = ", ".join(f"{name} {size}" for name, size in plan["memory"].items())
        fields["plan"] = plan["layers"] if args.json else "; ".join(plan["layers"])
        fields["memory_of_the_plan"] = plan["memory"] if args.json else memory
    return fields


def weights_file(path: Path) -> Path:
    """The one file of weights in a folder, or the file itself.

    Raises:
        ModelNotFound: there is none, or several.
    """
    if not path.is_dir():
        return path
    for pattern in ("model.safetensors", "*.safetensors", "*.pth"):
        found = sorted(path.glob(pattern))
        if len(found) == 1:
            return found[0]
    raise ModelNotFound(f"The folder {path} does not hold one model.", hint="Name one of its files.")
