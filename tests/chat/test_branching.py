"""What was likely at each token: kept for every one, also over a crash, and the place to branch from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatrwkv.chat.export import from_json, to_json
from chatrwkv.engine import SamplingParams
from chatrwkv.errors import BadValue
from tests.chat.conftest import ended, said, what
from tests.fakes import FakeModel, Gate, PieceTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatrwkv.chat.session import ChatSession
    from chatrwkv.chat.tree import Node
    from chatrwkv.engine import Drawn
    from tests.chat.conftest import Desk


class InPieces(FakeModel):
    """A fake model over a `PieceTokenizer` that speaks in its longer pieces."""

    def __init__(self, *pieces: str) -> None:
        self.tokenizer = PieceTokenizer(*pieces)
        speaks = range(257, 257 + len(pieces))
        super().__init__("|".join(pieces), n_vocab=self.tokenizer.n_vocab, speaks=speaks)


def rows_of(chat: ChatSession, node: Node) -> list[Drawn]:
    record = chat.record(node.id)
    assert record is not None
    return record.drawn(node.text)


def test_every_token_of_every_reply_is_kept(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    others = chat.retry(first.id, n=8)
    for reply in others:
        ended(reply)
    for node in (first, *(chat.node(reply.node_id) for reply in others)):
        rows = rows_of(chat, node)
        assert len(rows) == 12
        assert all(row.token_id in dict(row.top) and len(row.top) == 8 for row in rows)
        assert sum(row.n_chars for row in rows) == len(node.text)
        assert bytes(row.token_id - 1 for row in rows if row.token_id).decode() == node.text


def test_the_record_is_there_after_a_restart_and_in_the_exported_json(desk: Desk):
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    rows = rows_of(chat, node)
    desk.again()
    chat = desk.workspace.open_chat(chat.id)
    assert rows_of(chat, chat.node(node.id)) == rows
    text = to_json(desk.workspace.whole(chat.id))
    assert to_json(from_json(text)) == text
    copy = desk.workspace.import_chat(from_json(text))
    assert rows_of(copy, copy.path()[-1]) == rows
    fork = desk.workspace.open_chat(chat.fork())
    desk.workspace._vault.flush()
    desk.workspace._store.flush()
    assert rows_of(fork, fork.path()[-1]) == rows


def test_a_record_costs_at_most_64_bytes_a_token(desk: Desk):
    chat = desk.workspace.new_chat()
    record = chat.record(said(chat, "one").id)
    assert record is not None
    assert len(record.rows) / 12 <= 64


def test_the_record_is_saved_while_the_reply_streams(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("chatrwkv.chat.replies.SAVE_EVERY_TOKENS", 1)
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate))
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.allow(6)
    while reply.view.n_tokens < 5:
        reply.poll()
        gate.allow(1)
    desk.workspace._store.flush()
    stored = desk.workspace._store.record(reply.node_id)
    assert stored is not None
    assert len(stored.drawn(reply.poll().text)) >= 5
    gate.open()
    ended(reply)


def test_another_token_is_a_sibling_that_reads_at_most_the_reply(desk: Desk):
    chat = desk.workspace.new_chat()
    said(chat, "a first message that is long enough to be seen in the count of what is read")
    node = said(chat, "two")
    rows = rows_of(chat, node)
    wanted = next(i for i, _ in rows[5].top if i != rows[5].token_id)
    before = desk.n_scanned
    reply = chat.branch_at(node.id, 5, wanted)
    view = ended(reply)
    assert desk.n_scanned - before == 5
    made = chat.node(reply.node_id)
    assert made.parent == node.parent
    assert made.text[:5] == node.text[:5]
    assert made.text[5] == chr(wanted - 1)
    assert made.text == view.text
    again = rows_of(chat, made)
    assert again[:5] == rows[:5]
    assert (again[5].top, again[5].token_id) == (rows[5].top, wanted)
    assert made.meta is not None
    assert made.meta.n_drawn == len(again) == 17
    assert what(chat.undo()) == "branch at a token"
    assert made.id not in chat.conversation.nodes


def test_the_drawn_token_itself_leads_to_the_same_reply(desk: Desk):
    """The branch draws with the seed and at the positions of the reply that it leaves."""
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    for place in (0, 7):
        drawn = rows_of(chat, node)[place].token_id
        assert drawn is not None
        reply = chat.branch_at(node.id, place, drawn)
        assert ended(reply).text[:12] == node.text


def test_a_branch_goes_on_as_a_chat_after_a_restart(desk: Desk, make_desk: Callable[..., Desk]):
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    reply = chat.branch_at(node.id, 3, rows_of(chat, node)[3].top[-1][0])
    ended(reply)
    desk.again().load()
    chat = desk.workspace.open_chat(chat.id)
    before = desk.n_scanned
    said(chat, "two")
    assert desk.n_scanned - before <= len("\n\nUser: two\n\nAssistant:") + 4
    assert chat.path()[1].id == reply.node_id


def test_a_branch_inside_a_character_forces_the_whole_character(make_desk: Callable[..., Desk]):
    """三 is three byte tokens; no text can hold the first of them alone."""
    raw = "三体".encode()
    model = FakeModel(speaks=sorted({byte + 1 for byte in raw}))
    desk = make_desk(model=model, sampling={"max_tokens": 30, "seed": 3})
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    rows = rows_of(chat, node)
    inside = next((i for i, row in enumerate(rows) if i and rows[i - 1].is_unfinished), None)
    assert inside is not None
    reply = chat.branch_at(node.id, inside, raw[1] + 1)
    ended(reply)
    made = chat.node(reply.node_id)
    again = rows_of(chat, made)
    assert [row.token_id for row in again[:inside]] == [row.token_id for row in rows[:inside]]
    assert again[inside].token_id == raw[1] + 1
    assert sum(row.n_chars for row in again) == len(made.text)


def test_a_continued_reply_keeps_the_record_of_its_beginning(make_desk: Callable[..., Desk]):
    gate = Gate()
    desk = make_desk(model=FakeModel(before=gate), sampling={"max_tokens": 40, "seed": 7})
    chat = desk.workspace.new_chat()
    reply = chat.send("one")
    gate.allow(8)
    gate.wait_until_blocked()
    reply.stop()
    gate.open()
    ended(reply)
    node = chat.node(reply.node_id)
    first = rows_of(chat, node)
    ended(chat.continue_reply(node.id))
    whole = chat.node(node.id)
    rows = rows_of(chat, whole)
    assert rows[: len(first)] == first
    assert sum(row.n_chars for row in rows) == len(whole.text)
    chat.undo()
    assert rows_of(chat, chat.node(node.id)) == first


def test_a_reply_cut_inside_a_token_says_what_is_not_known(make_desk: Callable[..., Desk]):
    """The stop string begins inside a token: its kept part was encoded anew, so nobody drew it."""
    model = InPieces("ab\n", "cd")
    desk = make_desk(model=model, sampling={"max_tokens": 50, "stop": ("\n",), "seed": 1})
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    rows = rows_of(chat, node)
    assert sum(row.n_chars for row in rows) == len(node.text)
    assert rows[-1].token_id is None
    with pytest.raises(BadValue, match="no drawn token"):
        chat.branch_at(node.id, len(rows) - 1, 258)


def test_what_cannot_be_branched_is_said(desk: Desk):
    chat = desk.workspace.new_chat()
    node = said(chat, "one")
    n_nodes = len(chat.conversation.nodes)
    with pytest.raises(BadValue, match="Nothing is known"):
        chat.branch_at(node.parent or "", 0, 5)
    for place in (-1, 12, 10**9):
        with pytest.raises(BadValue, match="no drawn token"):
            chat.branch_at(node.id, place, 5)
    assert len(chat.conversation.nodes) == n_nodes


def test_ids_of_another_vocabulary_are_not_forced(desk: Desk, make_desk: Callable[..., Desk]):
    chat = desk.workspace.new_chat()
    said(chat, "one")
    text = to_json(desk.workspace.whole(chat.id))
    other = make_desk("other", model=InPieces("the"))
    copy = other.workspace.import_chat(from_json(text))
    with pytest.raises(BadValue, match="another vocabulary"):
        copy.branch_at(copy.head, 3, 100)


def test_eight_replies_with_samplings_of_their_own_equal_those_made_alone(desk: Desk):
    chat = desk.workspace.new_chat()
    first = said(chat, "one")
    wanted = [
        SamplingParams(max_tokens=12, seed=place, temperature=0.5 + place / 8, top_p=1.0)
        for place in range(8)
    ]
    together = [ended(reply).text for reply in chat.retry(first.id, params=wanted)]
    assert len(set(together)) == 8
    assert len(chat.conversation.siblings(first.id)) == 9
    alone = [ended(chat.retry(first.id, params=[params])[0]).text for params in wanted]
    assert alone == together
