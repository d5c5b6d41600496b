"""The recurrences alone, at the ends of their ranges."""

from __future__ import annotations

import pytest
import torch

from chatrwkv.engine.ops import NOTHING_4, wkv4_scan, wkv4_step, wkv6_scan, wkv6_step_


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("raw", [-8.0, -1.0, 1.0, 3.0, 6.0, 20.0])
def test_wkv6_survives_every_decay(raw):
    """exp(-cum) overflows float32 after a few strong decays; w = exp(-exp(raw)) goes from 1 to 0."""
    shape = (2, 75, 2, 16)
    r, k, v = (noise(*shape, seed=i) for i in range(3))
    u, start = noise(2, 16, seed=4), noise(2, 2, 16, 16, seed=5)
    log_decay = -(raw + 0.5 * noise(*shape, seed=6)).exp()
    s = start.double().clone()
    want = []
    for t in range(shape[1]):
        r_t, decay, k_t, v_t = (x[:, t].double() for x in (r, log_decay.exp(), k, v))
        want.append(wkv6_step_(r_t, decay, k_t, v_t, u.double(), s))
    y, end = wkv6_scan(r, log_decay, k, v, u, start)
    scale = float(torch.stack(want).abs().max())
    assert float((y - torch.stack(want, 1)).abs().max()) <= 1e-6 * scale
    assert float((end - s).abs().max()) <= 1e-6 * scale


@pytest.mark.parametrize("size", [0.1, 5.0, 60.0, 300.0])
def test_wkv4_survives_every_key(size):
    """Keys are exponents: exp(300) is beyond float32, and so is what follows a key of -300."""
    k, v, u = size * noise(2, 75, 16), noise(2, 75, 16, seed=1), noise(16, seed=2)
    w = -(2 * noise(16, seed=3)).exp()
    blank = (torch.zeros(2, 16), torch.zeros(2, 16), torch.full((2, 16), NOTHING_4))
    sums = tuple(x.double() for x in blank)
    want = []
    for t in range(75):
        aa, bb, pp = sums
        now = u.double() + k[:, t].double()
        q = torch.maximum(pp, now)
        e1, e2 = (pp - q).exp(), (now - q).exp()
        want.append((e1 * aa + e2 * v[:, t]) / (e1 * bb + e2))
        sums = wkv4_step(k[:, t].double(), v[:, t].double(), w.double(), aa, bb, pp)
    y, end = wkv4_scan(k, v, w, u, blank)
    assert torch.isfinite(y).all()
    assert float((y - torch.stack(want, 1)).abs().max()) <= 1e-5 * max(1.0, size)
    assert float((end[0] / end[1] - sums[0] / sums[1]).abs().max()) <= 1e-5 * max(1.0, size)
