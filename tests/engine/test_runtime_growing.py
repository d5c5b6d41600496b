"""The runtime over states that grow: packed replies, forks and kept states of generations with a past."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file

from chatrwkv.engine.model import load_model
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.replying import HELLO, alone, ask, mind, read_slowly, together

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(2, 64, 32, 257)
NETS: dict[str, Any] = {
    # a prompt and a reply are longer than this context, so rows are read again in the middle of a batch
    "1": partial(checkpoints.rwkv1, SIZE, ctx_len=24, tiny_heads=1),
    "2": partial(checkpoints.rwkv23, SIZE, is_v2=True, copy_width=16),
    "4b": partial(checkpoints.rwkv4b, SIZE),
    "7b": partial(checkpoints.rwkv7b, SIZE),
}


@pytest.mark.parametrize("name", NETS)
def test_packed_replies_and_forks_are_as_if_alone(name: str, tmp_path: Path):
    """Rows of one batch have pasts of every length; one that is cut or shared would change another's text."""
    save_file({n: t.contiguous() for n, t in NETS[name]().items()}, tmp_path / "model.safetensors")
    lines = [f"{byte + 1} {bytes([byte])!r} 1" for byte in range(256)]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = load_model(tmp_path, device="cpu", dtype="fp32")
    root = read_slowly(made, made.tokenizer.encode(HELLO))
    before = mind(root)
    asked = [ask(f" {i}" * (i % 5), on=root, seed=i, max_tokens=5 + 3 * (i % 4)) for i in range(6)]
    asked += [ask(seed=9, max_tokens=12), ask("a much longer beginning of a chat", seed=3, max_tokens=4)]
    batch = together(made, asked)
    assert mind(root) == before
    for request, outlet in zip(asked, batch, strict=True):
        other = alone(made, request).finished
        assert outlet.finished.token_ids == other.token_ids
        kept, want = outlet.finished.snapshot, other.snapshot
        assert kept is not None
        assert want is not None
        assert made.adopt(kept) is kept
        for key, tensor in want.state.tensors.items():
            torch.testing.assert_close(kept.state.tensors[key], tensor, rtol=1e-4, atol=1e-4)
