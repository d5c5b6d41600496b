"""`chatrwkv run`: a prompt in, a reply out; no chat is stored and no database opened."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.commands.placement import add_placement, placement_flags
from chatrwkv.errors import BadValue

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from chatrwkv.chat.template import PromptTemplate, Templates
    from chatrwkv.config import Settings
    from chatrwkv.engine import ModelInfo, SamplingParams

# flag: (field of SamplingParams, type, help)
_SAMPLING: dict[str, tuple[str, type, str]] = {
    "--max-tokens": ("max_tokens", int, "stop after this many tokens"),
    "--seed": ("seed", int, "make the reply repeatable; reply i of -n uses seed + i"),
    "--temp": ("temperature", float, "0 is greedy"),
    "--temp-first": ("temp_first", bool, "temperature before the cut, not after"),
    "--top-p": ("top_p", float, "keep the likeliest tokens of this mass; 1 is off"),
    "--top-p-x": ("top_p_x", float, "--top-p never drops a token as likely as this; 1 is off"),
    "--top-k": ("top_k", int, "keep this many tokens; 0 is off"),
    "--top-a": ("top_a", float, "drop p < A * p_max ** 2; 0 is off"),
    "--min-p": ("min_p", float, "drop p < P * p_max; 0 is off"),
    "--typical": ("typical", float, "locally typical sampling: mass to keep; 1 is off"),
    "--mirostat": ("mirostat", float, "bits of surprise to aim at, in place of all cuts; 0 is off"),
    "--mirostat-rate": ("mirostat_rate", float, "how fast --mirostat corrects itself"),
    "--cfg": ("cfg", float, "guidance: away from what --negative makes likely; 1 is off"),
    "--negative": ("negative", str, "negative prompt of --cfg, read in place of the conversation"),
    "--newline-rule": ("newline_rule", bool, "line ends late, as in ChatRWKV's chat.py"),
    "--anti-repeat": ("anti_repeat", bool, "the same of ，：？！ never twice in a row, as in chat.py"),
    "--presence": ("presence", float, "penalty of tokens that occurred"),
    "--frequency": ("frequency", float, "penalty for each time they did"),
    "--decay": ("decay", float, "factor on the counts of --frequency per token"),
}
_METAVARS = {int: "N", float: "X", str: "TEXT"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = (
        "Without PROMPT, stdin is the prompt; with one, piped stdin follows it, or stands where `-` stands.\n"
        "The answer goes to stdout; thoughts, progress and errors go to stderr. A pipe gets the text as the\n"
        "model wrote it, a terminal gets it without escape sequences."
    )
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to say; `-` is stdin")
    parser.add_argument("-m", "--model", metavar="MODEL", help="name or path of the model")
    parser.add_argument(
        "-s", "--system", metavar="TEXT", default="", help="system text, or the tools of a function call"
    )
    parser.add_argument("-t", "--template", metavar="NAME", help="prompt template, by name or .toml file")
    parser.add_argument(
        "--think", metavar="MODE", default="", help="thinking mode (`chatrwkv prompts show NAME` lists them)"
    )
    parser.add_argument(
        "-n", "--replies", metavar="N", type=int, default=1, help="this many replies, made together"
    )
    for flag, (name, kind, text) in _SAMPLING.items():
        if kind is bool:
            parser.add_argument(flag, dest=name, action="store_const", const=True, help=text)
        else:
            parser.add_argument(flag, dest=name, type=kind, metavar=_METAVARS[kind], help=text)
    parser.add_argument(
        "--load-state", metavar="FILE", help="go on from a saved state, or from one of another program"
    )
    parser.add_argument(
        "--save-state", metavar="FILE", help="save the state after the reply; replaces the file"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object a reply")
    form.add_argument("--no-stream", action="store_true", help="print the reply when it is complete")
    escape = parser.add_mutually_exclusive_group()
    escape.add_argument("--safe", action="store_true", help="remove escape sequences in a pipe, too")
    escape.add_argument("--raw", action="store_true", help="keep escape sequences on a terminal, too")
    add_placement(parser)
    parser.add_argument("--config", metavar="FILE", help="read this settings file instead of your own")
    parser.set_defaults(handler=run)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is wanted, all of it checked that can be checked without the model."""

    args: argparse.Namespace
    settings: Settings
    templates: Templates
    template: PromptTemplate | None
    """None: by the model's family."""
    text: str
    stdin: str | None
    state: Path | None

    def template_for(self, info: ModelInfo, used_before: str) -> PromptTemplate:
        """The template, checked against the rest of the command line."""
        template = self.template
        if template is None and used_before in self.templates.ok:
            template = self.templates.ok[used_before]
        template = template or self.templates.default_for(info.card_family)
        if self.args.system and not template.takes_system:
            raise BadValue(
                f"The template {template.name} has no place for a system text.",
                hint="Leave -s out, or use -t g1-chat.",
            )
        return template

    def thinking(self, template: PromptTemplate, used_before: str) -> str:
        """The mode asked for, which must exist; one from before or from the settings counts where it does.

        Raises:
            BadValue: --think names none of the template's modes.
        """
        if self.args.think:
            template.mode(self.args.think)
            return str(self.args.think)
        return next((m for m in (used_before, self.settings.chat.thinking) if m in template.thinking), "")

    def message(self, template: PromptTemplate) -> str:
        """Argument and stdin as one text: stdin is the input of an instruction, or follows the argument."""
        if self.stdin is None or "-" in self.args.prompt:
            return self.text
        between = "\n---\n" if template.user_with_input else "\n\n"
        return f"{self.text}{between}{self.stdin}"


