"""Replayed steps: whose rows are in the graph's memory, and when the eager step serves. The recorder is the host."""

from __future__ import annotations

import ctypes
from random import Random

import pytest
import torch

from chatrwkv.engine.cuda_selftest import step_models
from chatrwkv.engine.model import _family
from chatrwkv.engine.models import graphed as graphed_module
from chatrwkv.engine.models.base import Recurrent
from chatrwkv.engine.models.graphed import Graphed, can_be_graphed
from chatrwkv.engine.models.rwkv7 import RWKV7
from chatrwkv.engine.spec import detect
from chatrwkv.engine.state import Scratch
from chatrwkv.engine.weights import prepare
from tests.checkpoints import Size, rwkv4, rwkv5, rwkv6, rwkv7

MAKERS = [rwkv4, rwkv5, rwkv6, rwkv7]
V = 50


def model_of(make):
    tensors = make(Size(2, 64, 32, V))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    prepared = {n: prepare(n, t, torch.device("cpu"), torch.float32) for n, t in tensors.items()}
    return _family(spec.generation)(spec, prepared)


class Recorder:
    """As a graph does, it runs the same work on the same memory and leaves the result where it was."""

    def __init__(self):
        self.n_recorded = self.n_replayed = 0

    def __call__(self, work):
        self.n_recorded += 1
        result = work()

        def replay():
            self.n_replayed += 1
            result.copy_(work())

        return replay, result


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def pair(request):
    """A model, and the same with replayed steps."""
    model = model_of(request.param)
    recorder = Recorder()
    return model, Graphed(model, recorder), recorder


