"""The one sanitiser for everything not written by us, and text measured in terminal cells.

A model's tokens, file names, state metadata and exception texts may hold escape sequences that write the
clipboard, change the title or leave the alternate screen; Rich and Textual pass them on. Stored text stays
raw; it is cleaned where it leaves for a terminal.
"""

from __future__ import annotations

import re
import unicodedata

_ESC = "\x1b"
# Control strings that swallow everything up to ST or BEL: DCS, SOS, OSC, PM, APC, in 7-bit and C1 form.
_STRING_7BIT = frozenset("PX]^_")
_STRING_C1 = frozenset("\x90\x98\x9d\x9e\x9f")
_CSI_C1, _ST_C1, _BEL = "\x9b", "\x9c", "\x07"
# A control string that never ends must not eat the rest of a reply; real ones are far shorter.
_LONGEST_SEQUENCE = 4096

# Every C0 but newline and tab, DEL, C1: text without them passes untouched.
_DIRTY = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ZERO_WIDTH = frozenset("\u00ad\u180e\u200b\u2060\ufeff")
_TRICKS = re.compile(f"[{''.join(sorted(_BIDI | _ZERO_WIDTH))}]")


class Sanitiser:
    r"""Incremental cleaner: an escape sequence may be split over any number of pieces.

    Drops C0 except newline and tab, DEL, C1, and whole escape sequences; `\r\n` becomes `\n`.
    """

    def __init__(self) -> None:
        self._mode = "text"
        self._length = 0
        self._after_cr = False

    def feed(self, text: str) -> str:
        """What of `text` may be shown; part of a sequence is held until it ends."""
        if self._mode == "text" and not self._after_cr and not _DIRTY.search(text):
            return text
        return "".join(kept for char in text if (kept := self._take(char)))

    def _take(self, char: str) -> str:
        if self._mode == "text":
            return self._plain(char)
        self._length += 1
        if char == "\n" or self._length > _LONGEST_SEQUENCE:  # no real sequence holds a line end
            self._mode = "text"
            return self._plain(char)
        self._inside(char)
        return ""

    def _plain(self, char: str) -> str:
        after_cr, self._after_cr = self._after_cr, char == "\r"
        if char == _ESC:
            self._enter("escape")
        elif char == _CSI_C1:
            self._enter("csi")
        elif char in _STRING_C1:
            self._enter("string")
        elif char == "\r":
            return "\n"
        elif char == "\n":
            return "" if after_cr else char
        elif char == "\t" or not _is_control(char):
            return char
        return ""

    def _enter(self, mode: str) -> None:
        self._mode, self._length = mode, 0

    def _inside(self, char: str) -> None:
        if char == _ESC:  # ESC \ ends a string; any ESC starts anew
            self._enter("escape")
        elif self._mode == "escape":
            if char == "[":
                self._enter("csi")
            elif char in _STRING_7BIT:
                self._enter("string")
            elif not "\x20" <= char <= "\x2f":  # intermediates go on, everything else is the final byte
                self._mode = "text"
        elif self._mode == "csi":
            if not "\x20" <= char <= "\x3f":
                self._mode = "text"
        elif char in (_BEL, _ST_C1):
            self._mode = "text"


def _is_control(char: str) -> bool:
    code = ord(char)
    return code < 0x20 or 0x7F <= code <= 0x9F


def sanitise(text: str) -> str:
    """Make a whole text safe for a terminal; newlines and tabs stay."""
    return Sanitiser().feed(text)


def sanitise_name(text: str) -> str:
    """Make a name safe for one line: no newlines, and direction or width tricks become visible marks."""
    line = sanitise(text).replace("\n", " ").replace("\t", " ")
    return _TRICKS.sub(
        lambda found: f"\N{LEFT WHITE CURLY BRACKET}U+{ord(found[0]):04X}\N{RIGHT WHITE CURLY BRACKET}", line
    )


def cell_width(text: str) -> int:
    """Columns that a line takes in a terminal: East Asian wide characters two, combining marks none."""
    width = 0
    for char in text:
        if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
    return width


def cut(text: str, cells: int) -> str:
    """`text` in at most `cells` columns, with an ellipsis where something is missing."""
    if cell_width(text) <= cells:
        return text
    kept, width = [], 1
    for char in text:
        width += cell_width(char)
        if width > cells:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…" if cells > 0 else ""


_RESERVED = re.compile(r"^(con|prn|aux|nul|com[1-9]|lpt[1-9])(\.|$)", re.IGNORECASE)
_LONGEST_FILE_NAME = 200  # bytes; ext4 and APFS allow 255, and a suffix and a number must still fit


def safe_file_name(name: str, *, default: str = "untitled") -> str:
    """A readable file name that stays inside its folder on every system; CJK and emoji are kept."""
    line = sanitise(name)
    line = "".join(c for c in line if c not in _BIDI | _ZERO_WIDTH)
    line = re.sub(r'[\\/:*?"<>|\n\t]+', " ", line)
    line = re.sub(r"\s+", " ", line).strip(" .")
    if _RESERVED.match(line):
        line = f"_{line}"
    while len(line.encode()) > _LONGEST_FILE_NAME:
        line = line[:-1]
    return line.strip(" .") or default


def format_bytes(n_bytes: float) -> str:
    """`n_bytes` as people read it: 6.5 MB; decimal units, three figures at most."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
