"""However tokens are cut into scans and steps, every generation ends where one scan ends."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.generations import CASES, N_VOCAB, canonical, model_of, worst

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# each piece with whether it is read token by token
pieces = st.lists(
    st.tuples(st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=40), st.booleans()),
    min_size=1,
    max_size=5,
)


@cache
def model(name: str) -> Any:
    return model_of(name)


def difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    a, b = canonical(a), canonical(b)
    assert {name: t.shape for name, t in a.items()} == {name: t.shape for name, t in b.items()}
    scales = {name: max(1.0, float(t.abs().max())) if t.numel() else 1.0 for name, t in a.items()}
    return max(worst(t, b[name]) / scales[name] for name, t in a.items() if t.numel())


@pytest.mark.parametrize("name", CASES)
@given(cut=pieces)
@settings(max_examples=12)
def test_any_split_into_scans_and_steps_is_one_scan(name: str, cut: list[tuple[list[int], bool]]):
    whole = model(name).blank().thaw()
    want = model(name).scan([[token_id for ids, _ in cut for token_id in ids]], whole, all_logits=True)[0]
    scratch, found = model(name).blank().thaw(), []
    for ids, is_stepped in cut:
        if is_stepped:
            found += [model(name).step([token_id], scratch) for token_id in ids]
        else:
            found += model(name).scan([ids], scratch, all_logits=True)
    assert worst(torch.cat(found), want) <= 5e-5
    assert difference(scratch.tensors, whole.tensors) <= 5e-5
