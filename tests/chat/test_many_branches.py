"""More branches than the budget holds, through the whole session: the budget holds at every moment, and the oldest goes on with nothing read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chat.conftest import ended, said
from tests.fakes import HeavyModel

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.chat.conftest import Desk

N_BRANCHES, N_AT_ONCE = 200, 50
STATE_BYTES, BUDGET_BYTES = 130_000, 2_000_000


def test_branches_beyond_the_budget_go_on_with_nothing_read_again(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.fsync", lambda _: None)  # a test of the budget, not of the disk
    desk = make_desk(
        model=HeavyModel(STATE_BYTES), sampling={"max_tokens": 3, "top_p": 1.0, "temperature": 5.0}
    )
    chat = desk.workspace.new_chat()
    chat.vault.set_budget(BUDGET_BYTES)
    first = said(chat, "one")
    for _ in range(N_BRANCHES // N_AT_ONCE):
        for reply in chat.retry(first.id, n=N_AT_ONCE):
            ended(reply)
            assert chat.vault.usage().ram_bytes <= BUDGET_BYTES
    chat.vault.flush()
    usage = chat.vault.usage()
    row = chat.conversation.siblings(first.id)
    assert len(row) == N_BRANCHES + 1
    assert usage.n_ram <= BUDGET_BYTES // STATE_BYTES
    # Branches that said the same are one mind; the message before them is one more.
    assert usage.n_disk == len({chat.node(node_id).text for node_id in row}) + 1
    assert usage.n_disk > 0.9 * N_BRANCHES
    before = desk.n_scanned
    for node_id in (row[0], row[100], row[-1]):
        chat.select(node_id)
        ended(chat.continue_reply(node_id))
    assert desk.n_scanned == before
    assert not chat.conversation.problems()
