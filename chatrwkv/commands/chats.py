"""`chatrwkv chats`: the stored chats, without the app."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chatrwkv.commands.output import (
    Output,
    add_actions,
    add_config,
    add_json,
    narrate,
    print_json,
    print_rows,
)
from chatrwkv.errors import BadValue, StoreError
from chatrwkv.paths import Paths, private_dir
from chatrwkv.text import sanitise

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from chatrwkv.chat.reader import ChatSummary
    from chatrwkv.chat.store import Store
    from chatrwkv.chat.tree import Conversation

_SHORT_ID = 8  # characters of an id in lists; any unambiguous beginning is understood


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.epilog = "ID is an id of `chats list`, or the beginning of one."
    actions = add_actions(parser)

    def action(name: str, text: str, handler: object, *, with_id: bool = True) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=text, allow_abbrev=False)
        if with_id:
            made.add_argument("id", metavar="ID", help="chat")
        made.set_defaults(handler=handler)
        return made

    list_parser = action("list", "list chats, the last used first", list_all, with_id=False)
    list_parser.add_argument("--deleted", action="store_true", help="list deleted chats instead")
    add_json(list_parser)
    show_parser = action("show", "print the messages that the chat shows", show)
    add_json(show_parser, "print the whole tree as JSON")
    export_parser = action("export", "write a chat to a file", export)
    export_parser.add_argument(
        "-f", "--format", choices=("md", "json", "txt"), help="default: by the file's name, else md"
    )
    export_parser.add_argument("-o", "--output", metavar="FILE", help="file to write; stdout if absent")
    export_parser.add_argument("--force", action="store_true", help="replace the file")
    import_parser = action(
        "import", "add the chats of a file, whichever program wrote it", import_, with_id=False
    )
    import_parser.add_argument(
        "file",
        metavar="FILE",
        help="own JSON, ChatGPT's conversations.json, SillyTavern's JSONL, or User:/Assistant: text",
    )
    rename_parser = action("rename", "give a chat another title", rename)
    rename_parser.add_argument("title", metavar="TITLE", help="the new title")
    replay_parser = action("replay", "draw its replies again and print the first difference; exit 1", replay)
    replay_parser.add_argument("-m", "--model", metavar="MODEL", help="the model that drew them")
    add_config(replay_parser)
    add_json(replay_parser)
    action("delete", "hide a chat; `chats restore` brings it back", delete)
    action("restore", "bring a deleted chat back", restore)
    search_parser = action("search", "list messages in which all words occur", search, with_id=False)
    search_parser.add_argument("words", nargs="+", metavar="WORD", help="in any case and order")
    search_parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="how many at most, the newest first (default: 50)"
    )
    add_json(search_parser)
    _keeping(action)


def _keeping(action: Callable[..., argparse.ArgumentParser]) -> None:
    """Declare what erases, copies and brings back."""
    purge_parser = action("purge", "erase for good what was deleted", purge, with_id=False)
    purge_parser.add_argument("id", nargs="?", metavar="ID", help="only what was deleted in this chat")
    purge_parser.add_argument("--yes", action="store_true", help="do not ask")
    backup_parser = action("backup", "copy all chats to the backups now", backup, with_id=False)
    backup_parser.add_argument(
        "--restore",
        metavar="FILE",
        help="bring the chats of a backup back instead, beside those that are there",
    )


@contextmanager
def opened_store() -> Iterator[Store]:
    """The user's chats.

    Raises:
        StoreError: they cannot be read.
    """
    from chatrwkv.chat.store import Store

    paths = Paths.default()
    private_dir(paths.database.parent)
    store = Store.open(paths.database, paths.backups)
    try:
        yield store
    finally:
        store.close()


def find_chat(store: Store, reference: str, *, deleted: bool = False) -> ChatSummary:
    """The chat whose id begins with `reference`.

    Raises:
        StoreError: there is none, or more than one.
    """
    found = [chat for chat in store.chats(deleted=deleted) if chat.id.startswith(reference.lower())]
    exact = [chat for chat in found if chat.id == reference.lower()]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    kind = "deleted chat" if deleted else "chat"
    flag = " --deleted" if deleted else ""
    hint = f"`chatrwkv chats list{flag}` shows the ids."
    if found and reference:
        raise StoreError(f"{len(found)} ids begin with {reference!r}.", hint="Give more of the id.")
    raise StoreError(f"There is no {kind} {reference!r}.", hint=hint)


def list_all(args: argparse.Namespace) -> int:
    """One line a chat."""
    with opened_store() as store:
        chats = store.chats(deleted=args.deleted)
    rows = [
        {
            "id": chat.id if args.json else chat.id[:_SHORT_ID],
            "updated": chat.updated if args.json else _when(chat.updated),
            "messages": chat.n_messages,
            "title": chat.title or ("" if args.json else "Untitled chat"),
            "template": chat.template,
            "created": chat.created,
        }
        for chat in chats
    ]
    print_rows(args, rows, ("id", "updated", "messages", "title"))
    return 0


def show(args: argparse.Namespace) -> int:
    """The path that is shown, or the whole tree as JSON."""
    from chatrwkv.chat.export import to_json, to_markdown

    conversation = _loaded(args)
    text = to_json(conversation) if args.json else to_markdown(conversation, front_matter=False)
    Output().write(text)
    return 0


def export(args: argparse.Namespace) -> int:
    """Write a chat to a file or to stdout."""
    from chatrwkv.chat.export import WRITERS, write_file

    conversation = _loaded(args)
    suffix = Path(args.output).suffix.lstrip(".") if args.output else ""
    kind = args.format or (suffix if suffix in ("json", "txt") else "md")
    text = WRITERS[kind](conversation)
    if args.output is None:
        Output().write(text)
    else:
        write_file(Path(args.output), text, force=args.force)
        narrate(f"wrote {args.output}")
    return 0


def import_(args: argparse.Namespace) -> int:
    """Add every chat of a file, or none, and print their ids."""
    from chatrwkv.chat.importing import read_chats

    chats = read_chats(Path(args.file))
    with opened_store() as store:
        store.create_chats(chats).result()
    for chat in chats:
        print(chat.id)
    return 0


def replay(args: argparse.Namespace) -> int:
    """Draw every reply of a chat again; 1 when one came out otherwise."""
    from chatrwkv.commands.replaying import replayed

    found = replayed(args, _loaded(args))
    if args.json:
        print_json(asdict(found))
    else:
        for line in found.lines():
            print(sanitise(line))
    return 0 if found.difference is None else 1


def rename(args: argparse.Namespace) -> int:
    """Change the title."""
    title = " ".join(args.title.split())
    with opened_store() as store:
        store.rename(find_chat(store, args.id).id, title).result()
    return 0


def delete(args: argparse.Namespace) -> int:
    """Hide a chat."""
    with opened_store() as store:
        chat = find_chat(store, args.id)
        store.delete_chat(chat.id).result()
    narrate(f"deleted; `chatrwkv chats restore {chat.id[:_SHORT_ID]}` brings it back")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Bring a chat back."""
    with opened_store() as store:
        store.restore_chat(find_chat(store, args.id, deleted=True).id).result()
    return 0


