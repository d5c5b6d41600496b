"""RWKV-2 and 3 token by token in float64 NumPy, written from the equations; shares nothing with the engine.

Numerator and denominator as they stand; the copy head keeps a plain list of (id, key).
"""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv4 import Reference4
from tests.reference.rwkv7 import sigmoid


class Reference23(Reference4):
    """`state` as Reference4's; under ffnPre, the first entry of block 0 is its shift."""

    is_post_ln = False

    def __init__(self, tensors, k_eps=None, ctx_len=1024):
        super().__init__(tensors)
        self.w = {n: x.reshape(-1) if n.endswith(("decay", "first")) else x for n, x in self.w.items()}
        self.is_post_ln = "blocks.0.ln0.weight" not in self.w
        characters = self.is_post_ln and len(self.w["emb.weight"]) < 50_000
        self.k_eps = k_eps or (1e-16 if characters else 1e-8)
        self.ctx_len = ctx_len
        self.read = []  # (token id, head_k y)

    def step(self, token_id):
        x = self.w["emb.weight"][token_id]
        if not self.is_post_ln:
            x = self.norm("blocks.0.ln0", x)
        for i, state in enumerate(self.state):
            h = self.norm(f"blocks.{i}.ln1", x)
            x = h if self.is_post_ln else x
            if f"blocks.{i}.ffnPre.key.weight" in self.w:
                x = x + self.ffn(f"blocks.{i}.ffnPre.", h, state[0])
                state[0] = h
            else:
                x = x + self.att(f"blocks.{i}.att.", h, state)
            h = self.norm(f"blocks.{i}.ln2", x)
            x = h if self.is_post_ln else x
            x = x + self.ffn(f"blocks.{i}.ffn.", h, state[3])
            state[3] = h
        y = self.norm("ln_out", x)
        logits = self.w["head.weight"] @ y
        if "head_q.weight" in self.w:
            q = self.w["head_q.weight"] @ y
            self.read = [*self.read, (token_id, self.w["head_k.weight"] @ y)][-self.ctx_len :]
            for seen, key in self.read:
                logits[seen] += key @ q / len(q)
        return logits

    @property
    def past(self):
        if "head_q.weight" not in self.w:
            return {}
        ids, keys = zip(*self.read, strict=True)
        return {"past_key": np.stack(keys)[None], "past_ids": np.array(ids)[None]}

    def mixed(self, prefix, letter, h, p):
        m = self.w.get(f"{prefix}time_mix")
        m = self.w[f"{prefix}time_mix_{letter}"] if m is None else m
        return h * m + p * (1 - m)

    def att(self, att, h, state):
        p, aa, bb = state[:3]
        r = sigmoid(self.w[att + "receptance.weight"] @ self.mixed(att, "r", h, p))
        k = np.exp(np.minimum(self.w[att + "key.weight"] @ self.mixed(att, "k", h, p), 60))
        v = self.w[att + "value.weight"] @ self.mixed(att, "v", h, p)
        u, d = np.exp(self.w[att + "time_first"]), np.exp(-np.exp(self.w[att + "time_decay"]))
        y = (aa + u * k * v) / (bb + u * k + self.k_eps)
        state[:3] = h, d * aa + k * v, d * bb + k
        return self.w[att + "output.weight"] @ (r * y)
