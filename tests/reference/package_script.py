"""A script as people write it for the `rwkv` package, run with the package or with `chatrwkv.compat`.

`python package_script.py JOBS.json` uses the package; `run(jobs, compat)` the module that it is given. Each
model leaves NAME.npz beside the jobs.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch


def run(jobs: Path, library: Any, suffix: str) -> None:
    wanted = json.loads(jobs.read_text())
    for name in wanted["names"]:
        model = library.RWKV(model=str(jobs.parent / name), strategy="cpu fp32")
        found = talk(model, wanted["ids"]) | write(library, model, wanted["tokenizer"])
        np.savez(jobs.parent / f"{name}.{suffix}.npz", allow_pickle=False, **found)
    if wanted["texts"]:
        text = {"coded": words(library.PIPELINE(None, "rwkv_vocab_v20230424"), wanted["texts"])}
        (jobs.parent / f"{suffix}.json").write_text(json.dumps(text))


def talk(model: Any, ids: list[int]) -> dict[str, np.ndarray]:
    """Logits and states of one token, of several, from states that are not symmetric, and of a fork."""
    logits, state = model.forward(ids[:5], None)
    noise = torch.Generator().manual_seed(3)
    for i, tensor in enumerate(state):
        state[i] = tensor + 0.3 * torch.rand(tensor.shape, generator=noise)
    given, shallow, before = state, list(state), [tensor.clone() for tensor in state]
    fork = copy.deepcopy(state)
    every, state = model.forward(ids[5:20], state, full_output=True)
    last, forked = model.forward(ids[5:20], fork)
    one, forked = model.forward([ids[20]], forked)
    found = {f"state{i}": tensor.numpy() for i, tensor in enumerate(state)}
    found |= {f"forked{i}": tensor.numpy() for i, tensor in enumerate(forked)}
    unchanged = all(torch.equal(a, b) for a, b in zip(before, shallow, strict=True))
    lists = np.array([given is state, fork is forked, unchanged])
    return found | {"logits": logits.numpy(), "every": every.numpy(), "last": last.numpy(),
                    "one": one.numpy(), "lists": lists}  # fmt: skip


def write(library: Any, model: Any, tokenizer: str) -> dict[str, np.ndarray]:
    """Text and draws from seeds."""
    pipeline = library.PIPELINE(model, tokenizer)
    pieces: list[str] = []
    args = library.PIPELINE_ARGS(
        temperature=1.2, top_p=0.8, top_k=30, token_ban=[3], token_stop=[7], chunk_len=4
    )
    np.random.seed(11)  # noqa: NPY002 -- what such scripts do
    text = pipeline.generate("0 abcabc", token_count=40, args=args, callback=pieces.append)
    logits, state = model.forward(pipeline.encode("abc"), None)
    more = pipeline.generate("b", token_count=10, state=state)
    asked = [(1.0, 0.85, 0), (0.7, 0.5, 0), (1.5, 0.95, 5), (0, 0.85, 0), (1.0, 0.0, 0), (2.0, 0.999, 0)]
    drawn = [pipeline.sample_logits(logits * 3, *each) for each in asked for _ in range(20)]
    return {"text": np.array(text), "pieces": np.array(pieces), "more": np.array(more),
            "drawn": np.array(drawn)}  # fmt: skip


def words(pipeline: Any, texts: list[str]) -> list[Any]:
    """Ids, text back, text of a part, and the refined text."""
    ids = [pipeline.encode(text) for text in texts]
    return [[i, pipeline.decode(i), pipeline.decode(i[:-1]), pipeline.decode([*i, 0]), pipeline.refine_context(t)]
            for i, t in zip(ids, texts, strict=True)]  # fmt: skip


if __name__ == "__main__":
    from rwkv.model import RWKV
    from rwkv.utils import PIPELINE, PIPELINE_ARGS

    package = SimpleNamespace(RWKV=RWKV, PIPELINE=PIPELINE, PIPELINE_ARGS=PIPELINE_ARGS)
    run(Path(sys.argv[1]), package, "package")