def search(args: argparse.Namespace) -> int:
    """One line a message."""
    # A word with blanks came in quotes of the shell: it is looked for as it stands.
    words = [f'"{word}"' if " " in word else word for word in args.words]
    with opened_store() as store:
        hits = store.search(" ".join(words), limit=max(1, args.limit))
    rows = [
        {
            "chat": hit.chat if args.json else hit.chat[:_SHORT_ID],
            "node": hit.node if args.json else hit.node[:_SHORT_ID],
            "created": hit.created if args.json else _when(hit.created),
            "role": hit.role.value,
            "title": hit.title or ("" if args.json else "Untitled chat"),
            "text": f"{hit.before}{hit.match}{hit.after}",
        }
        for hit in hits
    ]
    print_rows(args, rows, ("chat", "node", "created", "role", "title", "text"))
    if not hits:
        narrate("nothing found")
    return 0


def purge(args: argparse.Namespace) -> int:
    """Say what goes, ask, and erase it."""
    from chatrwkv.text import format_bytes

    with opened_store() as store:
        chat_id = find_chat(store, args.id).id if args.id else None
        found = store.purgeable(chat_id).result()
        if not found:
            narrate("nothing is deleted")
            return 0
        frees = format_bytes(found.text_bytes + found.state_bytes)
        if not args.yes:
            narrate(f"{found.words}, {frees}; undo will not bring them back, backups still hold them")
            if not sys.stdin.isatty():
                raise BadValue("There is nobody to ask.", hint="Add --yes.")
            if input("Erase for good? [y/N] ").strip().lower() not in ("y", "yes"):
                return 0
        gone = store.purge(chat_id).result()
    states = Paths.default().states
    for place in gone.places:
        (states / place).unlink(missing_ok=True)
    narrate(f"erased {gone.words}, {frees}")
    return 0


def backup(args: argparse.Namespace) -> int:
    """Copy the database and print where to, or add what a copy holds."""
    from chatrwkv.chat.backup import label_by_hand

    with opened_store() as store:
        if args.restore:
            n = store.take_over(Path(args.restore)).result()
            narrate(f"brought back {n} chat{'' if n == 1 else 's'}")
        else:
            print(store.backup(label_by_hand()))
    return 0


def _loaded(args: argparse.Namespace) -> Conversation:
    with opened_store() as store:
        return store.load(find_chat(store, args.id).id, with_records=True)[0]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
