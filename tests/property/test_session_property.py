"""Random walks through a session: undo equals what was, states match their text, nothing is orphaned.

Every state that the vault finds is checked against a model that reads the stored ids from the beginning: the
fake model's state is a hash of all ids, so a stale state cannot pass.

CI walks some hundred steps. `CHATRWKV_TEST_OPERATIONS=10000` walks as many as it says, in chats of 100 each:
10,000 take some minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatrwkv.chat.document import to_document
from chatrwkv.chat.plan import plan_path
from chatrwkv.chat.tree import Role
from chatrwkv.engine import EMPTY_CHAIN, extend
from chatrwkv.errors import BadValue
from tests.chat.conftest import WAIT_S, Desk, ended
from tests.fakes import FakeModel, loaded

WORDS = st.sampled_from(["one", "two", "three", "vier", "五"])
PICK = st.integers(0, 1000)


class Sessions(RuleBasedStateMachine):
    """One chat, everything that can be done to it, and now and then a restart."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.desk = Desk(self.root, FakeModel(), {"max_tokens": 3, "seed": 5}).load()
        self.chat = self.desk.workspace.new_chat()
        # What each step of undo leads back to, and what redo leads to.
        self.past: list[dict[str, Any]] = []
        self.future: list[dict[str, Any]] = []

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.undo_is_the_log_read_backwards()
            self.no_file_is_an_orphan()
            self.desk.close()
            shutil.rmtree(self.root)

    def undo_is_the_log_read_backwards(self) -> None:
        """Back to the beginning and forth again, over everything that was done."""
        last = self.document()
        for before in reversed(self.past):
            assert self.chat.undo() is not None
            assert self.document() == before
        assert self.chat.undo() is None
        for _ in self.past:
            assert self.chat.redo() is not None
        assert self.document() == last

    def no_file_is_an_orphan(self) -> None:
        self.chat.vault.flush()
        workspace = self.desk.workspace
        workspace._store.flush()
        files = {path.name for path in workspace.paths.states.glob("*.rwkvstate")}
        assert files <= workspace._store.linked_places()

    def document(self) -> dict[str, Any]:
        """The tree without what is no step of undo: ids found out later, the place on the screen."""
        found = to_document(self.chat.conversation)
        for node in found["nodes"]:
            node.pop("tokens")
        return {key: value for key, value in found.items() if key not in ("head", "shown")}

    def step(self, before: dict[str, Any]) -> None:
        for reply in self.chat.replies:
            ended(reply)
        self.past.append(before)
        self.future.clear()

    def pick(self, number: int, *roles: Role) -> str | None:
        found = [node.id for node in self.chat.conversation.nodes.values() if node.role in roles]
        return found[number % len(found)] if found else None

    @rule(text=WORDS)
    def send(self, text: str) -> None:
        before = self.document()
        self.chat.send(text)
        self.step(before)

    @rule(number=PICK, n=st.integers(1, 2))
    def retry(self, number: int, n: int) -> None:
        if node := self.pick(number, Role.ASSISTANT):
            before = self.document()
            self.chat.retry(node, n=n)
            self.step(before)

    @rule(number=PICK)
    def go_on(self, number: int) -> None:
        if node := self.pick(number, Role.ASSISTANT):
            has_children = bool(self.chat.conversation.children.get(node))
            before = self.document()
            self.chat.continue_reply(node)
            self.step(before)
            if has_children:  # a copy is made, then it goes on: two steps
                self.chat.undo()
                self.past.append(self.document())
                self.chat.redo()

    @rule(number=PICK, text=WORDS)
    def edit(self, number: int, text: str) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            before = self.document()
            self.chat.edit(node, text)
            self.step(before)

    @rule(number=PICK)
    def delete(self, number: int) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            before = self.document()
            self.chat.delete(node)
            self.step(before)

    @rule(number=PICK, place=PICK, move=st.booleans())
    def graft(self, number: int, place: int, move: bool) -> None:
        node, below = self.pick(number, Role.USER, Role.ASSISTANT), self.pick(place, *Role)
        if node and below and len(self.chat.conversation.nodes) < 60:
            before = self.document()
            try:
                graft = self.chat.graft(node, below, move=move)
            except BadValue:
                assert move
                return
            graft.job.result(WAIT_S)
            assert self.document() == before
            top = graft.finish()
            assert self.chat.conversation.nodes[top].parent == below
            self.step(before)

    @rule(number=PICK, text=WORDS)
    def say(self, number: int, text: str) -> None:
        before = self.document()
        self.chat.say(Role.USER if number % 2 else Role.ASSISTANT, text)
        self.step(before)

    @rule(number=PICK)
    def merge(self, number: int) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            before = self.document()
            try:
                self.chat.merge(node)
            except BadValue:
                return
            self.step(before)

    @rule(number=PICK, at=st.integers(0, 12))
    def split(self, number: int, at: int) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            before = self.document()
            try:
                self.chat.split(node, at)
            except BadValue:
                return
            self.step(before)

    @rule(number=PICK, name=WORDS)
    def bookmark(self, number: int, name: str) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            before = self.document()
            self.chat.bookmark(node, name)
            self.step(before)

    @rule()
    def purge(self) -> None:
        before = self.document()
        self.desk.workspace.purge(self.chat.id)
        assert not self.desk.workspace.purgeable(self.chat.id)
        n_back = n_forth = 0
        while self.chat.redo():
            n_forth += 1
        for _ in range(n_forth):
            self.chat.undo()
        while self.chat.undo():
            n_back += 1
        for _ in range(n_back):
            self.chat.redo()
        assert self.document() == before
        self.past = self.past[len(self.past) - n_back :]
        self.future = self.future[len(self.future) - n_forth :]

    @rule(text=WORDS)
    def set_system(self, text: str) -> None:
        before = self.document()
        self.chat.set_system(text)
        self.step(before)

    @rule(number=PICK, exactly=st.booleans())
    def select(self, number: int, exactly: bool) -> None:
        if node := self.pick(number, Role.USER, Role.ASSISTANT):
            self.chat.select(node, exactly=exactly)

    @precondition(lambda self: self.past)
    @rule()
    def undo(self) -> None:
        now = self.document()
        assert self.chat.undo() is not None
        self.future.append(now)
        assert self.document() == self.past.pop()

    @precondition(lambda self: self.future)
    @rule()
    def redo(self) -> None:
        now = self.document()
        assert self.chat.redo() is not None
        self.past.append(now)
        assert self.document() == self.future.pop()

    @rule(number=PICK, scope=st.sampled_from(["path", "siblings", "tree"]))
    def fork(self, number: int, scope: Any) -> None:
        if node := self.pick(number, Role.ASSISTANT):
            before = self.chat.conversation
            forked = self.desk.workspace.open_chat(self.chat.fork(node, scope=scope))
            path = [n.text for n in self.chat.conversation.path(node)][not self.chat.system :]
            assert [n.text for n in forked.path()][: len(path)] == path
            assert not forked.conversation.problems()
            assert self.chat.conversation is before
            self.desk.workspace.close_chat(forked.id)
            self.past.append(self.document())  # a step, which leaves redo as it is

    @rule()
    def restart(self) -> None:
        document, head = to_document(self.chat.conversation), self.chat.head
        self.desk.again().load()
        self.chat = self.desk.workspace.open_chat(self.chat.id)
        assert to_document(self.chat.conversation) == document
        assert self.chat.head == head

    @invariant()
    def the_tree_is_sound(self) -> None:
        assert not self.chat.conversation.problems()

    @invariant()
    def states_are_what_reading_the_stored_text_gives(self) -> None:
        plan = plan_path(self.chat.conversation.path(), self.chat.template, for_reply=False)
        model = loaded(self.desk.model)
        ids: list[int] = []
        for segment in plan.segments:
            ids += segment.ids(model.tokenizer)[0]
            snapshot = self.chat.vault.get(model.model.spec.fingerprint, extend(EMPTY_CHAIN, ids))
            if snapshot is not None:
                scratch = model.model.blank().thaw()
                FakeModel().scan([ids], scratch)
                assert scratch.freeze(0).digest() == snapshot.state.digest()
                assert snapshot.n_tokens == len(ids)


N_OPERATIONS = int(os.environ.get("CHATRWKV_TEST_OPERATIONS", "0"))
Sessions.TestCase.settings = settings(
    max_examples=-(-N_OPERATIONS // 100) or 12,
    stateful_step_count=100 if N_OPERATIONS else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSessions = Sessions.TestCase
if N_OPERATIONS:
    TestSessions = pytest.mark.timeout(0)(TestSessions)
