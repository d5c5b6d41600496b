"""The tables of keys and commands: whole, without clashes, and every entry does something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatrwkv.config import InterfaceSettings, Settings
from chatrwkv.tui import keys
from chatrwkv.tui.commands import _ELSEWHERE, COMMANDS, about_unknown, fits, offers, parse
from chatrwkv.tui.verbs import VERBS
from tests.tui.driver import running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.binding import Binding

# Tab, enter, backspace and escape in disguise; input methods; tmux and screen; letters that macOS types.
FORBIDDEN = re.compile(r"ctrl\+(i|m|h|space|b|a|left_square_bracket)$|shift\+space$|alt\+[a-z]$")
NEEDS_KITTY = {"shift+enter", "ctrl+enter", "ctrl+tab"}


def test_every_command_has_a_verb_and_every_verb_a_command():
    assert {command.name for command in COMMANDS} == set(VERBS)


def test_binding_ids_are_unique_and_explained():
    ids = [binding.id for binding in keys.EVERY]
    assert len(set(ids)) == len(ids)
    assert all(binding.id and binding.tooltip and binding.description for binding in keys.EVERY)


def test_commands_name_existing_keys():
    assert not [command.name for command in COMMANDS if command.key and not keys.named(command.key)]


def test_no_key_is_one_that_terminals_take():
    """elia, oterm and parllama each bound ctrl+i, ctrl+m or ctrl+h, which are tab, enter and backspace."""
    bound = [key for binding in keys.EVERY for key in binding.key.split(",")]
    assert not [key for key in bound if FORBIDDEN.match(key)]
    for binding in keys.EVERY:
        pressed = set(binding.key.split(","))
        assert not pressed & NEEDS_KITTY or pressed - NEEDS_KITTY, binding.id


@pytest.mark.parametrize(
    "table", [keys.APP + keys.CHAT, keys.PROMPT, keys.MESSAGE, keys.ROWS + keys.CHATS, keys.ROWS + keys.TREE]
)
def test_no_two_actions_of_one_place_want_one_key(table: Sequence[Binding]):
    seen: dict[str, str | None] = {"escape": None}  # stop or back, whichever is possible
    for binding in table:
        for key in binding.key.split(","):
            if key != "escape":
                assert key not in seen, f"{binding.id} and {seen[key]} both want {key}"
                seen[key] = binding.id


def test_actions_of_the_chat_screen_exist():
    """A key that names a missing action does nothing and says nothing."""
    from chatrwkv.tui.app import ChatApp
    from chatrwkv.tui.screens.chat import ChatScreen
    from chatrwkv.tui.widgets.chat_list import ChatRows
    from chatrwkv.tui.widgets.message import MessageView
    from chatrwkv.tui.widgets.prompt import PromptArea
    from chatrwkv.tui.widgets.tree_view import TreeView

    places = [(keys.APP, ChatApp), (keys.CHAT, ChatScreen), (keys.PROMPT, PromptArea), (keys.MESSAGE, MessageView),
              (keys.CHATS, ChatRows), (keys.ROWS, ChatRows), (keys.TREE, TreeView)]  # fmt: skip
    for table, place in places:
        for binding in table:
            name = binding.action.partition("(")[0]
            owner = ChatScreen if name.startswith("screen.") else place
            assert hasattr(owner, f"action_{name.removeprefix('screen.')}"), binding.id
            if "command(" in binding.action:
                assert re.findall(r"command\('(\w+)'", binding.action)[0] in VERBS


@pytest.mark.parametrize(
    ("line", "text", "commands", "unknown"),
    [
        ("hello", "hello", (), ""),
        ("  two\nlines ", "  two\nlines ", (), ""),
        ("/retry 4", "", (("retry", "4"),), ""),
        ("/RENAME  a b", "", (("rename", "a b"),), ""),
        ("/nonsense", "", (), "nonsense"),
        ("//etc", "/etc", (), ""),
        ("/usr/bin", "/usr/bin", (), ""),
        ("/ alone", "/ alone", (), ""),
        ("+", "", (("retry", ""),), ""),
        ("+++", "", (("continue", ""),), ""),
        ("1 + 1", "1 + 1", (), ""),
        ("+gen Once upon", "", (), "+gen"),
        ("+ideas", "+ideas", (), ""),
        ("go -temp=0.5", "go", (("set", "temperature 0.5"),), ""),
        ("-top_p=0.9", "", (("set", "top_p 0.9"),), ""),
        ("my-temp=5x", "my-temp=5x", (), ""),
    ],
)
def test_what_a_line_means(line: str, text: str, commands: tuple[tuple[str, str], ...], unknown: str):
    typed = parse(line)
    assert (typed.text, typed.commands, typed.unknown) == (text, commands, unknown)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("hlep", "/help"), ("models", "/model"), ("exit", "/quit"), ("save", "/state save"), ("+i", "/prompt")],
)
def test_an_unknown_command_names_the_one_that_was_meant(typed: str, meant: str):
    assert f" {meant}" in about_unknown(typed)


def test_the_names_of_other_programs_are_not_commands_here_and_lead_to_one_that_is():
    names = {command.name for command in COMMANDS}
    assert not names & set(_ELSEWHERE)
    assert {meant.split()[0] for meant in _ELSEWHERE.values()} <= names


def test_offers_are_ranked_and_fuzzy():
    names = [offer.left.split()[0] for offer in offers("/st", lambda _: [])]
    assert names[:2] == ["/state", "/stats"]
    assert "/set" in names
    assert not offers("//st", lambda _: [])
    assert not offers("hello", lambda _: [])
    assert fits("三问", "三体问答")
    assert not fits("xyz", "三体问答")


async def test_keys_are_rebound_by_id(tmp_path: Path):
    """`[interface.keys]` of the settings file."""
    settings = Settings(interface=InterfaceSettings(keys={"retry": "f5"}))
    async with running(tmp_path, settings=settings) as app:
        await app.send("hi")
        await app.press("f5")
        await app.sees("‹ 2/2 ›")
        assert "F5 again" in app.text()
        await app.quiet()


async def test_the_palette_holds_every_command(tmp_path: Path):
    """What a slash can do, the palette can do."""
    async with running(tmp_path) as app:
        titles = {command.title.lower() for command in app.app.get_system_commands(app.screen)}
        assert {command.name for command in COMMANDS} <= titles
        await app.press("ctrl+p")
        await app.type("paths")
        await app.sees("Where the files are")
        await app.press("enter")
        await app.sees("chats.db")


def test_the_style_sheet_names_no_colour():
    """Every colour from the theme, or sixteen-colour terminals and light themes break."""
    sheet = (Path(keys.__file__).parent / "app.tcss").read_text(encoding="utf-8")
    rules = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
    assert not re.findall(r"(?:color|background|border[a-z-]*|tint):[^;]*(?:#[0-9a-f]{3,8}|rgb|ansi_)", rules)
