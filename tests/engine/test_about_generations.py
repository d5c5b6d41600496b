"""The table of generations says what the code does."""

from __future__ import annotations

import pytest

from chatrwkv.engine.generations import ABOUT, numbers, rows, state_size
from chatrwkv.engine.spec import Generation
from chatrwkv.engine.tokens.choice import KINDS
from tests.checkpoints import Size
from tests.engine.generations import CASES, model_from, spec_of


@pytest.mark.parametrize("name", CASES)
def test_size_of_a_state_is_known_without_the_weights(name: str):
    """The formula that is shown gives, to the byte, what the model allocates, blank and after five tokens."""
    tensors = CASES[name].make(Size(3, 64, 32, 50), 0)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    size = state_size(spec_of(tensors), shapes)
    model = model_from(tensors)
    assert model.blank().n_bytes == size.n_bytes
    scratch = model.blank().thaw()
    model.scan([[1, 2, 3, 4, 5]], scratch)
    assert scratch.freeze(0).n_bytes == size.n_bytes + 5 * size.per_token


def test_every_generation_is_in_the_table_once_and_in_order():
    assert list(ABOUT) == list(Generation)
    assert all(all(row.values()) for row in rows())
    assert all(set(about.tokenizers) <= set(KINDS) for about in ABOUT.values())


def test_formulas_are_sums_of_products():
    assert numbers("2·L·C + L·A", {"L": 3, "C": 5, "A": 7}) == 51
    assert numbers("", {}) == 0
