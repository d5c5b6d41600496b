"""Nothing is lost from the app: backups are made, brought back and offered; what the disk does not take is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chat.small_disks import full_disk
from tests.fakes import Gate, ScriptedModel
from tests.tui.driver import running

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_backup_is_made_and_what_was_erased_since_comes_back(tmp_path: Path):
    async with running(tmp_path, "one") as app:
        await app.send("first")
        chat = app.session.id
        await app.command("/backup")
        await app.sees("Copied all chats to")
        [made] = app.app.workspace.paths.backups.glob("chats-by-hand-*.db")
        await app.command("/delete")
        await app.until(lambda: app.session.id != chat)
        app.app.workspace.purge()
        await app.command(f"/backup restore {made.stem}")
        await app.sees("Brought back 1 chat")
        await app.sees("first")
        assert app.app.workspace.open_chat(chat).path()[0].text == "first"
        await app.command(f"/backup restore {made.stem}")
        await app.sees("No chat of")


async def test_after_damage_the_newest_backup_is_one_key_away(tmp_path: Path):
    async with running(tmp_path, "one") as app:
        await app.send("first")
        chat = app.session.id
        await app.command("/state save fox")
        await app.sees("Saved the state")
        app.app.workspace.backup("before")
    (tmp_path / "chats.db").write_bytes(b"\0" * 5000)
    async with running(tmp_path, "one") as app:
        await app.in_dialog()
        await app.sees("bring back a backup?")
        await app.press("escape")
        await app.sees("chats-before.db back.")
        await app.sees("1 saved state holds a conversation")
        await app.command("/backup restore")
        await app.in_dialog()
        await app.press("enter")
        await app.sees("Brought back 1 chat of chats-before")
        assert [node.text.strip() for node in app.app.workspace.open_chat(chat).path()] == ["first", "one"]


async def test_a_file_that_is_no_backup_is_one_sentence(tmp_path: Path):
    async with running(tmp_path, "one") as app:
        await app.command("/backup nonsense")
        await app.sees("/backup nonsense is not known")
        await app.command("/backup restore nonsense")
        await app.sees("nonsense.db")


async def test_a_text_that_the_disk_does_not_take_is_marked_until_it_is_saved(tmp_path: Path):
    gate = Gate()
    async with running(tmp_path, model=ScriptedModel("Hello there.", before=gate)) as app:
        await app.type("first")
        await app.press("enter")
        await app.until(lambda: gate.waiting)
        with full_disk():
            gate.open()
            await app.sees("Hello there.")
            await app.sees("not saved")
            await app.sees("kept here until it is")
        await app.sees("Everything is saved again")
        await app.until(lambda: "not saved" not in app.text())
        chat = app.session.id
    async with running(tmp_path, chat=chat) as app:
        assert app.answers() == ["first", "Hello there."]