def run(args: argparse.Namespace) -> int:
    """Answer once."""
    task = _checked(args)
    from chatrwkv.commands.replies import finish_all
    from chatrwkv.commands.running import engine_with_model
    from chatrwkv.commands.turn import Turn, begun

    with engine_with_model(task.settings) as (engine, info):
        conversation, snapshot = begun(args.system, task.state, engine, info)
        template = task.template_for(info, conversation.template)
        mode = task.thinking(template, conversation.thinking)
        params = _sampling(args, task.settings, template.sampling)
        turn = Turn(conversation, snapshot, template, mode, task.message(template))
        jobs = engine.submit_many(turn.requests(params, args.replies))
        outcome = finish_all(args, jobs, template, mode, info)
        if args.save_state and outcome.last is not None:
            turn.save(engine, Path(args.save_state), outcome.last, params)
        return outcome.exit_code


def _checked(args: argparse.Namespace) -> _Task:
    from chatrwkv.chat.template import load_template, load_templates
    from chatrwkv.commands.settings import settings_of
    from chatrwkv.commands.states import check_state
    from chatrwkv.paths import Paths, bundled_prompts

    flags = {"model.default": args.model, **placement_flags(args)}
    settings = settings_of(args, flags)
    if not 1 <= args.replies <= 256:
        raise BadValue(f"-n is {args.replies}; it must be between 1 and 256.", hint="Ask for fewer replies.")
    if args.save_state and args.replies > 1:
        raise BadValue(
            "--save-state keeps one reply, and -n asks for several.", hint="Leave one of them out."
        )
    if args.load_state and args.system:
        raise BadValue("A state that is loaded has its system text behind it.", hint="Leave -s out.")
    state = Path(args.load_state) if args.load_state else None
    if state:
        check_state(state)  # a file that is none is told before the model is loaded
    templates = load_templates([bundled_prompts(), Paths.default().user_prompts])
    name = args.template or settings.chat.template
    template = None
    if name:
        template = load_template(Path(name)) if name.endswith((".toml", ".py")) else templates.get(name)
    _sampling(args, settings, template.sampling if template else None)
    text, stdin = _prompt_of(args.prompt, may_be_empty=bool(args.load_state and template and template.is_raw))
    return _Task(args, settings, templates, template, text, stdin, state)


def _sampling(args: argparse.Namespace, settings: Settings, base: SamplingParams | None) -> SamplingParams:
    """The template's defaults, then the settings, then the flags.

    Raises:
        BadValue: one of them is out of its range.
    """
    from chatrwkv.engine import SamplingParams

    given = {name: getattr(args, name) for name, _, _ in _SAMPLING.values()}
    changes = {**settings.sampling, **{name: value for name, value in given.items() if value is not None}}
    return replace(base or SamplingParams(), **changes)


def _prompt_of(words: Sequence[str], *, may_be_empty: bool) -> tuple[str, str | None]:
    """(the argument, stdin or None if it was not read); `-` is replaced where it stands."""
    stdin = None
    if "-" in words or not sys.stdin.isatty():
        stdin = sys.stdin.buffer.read().decode("utf-8-sig", "replace")
    elif not words and not may_be_empty:
        raise BadValue(
            "There is nothing to answer.", hint="Give a prompt, or pipe one in: echo hi | chatrwkv run"
        )
    if "-" in words:
        text = " ".join(stdin or "" if word == "-" else word for word in words)
    else:
        text = " ".join(words)
        if not (stdin or "").strip():
            stdin = None
        elif not text:
            text, stdin = stdin or "", None
    if not (text.strip() or may_be_empty):
        raise BadValue("The prompt is empty.", hint="Give a prompt, or pipe one in: echo hi | chatrwkv run")
    # Bytes of the command line that are no UTF-8 come as lone surrogates, which no tokenizer takes.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), stdin
