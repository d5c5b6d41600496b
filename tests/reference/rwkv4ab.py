"""RWKV-4a and 4b token by token in float64 NumPy, written from the equations."""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv4 import Reference4


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


class Reference4a(Reference4):
    """Linear attention over everything read, as a sum that is written out each time."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.block = int(next(n for n in self.w if "tiny_q" in n).split(".")[1])
        self.read = []

    def step(self, token_id):
        x = self.norm("blocks.0.ln0", self.w["emb.weight"][token_id])
        for i, state in enumerate(self.state):
            h = self.norm(f"blocks.{i}.ln1", x)
            x = x + self.att(f"blocks.{i}.att.", h, state)
            h = self.norm(f"blocks.{i}.ln2", x)
            x = x + self.ffn(f"blocks.{i}.ffn.", h, state[3])
            state[3] = h
            if i == self.block:
                x = x + self.tiny(f"blocks.{i}.tiny_", x, self.w["emb.weight"][token_id])
        return self.w["head.weight"] @ self.norm("ln_out", x)

    def tiny(self, tiny, x, e):
        z = self.norm(tiny + "ln", x)
        q = self.w[tiny + "q.weight"] @ z
        self.read.append((self.w[tiny + "k.weight"] @ z, self.w[tiny + "v.weight"] @ e))
        return sum((q @ k) * v for k, v in self.read) / np.sqrt(len(q))

    @property
    def past(self):
        return {"tiny": np.stack([np.outer(k, v) for k, v in self.read]).sum(0)[None]}


class Reference4b(Reference4):
    """Softmax attention of one head beside the time mixing."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.read = {}

    def att(self, att, h, state):
        q, k, v = (
            self.w[f"{att}{j}{j}.weight"] @ self.mixed(att, j + j, h, state[0]) for j in ("q", "k", "v")
        )
        keys, values = self.read.setdefault(att, ([], []))
        keys.append(k)
        values.append(v)
        read = softmax(np.stack(keys) @ q / np.sqrt(len(q))) @ np.stack(values)
        return super().att(att, h, state) + self.w[att + "oo.weight"] @ read

    @property
    def past(self):
        keys, values = zip(*(self.read[f"blocks.{i}.att."] for i in range(self.n_layer)), strict=True)
        return {"past_kk": np.array(keys), "past_vv": np.array(values)}
