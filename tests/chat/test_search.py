"""Search: what stands in any chat is found, in any case and script, by trigrams and without them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat import search
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, Role, new_node
from tests.chat.conftest import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chat.conftest import Desk

TEXTS = (
    "A silver key under the stone",
    "the KEY of the mill, 100% done",
    "我在读《三体》第二部",
    "今天天气很好",
    "Привет, Élan and STRASSE",
    'he said "good day" to a_b',
)


@pytest.fixture(params=["trigrams", "scan"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    if request.param == "scan":
        monkeypatch.setattr(search, "can_index", lambda _: False)
        monkeypatch.setattr("chatrwkv.chat.migrations.can_index", lambda _: False)
    opened = Store.open(tmp_path / "chats.db")
    chat = Conversation.start("t")
    opened.create_chat(chat.with_nodes([new_node(chat.root, Role.USER, text) for text in TEXTS])).result()
    yield opened
    opened.close()


def found(store: Store, query: str) -> list[int]:
    """Numbers of the texts found, the newest first."""
    return [
        next(i for i, text in enumerate(TEXTS) if hit.match in text and hit.after.strip() in text)
        for hit in store.search(query)
    ]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("key", [1, 0]), ("KEY", [1, 0]), ("key mill", [1]), ("silver stone", [0]), ('"silver stone"', []),
        ('"silver key"', [0]), ("三体", [2]), ("天", [3]), ("天气", [3]), ("天气很", [3]), ("读《三体》", [2]),
        ("三体 天气", []), ("привет", [4]), ("ПР", [4]), ("éla", [4]), ("É", [4]), ("st", [4, 0]), ("of key", [1]),
        ("100%", [1]), ("0%", [1]), ("a_b", [5]), ("_", [5]), ("%", [1]), ('"good day', [5]), ("", []), ('"', []),
        ("nothing of this", []), ("!", []),
    ],
)  # fmt: skip
def test_all_words_must_occur_in_any_case(store: Store, query: str, numbers: list[int]):
    """A trigram index finds nothing under three characters, which are most words in Chinese."""
    assert found(store, query) == numbers


def test_what_is_found_is_shown_with_what_stands_around_it(store: Store):
    [hit] = store.search("under")
    assert (hit.before, hit.match, hit.after) == ("A silver key ", "under", " the stone")
    assert (hit.title, hit.role) == ("t", Role.USER)


def test_the_newest_come_first_and_the_limit_holds(store: Store):
    assert [hit.match for hit in store.search("the", limit=2)] == ["the", "the"]
    assert len(store.search("the", limit=1)) == 1


def test_what_changes_is_found_as_it_is_now_and_what_was_deleted_is_not(desk: Desk):
    """An index that is not kept in step shows what nobody can open."""
    store = desk.workspace
    chat = store.new_chat()
    reply = said(chat, "where is the silver key")
    user = chat.path()[0]
    assert [hit.node for hit in store.search("silver key")] == [user.id]
    store._store.flush()
    assert reply.id in [hit.node for hit in store.search(f'"{reply.text.strip()}"')]
    chat.edit_in_place(user.id, "where is the golden key")
    assert not store.search("silver")
    assert len(store.search("golden")) == 1
    chat.undo()
    assert len(store.search("silver")) == 1
    chat.delete(user.id)
    assert not store.search("silver")
    chat.undo()
    store.delete_chat(chat.id)
    assert not store.search("silver")
    store.restore_chat()
    assert len(store.search("silver")) == 1


def test_a_chat_can_be_searched_alone(desk: Desk):
    first, second = desk.workspace.new_chat(), desk.workspace.new_chat()
    said(first, "a silver key")
    said(second, "a silver spoon")
    assert {hit.chat for hit in desk.workspace.search("silver")} == {first.id, second.id}
    for query in ("silver", "si"):
        hits = desk.workspace.search(query, chat_id=second.id)
        assert {hit.chat for hit in hits} == {second.id}


def test_a_library_without_fts5_writes_and_searches_and_a_later_one_indexes_what_it_missed(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    """Triggers that fill an index whose module is missing fail, and with them every message that is sent."""
    desk = make_desk()
    said(desk.workspace.new_chat(), "first silver")
    with monkeypatch.context() as without:
        without.setattr(search, "can_index", lambda _: False)
        desk.again().load()
        assert not triggers(desk), "they would fail in such a library"
        said(desk.workspace.new_chat(), "second silver")
        assert len(desk.workspace.search("silver")) == 2
    desk.again()
    assert len(desk.workspace.search("silver")) == 2
    with closing(sqlite3.connect(":memory:")) as probe:
        assert bool(triggers(desk)) == search.can_index(probe)


def triggers(desk: Desk) -> set[str]:
    with closing(sqlite3.connect(desk.workspace.paths.database)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    return {row[0] for row in rows}