def equal(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def assert_same(mine, eager):
    for name, tensor in eager.tensors.items():
        equal(mine.tensors[name], tensor)


def test_conversations_in_turn_keep_apart(pair):
    """Rows of one scratch lie in the graph's memory when another scratch needs it; sizes share nothing."""
    model, graphed, recorder = pair
    random = Random(5)
    sizes = (1, 2, 1, 3, 4)
    eager, mine = ([Scratch(model.blank_rows(n)) for n in sizes] for _ in range(2))
    for _ in range(40):
        at = random.randrange(len(sizes))
        ids = [random.randrange(V) for _ in range(sizes[at])]
        equal(graphed.step(ids, mine[at]), model.step(ids, eager[at]))
    for found, wanted in zip(mine, eager, strict=True):
        assert_same(found, wanted)
    assert recorder.n_recorded == 3
    assert recorder.n_replayed == 3 * 2 + 40


def test_rows_that_come_and_go_are_copied_in(pair):
    model, graphed, _ = pair
    eager, mine = (Scratch(model.blank_rows(3)) for _ in range(2))
    n = 3
    for turn in range(12):
        ids = [(turn * 3 + row) % V for row in range(n)]
        equal(graphed.step(ids, mine), model.step(ids, eager))
        if turn == 3:
            for scratch in (mine, eager):
                scratch.drop([1])
            n -= 1
        if turn == 6:
            for one, scratch in ((graphed, mine), (model, eager)):
                more = Scratch(one.blank_rows(2))
                one.step([7, 8], more)
                scratch.append(more)
            n += 2
        if turn == 9:
            for one, scratch in ((graphed, mine), (model, eager)):
                one.scan([[1, 2, 3]] * n, scratch)
    assert_same(mine, eager)


def test_a_state_at_rest_is_out_of_reach(pair):
    """A fork that shares the graph's memory would change with every later token."""
    model, graphed, _ = pair
    scratch = Scratch(model.blank_rows(2))
    graphed.step([1, 2], scratch)
    resting = scratch.freeze(0)
    before = {name: tensor.clone() for name, tensor in resting.tensors.items()}
    logits = graphed.step([3, 4], scratch)
    kept = logits.clone()
    graphed.step([5, 6], scratch)
    assert all(torch.equal(resting.tensors[name], before[name]) for name in before)
    assert torch.equal(logits, kept)


def test_more_rows_than_the_largest_graph_go_without(pair):
    model, graphed, recorder = pair
    eager, mine = (Scratch(model.blank_rows(17)) for _ in range(2))
    equal(graphed.step(list(range(17)), mine), model.step(list(range(17)), eager))
    assert recorder.n_recorded == 0


def test_rows_stay_where_they_are_from_step_to_step(pair):
    """Copying 35 MB in and out for each token would cost more than the launches saved."""
    model, graphed, _ = pair
    scratch = Scratch(model.blank_rows(1))
    graphed.step([1], scratch)
    places = {name: tensor.data_ptr() for name, tensor in scratch.tensors.items()}
    tensors = dict(scratch.tensors)
    graphed.step([2], scratch)
    assert places == {name: tensor.data_ptr() for name, tensor in scratch.tensors.items()}
    assert all(scratch.tensors[name] is tensor for name, tensor in tensors.items())


@pytest.mark.parametrize("fault", ["refused", "wrong logits", "wrong state"])
def test_a_graph_that_is_refused_or_wrong_is_never_used(fault):
    model = model_of(rwkv7)
    n_asked = []

    def record(work):
        n_asked.append(1)
        if fault == "refused":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        result = work()
        if fault == "wrong state":
            return lambda: result.copy_(model.step([1], Scratch(model.blank_rows(1)))), result
        return lambda: (work(), result.zero_()), result

    graphed = Graphed(model, record)
    assert graphed.headless().weights.head.shape == (64, 64)
    eager, mine = (Scratch(model.blank_rows(1)) for _ in range(2))
    for token_id in (3, 4):
        equal(graphed.step([token_id], mine), model.step([token_id], eager))
    assert len(n_asked) == 1, "asked once, not for every token"
    assert ("capturing" if fault == "refused" else "differs") in graphed.problem
    assert graphed.line.startswith("torch operations one by one (")


def test_a_step_that_makes_a_new_state_is_not_replayed():
    """The replay would write into memory that nobody reads."""

    class Renewing(RWKV7):
        def step(self, token_ids, scratch):
            logits = super().step(token_ids, scratch)
            scratch.tensors = {name: tensor.clone() for name, tensor in scratch.tensors.items()}
            return logits

    model = model_of(rwkv7)
    model.__class__ = Renewing
    graphed = Graphed(model, Recorder())
    graphed.step([1], Scratch(model.blank_rows(1)))
    assert "new state" in graphed.problem


# -- the fused step, its kernels on the host --------------------------------------------------------------------


@pytest.fixture
def fused(shim, monkeypatch):
    """A model in fp16, the same with replayed steps, and the names of the kernels that were launched."""
    shim.shim_backwards(0)
    tensors = rwkv7(Size(2, 32, 16, V, 64))
    spec = detect({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    models = [step_models(spec, tensors, torch.float16, "", torch.device("cpu"))[0] for _ in range(2)]
    launched = []

    def launch(kernel, call, number_type, stream):
        launched.append((kernel, getattr(call, "is_skipping", None)))
        return getattr(shim, f"rwkv_cuda_{kernel}")(ctypes.byref(call), number_type, stream)

    monkeypatch.setattr(graphed_module, "_launcher", lambda _: launch)
    times = iter([2.0, 1.0] * 9)
    return models[0], Graphed(models[1], Recorder(), lambda _: next(times)), launched


def near(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-2 * float(wanted.abs().max()))


def test_the_fused_step_is_recorded_where_it_can_be(fused):
    """The faster of its two forms, which is here the one that skips."""
    model, graphed, launched = fused
    eager, mine = ([Scratch(model.blank_rows(n)) for n in (1, 3)] for _ in range(2))
    for turn in range(3):
        for one, other in zip(mine, eager, strict=True):
            ids = [turn + row for row in range(one.n_rows)]
            near(graphed.step(ids, one), model.step(ids, other))
    for one, other in zip(mine, eager, strict=True):
        for name, tensor in other.tensors.items():
            near(one.tensors[name], tensor)
    assert graphed.line == "fused kernels in one CUDA graph"
    assert launched[-1][0] == "products7"
    assert [skips for kernel, skips in launched if kernel == "values7"][-2:] == [1, 1]
    assert graphed.weights is graphed._model.weights


def test_kernels_that_come_later_take_over(fused, monkeypatch):
    """nvcc works in the background while the first reply is written; its conversation goes on in the new graph."""
    model, graphed, launched = fused
    eager, mine = (Scratch(model.blank_rows(1)) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(graphed_module, "_launcher", lambda _: None)
        near(graphed.step([1], mine), model.step([1], eager))
        assert graphed.line == "torch operations in one CUDA graph (the fused kernels are not ready)"
        assert not launched
    for token_id in (2, 3):
        near(graphed.step([token_id], mine), model.step([token_id], eager))
    assert launched
    assert graphed.line == "fused kernels in one CUDA graph"


@pytest.mark.parametrize("fault", ["refused", "wrong"])
def test_torch_operations_are_recorded_where_fused_kernels_fail(fused, monkeypatch, fault):
    model, graphed, launched = fused
    right = graphed_module._launcher(model.device)
    assert right is not None

    def launch(kernel, *rest):
        if kernel == "token7":
            return 700 if fault == "refused" else 0
        return right(kernel, *rest)

    monkeypatch.setattr(graphed_module, "_launcher", lambda _: launch)
    eager, mine = (Scratch(model.blank_rows(2)) for _ in range(2))
    for turn in range(2):
        equal(graphed.step([turn, 3], mine), model.step([turn, 3], eager))
    found = "CUDA error 700" if fault == "refused" else "differs"
    assert graphed.line.startswith("torch operations in one CUDA graph (")
    assert found in graphed.line
    n_launched = len(launched)
    graphed.step([1, 2], mine)
    assert len(launched) == n_launched, "tried again"


def test_other_models_are_recorded_as_they_are(monkeypatch):
    monkeypatch.setattr(graphed_module, "_launcher", lambda _: lambda *_: pytest.fail("launched"))
    for make, reason in ((rwkv6, "RWKV-6"), (rwkv7, "float32 weights")):
        graphed = Graphed(model_of(make), Recorder())
        graphed.step([1], Scratch(graphed.blank_rows(1)))
        assert f"there are no fused kernels for {reason}" in graphed.line


def test_only_steps_on_a_gpu_are_recorded(monkeypatch):
    monkeypatch.delenv("CHATRWKV_NATIVE", raising=False)
    model = model_of(rwkv7)
    assert not can_be_graphed(model)
    model.device = torch.device("cuda", 0)
    assert can_be_graphed(model)
    with monkeypatch.context() as patch:
        patch.setenv("CHATRWKV_NATIVE", "0")
        assert not can_be_graphed(model)
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "step", Recurrent.step)
        assert not can_be_graphed(model)
