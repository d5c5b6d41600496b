"""RWKV-5.0, 5.1, 5.2 and 6 token by token in float64 NumPy; shares nothing with the engine.

The matrix is kept as the papers write it, (key, value); the engine's is the other way round.
"""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv4 import Reference4
from tests.reference.rwkv7 import sigmoid


def silu(z):
    return z * sigmoid(z)


class Reference5(Reference4):
    """`state` is a list of [att_shift (C), S (H, key, value), unused, ffn_shift (C)] a layer."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.n_head = self.heads_of(tensors)
        c = self.w["emb.weight"].shape[1]
        self.size = c // self.n_head
        for state in self.state:
            state[1] = np.zeros((self.n_head, self.size, self.size))

    def heads_of(self, tensors):
        return tensors["blocks.0.att.time_decay"].shape[0]

    def recur(self, r, k, v, decay, u, state):
        """One token: every argument (H, N); S = diag(decay) S + k vᵀ, y = rᵀ (S + diag(u) k vᵀ)."""
        y = np.empty((self.n_head, self.size))
        for h in range(self.n_head):
            kv = np.outer(k[h], v[h])
            y[h] = r[h] @ (state[1][h] + u[h][:, None] * kv)
            state[1][h] = decay[h][:, None] * state[1][h] + kv
        return y

    def normed(self, att, y):
        y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 64e-5)
        return y.reshape(-1) * self.w[att + "ln_x.weight"] + self.w[att + "ln_x.bias"]

    def att(self, att, h, state):
        heads = (self.n_head, self.size)
        mixed = {j: self.mixed(att, j, h, state[0]) for j in "rkvg" if f"{att}time_mix_{j}" in self.w}
        r = (self.w[att + "receptance.weight"] @ mixed["r"]).reshape(heads)
        k = (self.w[att + "key.weight"] @ mixed["k"]).reshape(heads)
        v = (self.w[att + "value.weight"] @ mixed["v"]).reshape(heads)
        raw = self.w[att + "time_decay"].reshape(self.n_head, -1)
        decay = np.broadcast_to(np.exp(-np.exp(raw)), heads)
        first = self.w.get(att + "time_first")
        u = np.exp(first) if first is not None else self.w[att + "time_faaaa"]
        u = np.broadcast_to(u.reshape(self.n_head, -1), heads)
        y = self.normed(att, self.recur(r, k, v, decay, u, state))
        state[0] = h
        if "g" in mixed:
            y = y * silu(self.w[att + "gate.weight"] @ mixed["g"])
        return self.w[att + "output.weight"] @ y


class Reference6(Reference5):
    """Mixes and decay depend on the token; a coefficient of 1 is all of the token before."""

    def __init__(self, tensors, *, k_clamp=False):
        super().__init__(tensors)
        self.k_clamp = k_clamp
        shape = tensors["blocks.0.att.time_maa_w2"].shape  # three dimensions, but no [1, 1, C]
        for name, value in tensors.items():
            if name.endswith("time_maa_w2"):
                self.w[name] = np.asarray(value, np.float64).reshape(shape)

    def heads_of(self, tensors):
        return tensors["blocks.0.att.time_faaaa"].shape[0]

    def mixed(self, prefix, letter, h, p):
        m = self.w[f"{prefix}time_maa_{letter}"]
        return h * (1 - m) + p * m

    def att(self, att, h, state):
        heads, dx = (self.n_head, self.size), state[0] - h
        low = np.tanh((h + dx * self.w[att + "time_maa_x"]) @ self.w[att + "time_maa_w1"]).reshape(5, -1)
        x = {
            letter: h + dx * (self.w[f"{att}time_maa_{letter}"] + low[j] @ self.w[att + "time_maa_w2"][j])
            for j, letter in enumerate("wkvrg")
        }
        r = (self.w[att + "receptance.weight"] @ x["r"]).reshape(heads)
        k = (self.w[att + "key.weight"] @ x["k"]).reshape(heads)
        v = (self.w[att + "value.weight"] @ x["v"]).reshape(heads)
        shift = np.tanh(x["w"] @ self.w[att + "time_decay_w1"]) @ self.w[att + "time_decay_w2"]
        raw = self.w[att + "time_decay"] + shift
        decay = np.exp(-np.exp(raw)).reshape(heads)
        if self.k_clamp:
            k = k * np.exp(np.minimum(raw, 0)).reshape(heads)
        y = self.normed(att, self.recur(r, k, v, decay, self.w[att + "time_faaaa"], state))
        state[0] = h
        return self.w[att + "output.weight"] @ (y * silu(self.w[att + "gate.weight"] @ x["g"]))
