"""`chatrwkv doctor`: does this installation work, and if not, what to do."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from chatrwkv import __version__
from chatrwkv.commands.app import installed_version
from chatrwkv.commands.output import add_config, add_json, print_json
from chatrwkv.errors import ChatRWKVError
from chatrwkv.paths import Paths, bundled_prompts
from chatrwkv.text import sanitise

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


_PACKAGES = (
    "torch",
    "numpy",
    "textual",
    "rich",
    "tokenizers",
    "safetensors",
    "platformdirs",
    "huggingface-hub",
)
# What other programs' habits may have set; it changes what this one does.
_VARIABLES = ("HF_HOME", "HF_HUB_OFFLINE", "HTTPS_PROXY", "NO_COLOR", "TERM", "COLORTERM", "LANG", "LC_ALL")
_OK, _WARNING, _FAILED = "ok", "warning", "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    status: str
    detail: str
    hint: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "Exit code 1 if something failed. Loads the model that `run` would use and draws a few tokens."
    )
    add_json(parser)
    add_config(parser)
    parser.set_defaults(handler=examine)


def examine(args: argparse.Namespace) -> int:
    """Look at everything; one thing that fails does not stop the rest."""
    findings: list[Finding] = []
    for check in (
        _versions,
        _environment,
        _settings,
        _folders,
        _templates,
        _chats,
        _states,
        _models,
        _reply,
        _kernels,
    ):
        try:
            found = list(check(args))
        except ChatRWKVError as error:
            found = [Finding(check.__name__.lstrip("_"), _FAILED, error.message, error.hint)]
        except (ImportError, OSError) as error:  # what a broken installation raises
            found = [Finding(check.__name__.lstrip("_"), _FAILED, f"{error}", "Install the program again.")]
        findings += found
        if not args.json:
            for finding in found:
                _print(finding)
    if args.json:
        print_json([asdict(finding) for finding in findings])
    return 1 if any(finding.status == _FAILED for finding in findings) else 0


def _print(finding: Finding) -> None:
    print(sanitise(f"{finding.status:<7}  {finding.what:<12} {finding.detail}"), flush=True)
    if finding.hint:
        print(sanitise(f"{'':<22}{finding.hint}"))


def _versions(_: argparse.Namespace) -> Iterator[Finding]:
    yield Finding(
        "chatrwkv", _OK, f"{__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
    missing = [name for name in _PACKAGES if installed_version(name) == "not installed"]
    versions = ", ".join(f"{name} {installed_version(name)}" for name in _PACKAGES)
    yield Finding(
        "packages", _FAILED if missing else _OK, versions, "Install the program again." if missing else ""
    )


def _environment(_: argparse.Namespace) -> Iterator[Finding]:
    own = sorted(name for name in os.environ if name.startswith("CHATRWKV_"))
    found = [f"{name}={os.environ[name]}" for name in (*_VARIABLES, *own) if os.environ.get(name)]
    encoding = sys.stdout.encoding or "unknown"
    bad = encoding.lower().replace("-", "") != "utf8"
    yield Finding(
        "terminal",
        _WARNING if bad else _OK,
        f"encoding {encoding}; {'; '.join(found) or 'no variable set'}",
        "Set LANG to a UTF-8 locale, such as C.UTF-8." if bad else "",
    )


def _settings(args: argparse.Namespace) -> Iterator[Finding]:
    from chatrwkv.commands.config import check_values
    from chatrwkv.commands.settings import settings_file, settings_of

    path = settings_file(args)
    check_values(settings_of(args))
    yield Finding("settings", _OK, f"{path}{'' if path.exists() else ' (not there; defaults are used)'}")


def _folders(_: argparse.Namespace) -> Iterator[Finding]:
    paths = Paths.default()
    for folder in (paths.data_dir, paths.state_dir):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        writable = os.access(there, os.W_OK)
        hint = "" if writable else "Correct its permissions, or set CHATRWKV_DATA_DIR."
        yield Finding(
            "folder", _OK if writable else _FAILED, f"{folder}{'' if writable else ' is read-only'}", hint
        )


def _templates(_: argparse.Namespace) -> Iterator[Finding]:
    from chatrwkv.chat.template import load_templates

    found = load_templates([bundled_prompts(), Paths.default().user_prompts])
    yield Finding("templates", _OK if found.ok else _FAILED, f"{len(found.ok)} can be used")
    for _path, error in found.failed:
        yield Finding("template", _WARNING, error.message, error.hint)


def _chats(_: argparse.Namespace) -> Iterator[Finding]:
    path = Paths.default().database
    if not path.exists():
        yield Finding("chats", _OK, "none yet")
        return
    from chatrwkv.chat.reader import Reader

    reader = Reader(path)
    try:
        problems = reader.integrity()
        n_chats = 0 if problems else len(reader.chats())
    finally:
        reader.close()
    if problems:
        yield Finding(
            "chats", _FAILED, f"{path}: {problems[0]}", f"Backups are in {Paths.default().backups}."
        )
    else:
        yield Finding("chats", _OK, f"{n_chats} in {path}")


def _states(args: argparse.Namespace) -> Iterator[Finding]:
    from chatrwkv.commands.states_work import kept_by_chats

    yield Finding("states", _OK, kept_by_chats(args))


def _models(args: argparse.Namespace) -> Iterator[Finding]:
    from chatrwkv.commands.models import catalog_of
    from chatrwkv.commands.settings import settings_of

    found = catalog_of(settings_of(args)).models()
    yield Finding("models", _OK if found else _WARNING, ", ".join(entry.name for entry in found) or "none")
    for entry in found:
        if entry.problem:
            yield Finding("model", _WARNING, f"{entry.path}: {entry.problem}")


def _reply(args: argparse.Namespace) -> Iterator[Finding]:
    """Load the default model and draw a few tokens: the whole engine, once."""
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.settings import settings_of
    from chatrwkv.engine import Failed, Finished, GenerateRequest, Prompt, SamplingParams

    with engine_with_model(settings_of(args)) as (engine, model):
        job = engine.submit(
            GenerateRequest(
                prepare=lambda loaded: Prompt(None, tuple(loaded.tokenizer.encode("User: hi\n\nAssistant:"))),
                params=SamplingParams(max_tokens=16, seed=1),
                stop_on_end=False,
            )
        )
        for event in job:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Finished):
                yield Finding(
                    "reply",
                    _OK,
                    f"{model.name}: RWKV-{model.generation}, {model.device}, {model.dtype},"
                    f" {event.stats.decode_tok_s:.0f} tok/s",
                )


def _kernels(_: argparse.Namespace) -> Iterator[Finding]:
    """What the reply before was computed with; nothing of CUDA where no CUDA device was used."""
    from chatrwkv.engine import native_status

    found = native_status()
    if found.is_available:
        yield Finding("native code", _OK, f"{found.isa}, {found.compiler}")
    else:
        reason = "It is being built; the torch path serves meanwhile." if found.is_building else found.why_not
        yield Finding("native code", _OK, f"torch path. {reason}", found.log)
    for line in found.cuda:
        yield Finding("CUDA kernels", _OK, line)
