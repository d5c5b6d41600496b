"""Whatever text, ids and settings a conversation holds, it comes back the same, also after a restart."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chatrwkv.chat.document import to_document
from chatrwkv.chat.export import from_json, to_json
from chatrwkv.chat.store import Store
from chatrwkv.chat.tree import Conversation, NodeStatus, ReplyMeta, Role, new_node
from chatrwkv.engine import GenerationStats, SamplingParams

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
IDS = st.lists(st.integers(0, 2**32 - 1), max_size=20).map(tuple)
PARAMS = st.builds(
    SamplingParams,
    temperature=st.floats(0, 5),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 100),
    stop=st.lists(TEXT, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 2**64 - 1),
    banned=st.frozensets(st.integers(0, 70_000), max_size=3),
)
META = st.builds(
    ReplyMeta,
    model=TEXT,
    fingerprint=TEXT,
    template=TEXT,
    thinking=TEXT,
    params=PARAMS,
    seed=st.none() | st.integers(0, 2**64 - 1),
    reason=TEXT,
    stats=st.none()
    | st.builds(GenerationStats, st.integers(0, 9), st.integers(0, 9), st.floats(0, 9), st.floats(0, 9)),
    n_drawn=st.integers(0, 99),
)
MESSAGE = st.fixed_dictionaries(
    {
        "above": st.integers(0, 100),
        "role": st.sampled_from(Role),
        "text": TEXT,
        "status": st.sampled_from([NodeStatus.COMPLETE, NodeStatus.STOPPED, NodeStatus.FAILED]),
        "meta": st.none() | META,
        "tokens": st.dictionaries(TEXT, IDS, max_size=2),
        "name": TEXT,
        "shown": st.booleans(),
    }
)


@settings(max_examples=30)
@given(title=TEXT, system=TEXT, params=st.none() | PARAMS, messages=st.lists(MESSAGE, max_size=8))
def test_a_conversation_survives_the_database_and_json(
    title: str, system: str, params: SamplingParams | None, messages: list[dict[str, object]]
):
    chat = Conversation.start(title, system, params=params)
    for message in messages:
        above = sorted(chat.nodes)[int(str(message.pop("above"))) % len(chat.nodes)]
        is_shown = message.pop("shown")
        role, text = Role(str(message.pop("role"))), str(message.pop("text"))
        node = new_node(above, role, text, **message)
        chat = chat.with_node(node)
        chat = chat.with_head(node.id) if is_shown else chat
    document = to_document(chat)
    assert to_document(from_json(to_json(chat))) == document
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chats.db"
        store = Store.open(path)
        store.create_chat(chat)
        store.close()
        store = Store.open(path)
        assert to_document(store.load(chat.id)[0]) == document
        store.close()
