"""What only RWKV-7 has: unused tensors in block 0, and chunked prefill that must not drift."""

from __future__ import annotations

import torch

from chatrwkv.engine.ops import wkv7_scan, wkv7_step_
from tests import checkpoints
from tests.checkpoints import Size
from tests.engine.generations import ids_of, model_from, model_of, step_all, worst


def test_v0_v1_v2_of_block_0_change_nothing():
    """G1 files carry them, World files do not; the code must not touch them."""
    tensors, ids = checkpoints.rwkv7(), ids_of(20)
    extra = {f"blocks.0.att.v{i}": torch.full((1, 1), float("inf")) for i in range(3)}
    assert torch.equal(step_all(model_from(tensors), ids)[0], step_all(model_from(tensors | extra), ids)[0])


def test_a_long_context_does_not_drift():
    """Errors of the chunked form must not add up over many chunks: 2,000 tokens against the token loop."""
    model, ids = model_of("7", Size(2, 64, 64, 50), seed=5), ids_of(2000)
    scratch = model.blank().thaw()
    for at in range(0, 2000, 256):
        logits = model.scan([ids[at : at + 256]], scratch)
    stepped, after_steps = step_all(model, ids)
    assert worst(logits[0], stepped[-1]) <= 1e-4
    assert worst(scratch.tensors["wkv"], after_steps.tensors["wkv"]) <= 1e-4


def test_the_strongest_decay_stays_exact_in_every_chunk_size():
    """1/decay^n enters the products: at the bound of 0.545 that is 2.7e8 for 32 tokens, 7e16 for 64."""
    generator = torch.Generator().manual_seed(3)
    shape = (1, 128, 2, 16)
    r, k, v, a = (torch.randn(shape, generator=generator) for _ in range(4))
    a = torch.nn.functional.normalize(a, dim=-1)
    b = -a * torch.rand(shape, generator=generator)
    log_decay = torch.full(shape, -0.606531)
    start = torch.randn(1, 2, 16, 16, generator=generator)
    want = []
    s = start.double().clone()
    for t in range(128):
        r_t, decay, k_t, v_t, a_t, b_t = (x[:, t].double() for x in (r, log_decay.exp(), k, v, a, b))
        want.append(wkv7_step_(r_t, decay, k_t, v_t, a_t, b_t, s))
    for chunk in (1, 5, 16, 32, 64):
        y, end = wkv7_scan(r, log_decay, k, v, a, b, start, chunk)
        assert worst(y, torch.stack(want, 1)) <= 5e-5, chunk
        assert worst(end, s) <= 5e-5, chunk
