"""One table of commands; slash list, palette, keys and help are all made from it.

Also the notation: `/name argument`, `//text` for a message that begins with a slash, and what is left of the
ChatRWKV dialect that RWKV users type without thinking (`+` another reply, `+++` go on, `+reset`, `-temp=`).
Knows neither screens nor chats: `verbs.py` does what is named here.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that can be done by name."""

    name: str
    arguments: str
    """As the help shows it: `[N]`; empty for none."""
    help: str
    key: str = ""
    """Id of the binding that does the same."""
    choices: str = ""
    """Which list of values is offered for the argument; the screen knows the lists."""

    @property
    def needs_argument(self) -> bool:
        """Whether it can do nothing without one."""
        return bool(self.arguments) and not self.arguments.startswith("[")


COMMANDS: tuple[Command, ...] = (
    Command("new", "[NAME]", "Start a new chat", "new"),
    Command("chats", "", "Show and search the chats", "chats"),
    Command("rename", "[NAME]", "Give this chat another name", "chats.rename"),
    Command("delete", "", "Delete this chat; /undelete brings it back", "chats.delete"),
    Command("undelete", "", "Bring back the chat that was deleted last", "chats.undo"),
    Command("undo", "", "Undo the last change to this chat's tree", "message.undo"),
    Command("redo", "", "Do again what was undone", "message.redo"),
    Command("retry", "[N] [NAME VALUES]", "Another reply, or N at once, as 8 temp 0.5..1.5", "retry", "retry"),
    Command("continue", "", "Let a stopped reply go on", "message.continue"),
    Command("edit", "", "Change a message: yours as a new version, a reply in place", "message.edit"),
    Command("rewrite", "", "Change a text itself; what follows is read again", "message.edit_in_place"),
    Command("drop", "", "Remove a message and all below it; /undo brings them back", "message.delete"),
    Command("fork", "[path|siblings|tree]", "Start a new chat from here; nothing is read again", "message.fork", "scopes"),
    Command("bookmark", "[NAME]", "Name a message; without a name, take the name away", "message.bookmark"),
    Command("bookmarks", "[NAME]", "Go to a named message of any chat", "message.bookmarks", "bookmarks"),
    Command("find", "[WORDS]", "Find a message in all chats", "find"),
    Command("next", "[WORDS]", "The next message here in which they occur", "find_next"),
    Command("previous", "[WORDS]", "The message before in which they occur", "find_previous"),
    Command("tree", "", "Show or hide the tree of this chat", "tree"),
    Command("goto", "[NAME or ID]", "Go to a message of this chat", "", "places"),
    Command("version", "N", "Show version N of the message", "sibling_right"),
    Command("graft", "[NAME or ID]", "Copy this branch below another message", "message.graft", "places"),
    Command("move", "[NAME or ID]", "Move this branch below another message", "message.move", "places"),
    Command("merge", "", "Make one of two neighbouring messages of one side", "message.merge"),
    Command("split", "[N]", "Make two messages of one, at a character or the cursor", "message.split"),
    Command("as", "user|bot TEXT", "Add a message of either side, without a reply", "", "sides"),
    Command("impersonate", "", "The model writes your side into the prompt", "impersonate"),
    Command("probs", "", "How likely each token of a reply was; branch at another one", "message.probs"),
    Command("copy", "[code [N]]", "Copy the reply, or its code", "message.copy", "copy"),
    Command("export", "[md|json|txt] [FILE]", "Write this chat to a file", "export", "export"),
    Command("import", "[FILE]", "Add chats of this program, ChatGPT, SillyTavern or plain text"),
    Command("model", "[NAME or FILE]", "Choose the model", "models", "models"),
    Command("cpu", "", "Load the model again on the CPU"),
    Command("prompt", "[NAME]", "Choose the prompt template of this chat", "", "templates"),
    Command("system", "[TEXT]", "Set the system text of this chat"),
    Command("think", "[MODE]", "How much the model thinks before it answers", "", "modes"),
    Command("set", "[NAME VALUE]", "How replies are drawn", "sampling", "params"),
    Command("preset", "NAME", "Take the sampling settings of a template", "", "templates"),
    Command("seed", "[N]", "Fix the seed; without a number it is drawn anew each time"),
    Command("state", "WORD [NAME]", "Save, open, compare and check states", "message.save", "state"),
    Command("learn", "FILE [as NAME] [--twice]", "Read a text file once, ask it in any chat", "", "documents"),
    Command("refresh", "", "Read this path again and renew its states"),
    Command("replay", "", "Draw every reply again from its seed and say where one differs"),
    Command("recall", "", "How well the model still knows each message"),
    Command("tune", "[FILE]", "A persona from examples, or from the replies kept in this chat"),
    Command("museum", "[PROMPT]", "Ask a tiny model of every generation the same"),
    Command("stats", "", "Model, tokens, speed and memory"),
    Command("backup", "[restore [NAME]]", "Copy all chats to the backups now, or bring a copy back", "", "backup"),
    Command("purge", "[all]", "Erase for good what was deleted; asks first", "", "purge"),
    Command("paths", "", "Where the files are"),
    Command("theme", "[NAME]", "Choose the colours", "", "themes"),
    Command("help", "", "Keys and commands", "help"),
    Command("quit", "", "Save everything and leave", "quit"),
)  # fmt: skip

_BY_NAME = {command.name: command for command in COMMANDS}

