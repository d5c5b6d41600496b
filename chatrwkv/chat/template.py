r"""Prompt templates: how turns become the text that a model was trained on.

A template is data, never code. Its parts join to the prompt byte for byte:

    opening() + system_segment(s) + user_segment(q, first=True) + reply_prefix(mode) + reply
              + user_segment(q2, first=False) + reply_prefix(mode) + ...

A user segment ends with its closing separator, and the separator that follows a reply opens the next user
segment; so a reply's state ends after its last kept byte, and text is only ever cut at turn borders, where
no vocabulary entry spans the cut. This module knows no tokenizer.

Source of the formats: RWKV-LM, ChatRWKV and the G1 model cards; `prompts/*.toml` names each.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chatrwkv.chat.reply import ReplySplitter
from chatrwkv.chat.template_file import CHAT_PY_KEYS, Pattern, Table, chat_py_texts, read_toml, shortened
from chatrwkv.engine import SAMPLING_FIELDS, SamplingParams
from chatrwkv.errors import BadValue, TemplateError, TemplateSyntax

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What families a model can have; `ModelInfo.card_family` is one of them, or "" for a model of no known name.
FAMILIES = ("builtin", "g1", "world", "raven", "pile")
# A line with only this divides an instruction from its input.
_INPUT_LINE = re.compile(r"^[ \t]*(?:---|Input:)[ \t]*$", re.MULTILINE)
_MOST_STOPS = 64
_LONGEST_STOP = 256
_MOST_MODES = 32

_KEYS = (
    "title",
    "description",
    "families",
    "default_for",
    "multi_turn",
    "turns",
    "text",
    "end",
    "sampling",
    "thinking",
)
_TURN_KEYS = ("opening", "system", "user", "user_with_input", "between", "reply", "start")
_TEXT_KEYS = ("collapse_blank_lines", "strip")
_END_KEYS = ("stops", "token_0", "start_token_0")
_MODE_KEYS = ("title", "start", "suffix")
# The others belong to a reply or to `[end]`.
_SAMPLING_KEYS = tuple(name for name in SAMPLING_FIELDS if name not in ("stop", "seed", "banned"))
# The settings of chat.py itself, the program these files were written for.
_CHAT_PY_SAMPLING = SamplingParams(temperature=1.2, top_p=0.5, presence=0.4, frequency=0.4, decay=0.996)


@dataclass(frozen=True, slots=True)
class ThinkingMode:
    """One way to ask for thought, or for none."""

    title: str = ""
    start: str = ""
    """What the reply is made to begin with, after the role: ` <think`."""
    suffix: str = ""
    """What is put after the user's text: ` (think a bit)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How one family of models expects a conversation to be written."""

    name: str
    """The file's stem."""
    title: str
    description: str
    user: Pattern
    """Hole {text}; ends with its closing separator."""
    families: tuple[str, ...] = ()
    """Models it fits, of FAMILIES; empty fits any."""
    default_for: tuple[str, ...] = ()
    opening_text: str = ""
    """Fed before everything else, once."""
    system: Pattern = field(default_factory=Pattern)
    """Hole {system}; empty when the format has no place for one."""
    user_with_input: Pattern = field(default_factory=Pattern)
    """Holes {text} and {input}; empty when the format has no input part."""
    between: str = ""
    """After a reply, before the next user turn."""
    reply: str = ""
    """The role that opens a reply, never ending with a space: the model writes that itself."""
    thinking: Mapping[str, ThinkingMode] = field(default_factory=lambda: {"off": ThinkingMode()})
    """Name to mode; the first is the default. Templates that cannot think have one mode."""
    stops: tuple[str, ...] = ()
    end_token: bool = True
    """Token 0 ends a reply; otherwise it is banned in replies."""
    start_token: bool = False
    """Token 0 is fed first, before the opening."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    multi_turn: bool = True
    """False: each question wants a conversation of its own."""
    collapse_blank_lines: bool = True
    """Runs of newlines in the user's text become one, since two end a turn in the training text."""
    strip: bool = True
    source: Path | None = None

    @property
    def start_ids(self) -> tuple[int, ...]:
        """Token ids fed before the opening's."""
        return (0,) if self.start_token else ()

    @property
    def takes_system(self) -> bool:
        """Whether the format has a place for a system text."""
        return bool(self.system)

    @property
    def is_raw(self) -> bool:
        """Whether the reply simply goes on from the user's text, without roles."""
        return not self.reply

    @property
    def default_mode(self) -> str:
        """The thinking mode used when none is chosen."""
        return next(iter(self.thinking))

    def mode(self, name: str = "") -> ThinkingMode:
        """The thinking mode called `name`; the default for an empty name.

        Raises:
            BadValue: there is none.
        """
        found = self.thinking.get(name or self.default_mode)
        if found is None:
            raise BadValue(
                f"The template {self.name} has no thinking mode {name!r}.",
                hint=f"It has: {', '.join(self.thinking)}.",
            )
        return found

    def opening(self) -> str:
        """The fixed text at the start of a conversation; the root's segment."""
        return self.opening_text

    def system_segment(self, text: str) -> str:
        """The system turn; empty for an empty text, and for a format without a place for it."""
        cleaned = self.clean(text)
        return self.system.fill(system=cleaned) if self.system and cleaned else ""

    def user_segment(self, text: str, first: bool = True, mode: str = "") -> str:
        """The user's turn with the separator that closes it.

        Args:
            text: as typed. Where the format has an input part, a line with only `---` or `Input:` divides it.
            first: whether no reply comes before it.
            mode: thinking mode; some put a word after the user's text.
        """
        suffix = self.mode(mode).suffix
        before = "" if first else self.between
        if self.user_with_input:
            divided = _INPUT_LINE.split(text, maxsplit=1)
            if len(divided) == 2 and (given := self.clean(divided[1])):
                return before + self.user_with_input.fill(text=self.clean(divided[0]) + suffix, input=given)
            text = divided[0]
        return before + self.user.fill(text=self.clean(text) + suffix)

    def reply_prefix(self, mode: str = "") -> str:
        """What is fed before the model goes on: the role, and what the mode puts in its mouth."""
        return self.reply + self.mode(mode).start

    def reply_start(self, mode: str = "") -> str:
        """The part of the prefix that belongs to the reply's own text (a thought, a code fence)."""
        return self.mode(mode).start

    def splitter(self, mode: str = "") -> ReplySplitter:
        """A splitter that already knows what the prefix opened; feed it the generated text."""
        return ReplySplitter(self.reply_start(mode), verbatim=self.is_raw)

    def clean(self, text: str) -> str:
        """The user's text as the format wants it; a prompt never ends with a space."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.collapse_blank_lines:
            text = re.sub(r"\n{2,}", "\n", text)
        return text.strip() if self.strip else text.rstrip(" ")


@dataclass(frozen=True, slots=True)
class Templates:
    """Every template that could be read, and what was wrong with the others."""

    ok: Mapping[str, PromptTemplate] = field(default_factory=dict)
    failed: Sequence[tuple[Path, TemplateError]] = ()

    def get(self, name: str) -> PromptTemplate:
        """The template called `name`.

        Raises:
            TemplateError: there is none, or its file is broken.
        """
        if name in self.ok:
            return self.ok[name]
        for path, error in self.failed:
            if path.stem == name:
                raise error
        near = difflib.get_close_matches(name, self.ok, n=1)
        raise TemplateError(
            f"There is no template {name!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else "`chatrwkv prompts list` shows all of them.",
        )

    def fitting(self, family: str) -> list[str]:
        """Names of those for models of this family, the default first, then those made for it, then for any."""
        fits = [t for t in self.ok.values() if not family or not t.families or family in t.families]
        first = self.default_for(family)
        fits.sort(key=lambda t: (t is not first, not t.families, t.name))
        return [t.name for t in fits]

    def default_for(self, family: str) -> PromptTemplate:
        """The template that new chats with a model of this family use; later folders win.

        Raises:
            TemplateError: no template could be read.
        """
        for wanted in (family, ""):
            claims = [t for t in self.ok.values() if wanted in t.default_for]
            if claims:
                return claims[-1]
        if not self.ok:
            raise TemplateError(
                "No prompt template could be read.", hint="Install the program again; `prompts/` is missing."
            )
        return next(iter(self.ok.values()))


def load_templates(folders: Sequence[Path]) -> Templates:
    """Read every `*.toml` and `*.py` in the folders; later folders override earlier ones by name.

    A folder that does not exist is empty. A broken file is listed and hides nothing.
    """
    ok: dict[str, PromptTemplate] = {}
    failed: list[tuple[Path, TemplateError]] = []
    for folder in folders:
        try:
            # .py before .toml, so that of one name the TOML file wins
            paths = sorted(folder.iterdir(), key=lambda p: (p.suffix, p.name)) if folder.is_dir() else []
        except OSError as error:
            failed.append((folder, TemplateSyntax(f"{folder} cannot be read: {error.strerror or error}.")))
            continue
        for path in paths:
            if path.suffix not in (".toml", ".py") or path.name.startswith((".", "_")):
                continue
            try:
                template = load_template(path)
            except TemplateError as error:
                failed.append((path, error))
            else:
                ok.pop(template.name, None)
                ok[template.name] = template
    return Templates(ok, failed)


def load_template(path: Path) -> PromptTemplate:
    """Read one template; its name is the file's stem.

    Raises:
        TemplateSyntax: the file is too large, unreadable, no TOML, or lacks or exceeds what a template needs.
        UnknownVariable: a turn uses a variable that does not exist.
    """
    return _from_chat_py(path) if path.suffix == ".py" else _from_toml(path)


def _from_toml(path: Path) -> PromptTemplate:
    top = Table(path, "", read_toml(path), _KEYS)
    turns = Table(path, "turns", top.table("turns"), _TURN_KEYS)
    cleaning = Table(path, "text", top.table("text"), _TEXT_KEYS)
    end = Table(path, "end", top.table("end"), _END_KEYS)
    template = PromptTemplate(
        name=path.stem,
        title=top.text("title") or path.stem,
        description=top.text("description"),
        families=top.names("families", FAMILIES),
        default_for=top.names("default_for", (*FAMILIES, "")),
        multi_turn=top.flag("multi_turn", True),
        opening_text=turns.text("opening"),
        system=turns.pattern("system", "system"),
        user=turns.pattern("user", "text"),
        user_with_input=turns.pattern("user_with_input", "text", "input"),
        between=turns.text("between"),
        reply=turns.text("reply"),
        thinking=_thinking(path, top.table("thinking"), turns.text("start")),
        stops=_stops(path, end.items("stops")),
        end_token=end.flag("token_0", True),
        start_token=end.flag("start_token_0", False),
        sampling=_sampling(path, top.table("sampling")),
        collapse_blank_lines=cleaning.flag("collapse_blank_lines", True),
        strip=cleaning.flag("strip", True),
        source=path,
    )
    if not template.user:
        raise TemplateSyntax(f"{path} lacks turns.user.", hint='For example: user = "User: {text}\\n\\n".')
    return template


def _thinking(path: Path, body: Mapping[str, Any], start: str) -> dict[str, ThinkingMode]:
    if len(body) > _MOST_MODES:
        raise TemplateSyntax(
            f"{path}: thinking has {len(body)} modes; {_MOST_MODES} are allowed.", hint="Remove some."
        )
    if not body:
        return {"off": ThinkingMode(start=start)}
    modes = {}
    for name, entry in body.items():
        if not isinstance(entry, dict):
            raise TemplateSyntax(
                f"{path}: thinking.{name} is {shortened(entry)}; it must be a table.",
                hint=f'For example: [thinking.{name}] start = " <think".',
            )
        table = Table(path, f"thinking.{name}", entry, _MODE_KEYS)
        modes[name] = ThinkingMode(
            title=table.text("title") or name,
            start=table.text("start") or start,
            suffix=table.text("suffix"),
        )
    return modes


def _stops(path: Path, stops: Sequence[Any]) -> tuple[str, ...]:
    if len(stops) > _MOST_STOPS:
        raise TemplateSyntax(
            f"{path}: end.stops has {len(stops)} entries; {_MOST_STOPS} are allowed.",
            hint="Remove those that are never written.",
        )
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= _LONGEST_STOP:
            raise TemplateSyntax(
                f"{path}: end.stops has {shortened(stop)}; each must be a text of 1 to {_LONGEST_STOP} characters.",
                hint="Correct it and try again.",
            )
    return tuple(stops)


def _sampling(path: Path, body: Mapping[str, Any]) -> SamplingParams:
    Table(path, "sampling", body, _SAMPLING_KEYS)
    try:
        return SamplingParams(**body)
    except BadValue as error:
        raise TemplateSyntax(f"{path}: sampling.{error.message}", hint=error.hint) from error


def _from_chat_py(path: Path) -> PromptTemplate:
    """A prompt file of ChatRWKV: `user`, `bot`, `interface`, `init_prompt`, as literals."""
    values = chat_py_texts(path)
    missing = [key for key in CHAT_PY_KEYS if key not in values]
    if missing:
        raise TemplateSyntax(
            f"{path} does not set {', '.join(missing)}.", hint="A ChatRWKV prompt file sets all four names."
        )
    user, bot, interface = values["user"], values["bot"], values["interface"]
    # As chat.py does: every line stripped, one newline before, two after.
    lines = "\n".join(line.strip() for line in values["init_prompt"].strip().split("\n"))
    return PromptTemplate(
        name=path.stem,
        title=path.stem,
        description=f"ChatRWKV prompt file: {user} and {bot}.",
        families=("raven", "world", "pile"),
        opening_text=f"\n{lines}\n\n" if lines else "",
        user=Pattern.literal(f"{user}{interface} ", "text", "\n\n"),
        between="\n\n",
        reply=f"{bot}{interface}",
        stops=("\n\n",),
        sampling=_CHAT_PY_SAMPLING,
        source=path,
    )
