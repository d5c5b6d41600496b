"""Where the next tokens of replies are drawn: where the logits are if a kernel can do it, else on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch import Tensor

    from chatrwkv.engine.cuda_draw import DeviceDraws
    from chatrwkv.engine.generate import Reply
    from chatrwkv.engine.sampling import Granted


class Drawing:
    """The draws of one model's replies, asked for after a step and answered before the next.

    Args:
        device: where the model gives its logits.
        n_vocab: V.
    """

    def __init__(self, device: torch.device, n_vocab: int) -> None:
        self._device = device
        self._n_vocab = n_vocab
        self.on_device: DeviceDraws[Reply] | None = None
        """None: the host draws. On a GPU it is there as soon as its kernel is."""

    def kept(self, logits: Tensor) -> Tensor:
        """The logits (B, V) of a step, where they will be drawn from."""
        if self.on_device is None and self._device.type == "cuda":
            from chatrwkv.engine.cuda_draw import (
                DeviceDraws,
            )  # nothing of CUDA is loaded on a machine without

            self.on_device = DeviceDraws.ready(self._device, self._n_vocab)
        return logits.cpu() if self.on_device is None else logits

    def ask(self, replies: Iterable[Reply]) -> None:
        """Queue the draws that a device can do, while it is still busy with the step."""
        if self.on_device is not None:
            wishes = {reply: wish for reply in replies if (wish := reply.wish()) is not None}
            self.on_device.queue(wishes)

    def answers(self) -> dict[Reply, Granted]:
        """Of what was asked for, all that a device could tell; the host draws for the others."""
        return {} if self.on_device is None else self.on_device.collect()