ASKING = frozenset(
    (
        "probs",
        "rename",
        "bookmark",
        "rewrite",
        "system",
        "prompt",
        "think",
        "model",
        "state",
        "export",
        "import",
        "goto",
        "bookmarks",
        "graft",
        "move",
        "split",
        "purge",
        "backup",
    )
)
"""Commands that ask for what they were not told."""


@dataclass(frozen=True, slots=True)
class Typed:
    """What a line in the prompt means."""

    text: str = ""
    """The message to send."""
    commands: tuple[tuple[str, str], ...] = ()
    """Names and arguments, in order, before the text is sent."""
    unknown: str = ""
    """A command that does not exist, without its slash; or one of ChatRWKV that is a template here, as `+gen`."""


_DIALECT = {"+": ("retry", ""), "++": ("retry", ""), "+++": ("continue", ""), "+reset": ("new", "")}
_ELSEWHERE = {
    "bye": "quit", "exit": "quit", "clear": "new", "reset": "new", "regen": "retry", "regenerate": "retry",
    "template": "prompt", "settings": "set", "temp": "set temperature", "search": "find", "history": "chats",
    "branch": "fork", "save": "state save", "load": "state load", "read": "learn", "file": "learn",
}  # fmt: skip
"""What the commands of llama.cpp, ollama and others are called here."""
_TEMPLATE = re.compile(r"(\+(?:gen|i|qa|qq))\s")
_SETTING = re.compile(r"(?:^|(?<=\s))-(temp|top_p)=([0-9]*\.?[0-9]+)(?=\s|$)")
_SETTING_NAMES = {"temp": "temperature", "top_p": "top_p"}
_COMMAND = re.compile(r"/([A-Za-z]+)(?:\s+(.*))?\Z", re.DOTALL)


def parse(line: str) -> Typed:
    """Read what was typed."""
    stripped = line.strip()
    if stripped in _DIALECT:
        return Typed(commands=(_DIALECT[stripped],))
    if found := _TEMPLATE.match(stripped):
        return Typed(unknown=found[1])
    if stripped.startswith("//"):
        return Typed(text=stripped[1:])
    if found := _COMMAND.match(stripped):
        name, argument = found[1].lower(), (found[2] or "").strip()
        return Typed(commands=((name, argument),)) if name in _BY_NAME else Typed(unknown=name)
    settings = tuple(
        ("set", f"{_SETTING_NAMES[match[1]]} {match[2]}") for match in _SETTING.finditer(stripped)
    )
    if settings:
        return Typed(text=_SETTING.sub("", stripped).strip(), commands=settings)
    return Typed(text=line)


def about_unknown(name: str) -> str:
    """What to say to a command that does not exist, with the one that was probably meant."""
    if name.startswith("+"):
        return f"{name} of ChatRWKV is a template here: /prompt chooses one, as free, world-instruct or world-qa."
    near = _ELSEWHERE.get(name) or next(iter(difflib.get_close_matches(name, _BY_NAME, n=1)), "")
    meant = f"; did you mean /{near}?" if near else "."
    return f"There is no command /{name}{meant} / lists all, and // begins a message with a slash."


def fits(query: str, text: str) -> bool:
    """Whether every word of `query` is in `text`, or its letters are there in order."""
    query, text = query.casefold(), text.casefold()
    if all(word in text for word in query.split()):
        return True
    letters = iter(text)
    return all(letter in letters for letter in query if not letter.isspace())


def _rank(query: str, name: str) -> tuple[int, int]:
    query, name = query.casefold(), name.casefold()
    if name.startswith(query):
        return (0, len(name))
    return (1 if query in name else 2, len(name))


@dataclass(frozen=True, slots=True)
class Offer:
    """One line of the slash list."""

    text: str
    """What the prompt holds once it is taken."""
    left: str
    help: str
    is_whole: bool = True
    """Whether it can be run as it is; otherwise an argument follows."""


def offers(line: str, choices: Callable[[str], Sequence[tuple[str, str]]]) -> list[Offer]:
    """What may be meant by the beginning of a command.

    Args:
        line: the prompt's text.
        choices: the values for a command's argument, with a word on each; asked for "KIND", and for
            "KIND WORD" once a word stands there.
    """
    if not line.startswith("/") or line.startswith("//") or "\n" in line:
        return []
    name, gap, argument = line[1:].partition(" ")
    if not gap:
        return [_offer(command) for command in _matching(name)]
    command = _BY_NAME.get(name.casefold())
    if command is None or not command.choices:
        return []
    word, gap, _ = argument.partition(" ")
    kind = f"{command.choices} {word}" if gap else command.choices
    found = [(value, words) for value, words in choices(kind) if fits(argument, value)]
    if any(value == argument.strip() for value, _ in found):
        return []
    found.sort(key=lambda choice: _rank(argument, choice[0])[0])
    return [Offer(f"/{command.name} {value}", value, words) for value, words in found]


def _matching(name: str) -> Iterable[Command]:
    found = [command for command in COMMANDS if fits(name, command.name)]
    return sorted(found, key=lambda command: _rank(name, command.name)) if name else found


def _offer(command: Command) -> Offer:
    text = f"/{command.name} " if command.needs_argument else f"/{command.name}"
    left = f"/{command.name} {command.arguments}".rstrip()
    return Offer(text, left, command.help, is_whole=not command.needs_argument)
