"""What template files are made of: typed TOML tables, patterns with named holes, the texts of a `.py` file.

Knows nothing of what a template is (`template.py`). Sizes are checked before anything is read, so a file
that pretends to be a template costs nothing; no file is ever run.
"""

from __future__ import annotations

import ast
import difflib
import re
import tomllib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chatrwkv.errors import TemplateSyntax, UnknownVariable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# The longest opening in use has 2 kB; a novella as an opening still fits.
LARGEST_FILE = 256 * 1024
CHAT_PY_KEYS = ("user", "bot", "interface", "init_prompt")
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text with named holes; `{name}` is a hole, `{{` and `}}` are braces.

    Filling is one pass, so braces in what the user typed stay what they are. `str.format` is not used: it
    reaches into attributes.
    """

    pieces: tuple[tuple[bool, str], ...] = ()
    """(is a hole, its name) or (False, literal text)."""

    @classmethod
    def parse(cls, text: str, allowed: Sequence[str], where: str) -> Pattern:
        """Read the notation.

        Args:
            text: the pattern.
            allowed: the holes that exist here.
            where: file and key, for messages.

        Raises:
            UnknownVariable: a hole is none of `allowed`.
            TemplateSyntax: a brace stands alone.
        """
        pieces = []
        for match in _PIECE.finditer(text):
            piece, name = match.group(0), match.group(1)
            if name is not None:
                if name not in allowed:
                    raise _unknown_variable(name, allowed, where)
                pieces.append((True, name))
            elif piece in "{}":
                raise TemplateSyntax(
                    f"{where} has a single {piece!r}.", hint=f"Write {piece * 2!r} for a brace that is text."
                )
            else:
                pieces.append((False, piece[0] if piece in ("{{", "}}") else piece))
        return cls(tuple(pieces))

    @classmethod
    def literal(cls, before: str, name: str, after: str) -> Pattern:
        """A pattern of one hole between texts that are not in the notation."""
        return cls(((False, before), (True, name), (False, after)))

    @property
    def holes(self) -> frozenset[str]:
        """The names used."""
        return frozenset(text for is_hole, text in self.pieces if is_hole)

    def fill(self, **values: str) -> str:
        """The text with every hole replaced."""
        return "".join(values[text] if is_hole else text for is_hole, text in self.pieces)

    def __bool__(self) -> bool:
        return bool(self.pieces)


def _unknown_variable(name: str, allowed: Sequence[str], where: str) -> UnknownVariable:
    near = difflib.get_close_matches(name, allowed, n=1)
    if near:
        hint = f"Did you mean {{{near[0]}}}?"
    elif allowed:
        hint = f"Here exist: {', '.join(f'{{{a}}}' for a in allowed)}; write {{{{ and }}}} for braces."
    else:
        hint = "No variable exists here; write {{ and }} for braces."
    return UnknownVariable(f"{where} uses {{{name}}}, which does not exist there.", hint=hint)


def read_text(path: Path) -> str:
    """The text of a template file.

    Raises:
        TemplateSyntax: it is too large, unreadable or no text.
    """
    try:
        if not path.is_file():
            raise TemplateSyntax(f"{path} is not a file.", hint="A template is a .toml file.")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise TemplateSyntax(
                f"{path} has {size} bytes; a template may have {LARGEST_FILE}.",
                hint="Put long texts into the chat instead.",
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateSyntax(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TemplateSyntax(f"{path} is not UTF-8 text.", hint="Save it as UTF-8.") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        TemplateSyntax: as for `read_text`, or it is no TOML.
    """
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and int() on thousands of digits
        raise TemplateSyntax(f"{path} is not valid TOML: {error}.", hint="Correct that line.") from error
    except RecursionError as error:
        raise TemplateSyntax(f"{path} is nested too deeply.", hint="A template needs two levels.") from error


class Table:
    """One table of the file: typed reads that name file and key when they fail."""

    def __init__(self, path: Path, name: str, body: Mapping[str, Any], known: Sequence[str]) -> None:
        self._path = path
        self._name = name
        self._body = body
        for key in body:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                raise TemplateSyntax(
                    f"{self._where(key)} does not exist.",
                    hint=f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}.",
                )

    def _where(self, key: str) -> str:
        return f"{self._path}: {self._name}.{key}" if self._name else f"{self._path}: {key}"

    def _get(self, key: str, kind: type, default: Any, wanted: str) -> Any:
        value = self._body.get(key, default)
        if not isinstance(value, kind):
            raise TemplateSyntax(
                f"{self._where(key)} is {shortened(value)}; it must be {wanted}.",
                hint="Correct it and try again.",
            )
        return value

    def items(self, key: str) -> Sequence[Any]:
        """A list of anything; empty when absent."""
        items: Sequence[Any] = self._get(key, list, [], "a list")
        return items

    def table(self, key: str) -> dict[str, Any]:
        """A table; empty when absent."""
        table: dict[str, Any] = self._get(key, dict, {}, f"a table: [{key}]")
        return table

    def text(self, key: str) -> str:
        """A text; empty when absent."""
        text: str = self._get(key, str, "", "text")
        return text

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        flag: bool = self._get(key, bool, default, "true or false")
        return flag

    def names(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """A list of known names."""
        names = self.items(key)
        for name in names:
            if name not in known:
                raise TemplateSyntax(
                    f"{self._where(key)} has {shortened(name)}.",
                    hint=f"Known: {', '.join(repr(k) for k in known)}.",
                )
        return tuple(names)

    def pattern(self, key: str, *holes: str) -> Pattern:
        """A pattern that uses each of `holes`; empty when absent."""
        pattern = Pattern.parse(self.text(key), holes, self._where(key))
        for hole in holes:
            if pattern and hole not in pattern.holes:
                raise TemplateSyntax(
                    f"{self._where(key)} lacks {{{hole}}}.", hint=f"Without it, {hole} would never be fed."
                )
        return pattern


def shortened(value: object) -> str:
    """A value for a message, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


def chat_py_texts(path: Path) -> dict[str, str]:
    """The names a file sets to texts; f-strings may only quote names set before.

    Raises:
        TemplateSyntax: the file does anything else, which is never run.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file's odd escapes are not this program's warnings
            tree = ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TemplateSyntax(f"{path} is not valid Python: {error}.", hint="Correct that line.") from error
    values: dict[str, str] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in CHAT_PY_KEYS:
                values[name] = _text_of(value, values, path)
                if len(values[name]) > LARGEST_FILE:  # a name that doubles itself line by line
                    raise TemplateSyntax(f"{path} makes {name} longer than {LARGEST_FILE} characters.")
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring or a note
            case _:
                raise _refused(path, statement)
    return values


def _text_of(node: ast.expr, values: Mapping[str, str], path: Path) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text_of(part, values, path) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name), conversion=-1, format_spec=None) if name in values:
            return values[name]
        case _:
            raise _refused(path, node)


def _refused(path: Path, node: ast.stmt | ast.expr) -> TemplateSyntax:
    what = "code" if isinstance(node, ast.stmt | ast.Call) else "an expression"
    return TemplateSyntax(
        f"{path} has {what} in line {node.lineno}; prompt files are read as plain texts and never run.",
        hint=f"Keep only assignments of texts to {', '.join(CHAT_PY_KEYS)}.",
    )
