"""Weights that rest in main memory, brought to a device one part ahead of their use.

Two places on the device are filled in turns: while the parts of one are computed with, the next part is on its
way to the other, on a lane of its own. The host only queues and never waits, and memory stays at two parts
however far it runs ahead.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

Event = TypeVar("Event")

_ALIGNMENT = 256  # as the allocator of torch: what loads 16 bytes at once finds them aligned


class Lanes(Protocol[Event]):
    """Two queues of a device: computing and copying."""

    def computed(self) -> Event:
        """When all computing that is queued so far is done."""
        ...

    def copy(self, work: Callable[[], None], after: Event) -> Event:
        """Queue copies that begin after `after`; when they are done."""
        ...

    def wait(self, copied: Event) -> None:
        """Let all later computing begin after `copied`."""
        ...


class CudaLanes:
    """The current stream of a CUDA device, and one for copies."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch has no types here

    def computed(self) -> torch.cuda.Event:
        """See `Lanes`."""
        event: torch.cuda.Event = torch.cuda.current_stream(self._device).record_event()
        return event

    def copy(self, work: Callable[[], None], after: torch.cuda.Event) -> torch.cuda.Event:
        """See `Lanes`."""
        with torch.cuda.stream(self._aside):
            self._aside.wait_event(after)
            work()
            event: torch.cuda.Event = self._aside.record_event()
        return event

    def wait(self, copied: torch.cuda.Event) -> None:
        """See `Lanes`."""
        torch.cuda.current_stream(self._device).wait_event(copied)


class Belt(Generic[Event]):
    """Parts that are used in the order of their numbers, again and again.

    Args:
        parts: tensors in main memory, pinned if copies are not to wait, in dataclasses, tuples and dictionaries.
        device: where they are used.
        lanes: of that device.
    """

    def __init__(self, parts: Sequence[Any], device: torch.device, lanes: Lanes[Event]) -> None:
        self._parts = parts
        self._lanes = lanes
        n_bytes = max(_n_bytes(part) for part in parts)
        with torch.inference_mode(mode=False):  # else they could not be written outside of it
            self._rooms = [torch.empty(n_bytes, dtype=torch.uint8, device=device) for _ in range(2)]
        self._views: dict[tuple[int, int], Any] = {}
        self._held: list[int | None] = [None, None]
        self._copied: list[Event | None] = [None, None]
        self._last = 1

    def take(self, number: int) -> Any:
        """Part `number` on the device, until the next one is taken; the one behind it is sent meanwhile."""
        free = self._lanes.computed()
        mine = self._held.index(number) if number in self._held else 1 - self._last
        self._send(number, mine, free)
        copied = self._copied[mine]
        assert copied is not None, "it was sent"
        self._lanes.wait(copied)
        self._send((number + 1) % len(self._parts), 1 - mine, free)
        self._last = mine
        return self._view(mine, number)

    def _send(self, number: int, room: int, free: Event) -> None:
        if number in self._held:
            return
        self._held[room] = number
        source, target = _tensors(self._parts[number]), _tensors(self._view(room, number))

        def work() -> None:
            for to, tensor in zip(target, source, strict=True):
                to.copy_(tensor, non_blocking=True)

        self._copied[room] = self._lanes.copy(work, free)

    def _view(self, room: int, number: int) -> Any:
        """The place of a part in a room, as tensors of the part's shapes."""
        if (room, number) not in self._views:
            self._views[room, number] = _laid_out(self._parts[number], self._rooms[room])
        return self._views[room, number]


def each_tensor(part: Any, change: Callable[[Any], Any], leaves: tuple[type, ...] = (torch.Tensor,)) -> Any:
    """The same dataclasses, tuples and dictionaries, with every tensor changed, or what else counts as a leaf."""

    def changed(one: Any) -> Any:
        return each_tensor(one, change, leaves)

    if isinstance(part, leaves):
        return change(part)
    if is_dataclass(part) and not isinstance(part, type):
        return replace(part, **{f.name: changed(getattr(part, f.name)) for f in fields(part)})
    if isinstance(part, dict):
        return {name: changed(value) for name, value in part.items()}
    return tuple(map(changed, part)) if isinstance(part, tuple) else part


def _tensors(part: Any) -> list[Tensor]:
    found: list[Tensor] = []
    each_tensor(part, found.append)
    return found


def _padded(tensor: Tensor) -> int:
    return -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT


def _n_bytes(part: Any) -> int:
    return sum(map(_padded, _tensors(part)))


def _laid_out(part: Any, room: Tensor) -> Any:
    start = 0

    def place(tensor: Tensor) -> Tensor:
        nonlocal start
        flat = room[start : start + tensor.nbytes].view(tensor.dtype)
        start += _padded(tensor)
        return flat.as_strided(tensor.shape, tensor.stride())  # a weight may lie column by column

    return each_tensor(part, place)
