"""RWKV-4 token by token in float64 NumPy, written from the equations; shares nothing with the engine.

Numerator and denominator are kept as they stand: float64 holds exp(k) for any key a test draws.
"""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv7 import layer_norm, sigmoid


class Reference4:
    """Feed ids to `step`; `state` is a list of [att_shift, numerator, denominator, ffn_shift] a layer."""

    def __init__(self, tensors):
        self.w = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
        self.w = {n: x.reshape(-1) if x.ndim == 3 else x for n, x in self.w.items()}
        self.n_layer = 1 + max(int(n.split(".")[1]) for n in self.w if n.startswith("blocks."))
        c = self.w["emb.weight"].shape[1]
        self.state = [[np.zeros(c) for _ in range(4)] for _ in range(self.n_layer)]

    def norm(self, name, x):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def step(self, token_id):
        x = self.norm("blocks.0.ln0", self.w["emb.weight"][token_id])
        for i, state in enumerate(self.state):
            h = self.norm(f"blocks.{i}.ln1", x)
            x = x + self.att(f"blocks.{i}.att.", h, state)
            h = self.norm(f"blocks.{i}.ln2", x)
            x = x + self.ffn(f"blocks.{i}.ffn.", h, state[3])
            state[3] = h
        return self.w["head.weight"] @ self.norm("ln_out", x)

    def mixed(self, prefix, letter, h, p):
        m = self.w[f"{prefix}time_mix_{letter}"]
        return h * m + p * (1 - m)

    def att(self, att, h, state):
        p, num, den = state[:3]
        r = sigmoid(self.w[att + "receptance.weight"] @ self.mixed(att, "r", h, p))
        k = np.exp(self.w[att + "key.weight"] @ self.mixed(att, "k", h, p))
        v = self.w[att + "value.weight"] @ self.mixed(att, "v", h, p)
        u, decay = np.exp(self.w[att + "time_first"]), np.exp(-np.exp(self.w[att + "time_decay"]))
        wkv = (num + u * k * v) / (den + u * k)
        state[:3] = h, num * decay + k * v, den * decay + k
        return self.w[att + "output.weight"] @ (r * wkv)

    def ffn(self, ffn, h, p):
        k = np.maximum(self.w[ffn + "key.weight"] @ self.mixed(ffn, "k", h, p), 0) ** 2
        r = sigmoid(self.w[ffn + "receptance.weight"] @ self.mixed(ffn, "r", h, p))
        return r * (self.w[ffn + "value.weight"] @ k)
