"""/import: the chats of another program, or one sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from chatrwkv.chat.tree import Conversation, Role, new_node
from tests.chat.foreign_files import chatgpt
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path


def talk(title: str) -> Conversation:
    made = Conversation.start(title)
    ask = new_node(made.root, Role.USER, "What of the fox?")
    answer = new_node(ask.id, Role.ASSISTANT, " It sleeps.")
    return made.with_nodes([ask, answer]).with_head(answer.id)


async def test_import_opens_the_first_chat_of_the_file(tmp_path: Path):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([chatgpt(talk("Fox")), chatgpt(talk("Other fox"))]))
    async with running(tmp_path) as app:
        await app.type(f"/import {path}")
        await app.press("enter")
        await app.sees("Imported 2 chats")
        await app.sees("It sleeps.")
        assert app.session.title == "Fox"
        await app.send("And then?")
        assert app.answers()[-1] == "Hello there."


async def test_an_import_is_undone_and_done_again(tmp_path: Path):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([chatgpt(talk("Fox")), chatgpt(talk("Other fox"))]))
    async with running(tmp_path) as app:
        before = app.session.id
        await app.type(f"/import {path}")
        await app.press("enter")
        await app.until(lambda: app.session.title == "Fox")
        await app.type("/undo")
        await app.press("enter")
        await app.until(lambda: app.session.id == before)
        assert len(app.app.workspace.chats()) == 1
        await app.type("/redo")
        await app.press("enter")
        await app.until(lambda: app.session.title == "Fox")
        assert len(app.app.workspace.chats()) == 3


async def test_import_asks_for_the_file_and_says_what_is_wrong_with_it(tmp_path: Path):
    path = tmp_path / "half.json"
    path.write_text('{"format": "chatrwkv chat", ')
    async with running(tmp_path) as app:
        await app.type("/import")
        await app.press("enter")
        await app.sees("Import the chats of")
        await app.press("ctrl+a", "ctrl+k")
        await app.type(str(path))
        await app.press("enter")
        await app.sees("half.json is not JSON")
        assert len(app.app.workspace.chats()) == 1
