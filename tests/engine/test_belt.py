"""Streamed weights: what is computed with is what was meant, in any order that two queues of a GPU may run."""

from __future__ import annotations

from collections import deque
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest
import torch

from chatrwkv.engine.coarse import Coarse
from chatrwkv.engine.models import split as split_module
from chatrwkv.engine.models.belt import Belt
from tests.engine.generations import ids_of, model_of, worst
from tests.engine.test_placement import SIZE, pretended

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")


class Mark:
    """An event: reached once everything before it in its queue is done."""

    def __init__(self) -> None:
        self.is_reached = False

    def reach(self) -> None:
        self.is_reached = True


class Used:
    """What computing saw of the parts it was given."""

    def __init__(self, lanes: RandomLanes) -> None:
        self._lanes = lanes
        self.was_right: list[bool] = []

    def use(self, number: int, tensors: list[torch.Tensor]) -> None:
        """Queue a look at a part whose every element is its number."""
        self._lanes.computing.append((partial(self._look, number, tensors), None))

    def _look(self, number: int, tensors: list[torch.Tensor]) -> None:
        self.was_right.append(all(bool((tensor == number).all()) for tensor in tensors))


class RandomLanes:
    """Two queues that run when they like, each in its own order; a wait is all that holds one back."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.computing: deque[tuple[Callable[[], None], Mark | None]] = deque()
        self.copying: deque[tuple[Callable[[], None], Mark | None]] = deque()
        self.n_copied = 0

    def computed(self) -> Mark:
        return self._marked(self.computing)

    def copy(self, work: Callable[[], None], after: Mark) -> Mark:
        self.n_copied += 1
        self.copying.append((work, after))
        return self._marked(self.copying)

    def wait(self, copied: Mark) -> None:
        self.computing.append((lambda: None, copied))

    def _marked(self, queue: deque[tuple[Callable[[], None], Mark | None]]) -> Mark:
        mark = Mark()
        queue.append((mark.reach, None))
        return mark

    def run(self) -> None:
        """Until both are empty; one that waits for ever fails the test."""
        while self.computing or self.copying:
            ready = [
                q for q in (self.computing, self.copying) if q and (q[0][1] is None or q[0][1].is_reached)
            ]
            assert ready, "each waits for the other"
            # Mostly the same queue for long, so that one runs far ahead of the other.
            queue = (
                ready[0]
                if len(ready) == 1 or self._random.random() < self._random.choice([0.1, 0.9])
                else ready[1]
            )
            queue.popleft()[0]()


def part(number: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Of its own shapes; one matrix lies column by column."""
    columns = torch.full((3 + number, 5), float(number)).t().contiguous().t()
    return torch.full((4 * number + 1,), number, dtype=torch.int8), {"w": columns}


@pytest.mark.parametrize("n_parts", [1, 2, 3, 4, 7])
def test_every_part_is_whole_while_it_is_used(n_parts: int):
    """A copy that begins before the computing with what it overwrites is done shows as another part's number."""
    for seed in range(40):
        lanes, parts = RandomLanes(seed), [part(i) for i in range(n_parts)]
        belt, used = Belt(parts, CPU, lanes), Used(lanes)
        for _ in range(3):
            for i in range(n_parts):
                vector, more = belt.take(i)
                assert (vector.shape, more["w"].stride()) == (parts[i][0].shape, parts[i][1]["w"].stride())
                used.use(i, [vector, more["w"]])
        lanes.run()
        assert used.was_right == [True] * (3 * n_parts)


@pytest.mark.parametrize(("n_parts", "n_copies"), [(1, 1), (2, 2), (3, 3 * 5 + 1)])
def test_parts_that_fit_stay_and_others_are_sent_once_a_pass(n_parts: int, n_copies: int):
    """Sending what is there already would cost its size for every token."""
    lanes = RandomLanes(0)
    belt = Belt([part(i) for i in range(n_parts)], CPU, lanes)
    for _ in range(5):
        for i in range(n_parts):
            belt.take(i)
    assert lanes.n_copied == n_copies


def test_a_pass_that_stopped_in_the_middle_spoils_no_later_one():
    """After an error the next pass begins at the first layer again."""
    for stop in range(5):
        lanes = RandomLanes(stop)
        belt, used = Belt([part(i) for i in range(5)], CPU, lanes), Used(lanes)
        for i in (*range(stop), *range(5)):
            used.use(i, [belt.take(i)[0]])
        lanes.run()
        assert all(used.was_right)


def test_the_host_may_run_far_ahead_in_the_memory_of_two_parts():
    lanes, parts = RandomLanes(1), [part(i) for i in range(6)]
    belt = Belt(parts, CPU, lanes)
    places = {belt.take(i % 6)[0].data_ptr() for i in range(600)}
    assert len(places) == 2
    lanes.run()


def test_coarse_matrices_are_sent_whole():
    exact = torch.randn(6, 8)
    parts = [
        (Coarse.of(exact * i, kind, torch.float32),) for i, kind in ((1, "int8"), (2, "int4"), (3, "int8"))
    ]
    lanes = RandomLanes(0)
    belt = Belt(parts, CPU, lanes)
    for i in range(3):
        (arrived,) = belt.take(i)
        lanes.run()
        assert torch.equal(arrived.dense(), parts[i][0].dense())


@pytest.mark.parametrize("name", ["4", "6", "7"])
@pytest.mark.parametrize("strategy", ["cuda fp32 *2+", "cuda fp32 *0+", "cuda fp32 *3+"])
def test_a_model_on_the_belt_is_the_whole_one(name: str, strategy: str, monkeypatch: pytest.MonkeyPatch):
    """Scans and steps in turn, the head streamed as well; the lanes do at once what they are asked."""

    class AtOnce(RandomLanes):
        def __init__(self, _: torch.device) -> None:
            super().__init__(0)

        def wait(self, copied: Mark) -> None:
            self.run()
            assert copied.is_reached

    taken, true = [], Belt.take

    def noted(self: Belt[Mark], number: int) -> object:
        taken.append(number)
        return true(self, number)

    monkeypatch.setattr(Belt, "take", noted)
    monkeypatch.setattr(split_module, "CudaLanes", AtOnce)
    monkeypatch.setattr(split_module, "_device", lambda _: CPU)
    monkeypatch.setattr(split_module, "_copies_aside", lambda _: True)
    whole, parts = model_of(name, SIZE), pretended(model_of(name, SIZE), strategy)
    scratches = [model.blank().thaw() for model in (whole, parts)]
    for ids in (ids_of(9), [3], ids_of(20, seed=2), [5], [6]):
        found = [m.scan([ids], s) for m, s in zip((whole, parts), scratches, strict=True)]
        assert worst(found[0], found[1]) <= 1e-5
    assert len(taken) == 5 * sum(slot.streamed for slot in parts.plan.slots)
