"""RWKV-7 token by token in float64 NumPy, written from the equations; shares nothing with the engine."""

from __future__ import annotations

import numpy as np


def layer_norm(x, weight, bias, eps=1e-5):
    return (x - x.mean()) / np.sqrt(x.var() + eps) * weight + bias


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Reference7:
    """Feed ids to `step`; `state` is a list of [att_shift (C), S (H, value, key), ffn_shift (C)] a layer."""

    def __init__(self, tensors):
        self.w = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
        self.w = {n: x.reshape(-1) if x.ndim == 3 else x for n, x in self.w.items()}
        self.n_layer = 1 + max(int(n.split(".")[1]) for n in self.w if n.startswith("blocks."))
        self.n_head, self.size = self.w["blocks.0.att.r_k"].shape
        c = self.w["emb.weight"].shape[1]
        shape = (self.n_head, self.size, self.size)
        self.state = [[np.zeros(c), np.zeros(shape), np.zeros(c)] for _ in range(self.n_layer)]

    def norm(self, name, x):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def step(self, token_id):
        x = self.norm("blocks.0.ln0", self.w["emb.weight"][token_id])
        v_first = None
        for i, state in enumerate(self.state):
            h = self.norm(f"blocks.{i}.ln1", x)
            y, v_first = self.att(f"blocks.{i}.att.", h, state, v_first)
            x = x + y
            h, ffn = self.norm(f"blocks.{i}.ln2", x), f"blocks.{i}.ffn."
            k = self.w[ffn + "key.weight"] @ (h + (state[2] - h) * self.w[ffn + "x_k"])
            x = x + self.w[ffn + "value.weight"] @ np.maximum(k, 0) ** 2
            state[2] = h
        return self.w["head.weight"] @ self.norm("ln_out", x)

    def att(self, att, h, state, v_first):
        w = {name[len(att) :]: value for name, value in self.w.items() if name.startswith(att)}
        heads = (self.n_head, self.size)
        x = {j: h + (state[0] - h) * w["x_" + j] for j in "rwkvag"}
        r, k, v = w["receptance.weight"] @ x["r"], w["key.weight"] @ x["k"], w["value.weight"] @ x["v"]
        z = w["w0"] + np.tanh(x["w"] @ w["w1"]) @ w["w2"]
        decay = np.exp(-np.exp(-0.5) * sigmoid(z)).reshape(heads)
        a = sigmoid(w["a0"] + x["a"] @ w["a1"] @ w["a2"])
        g = sigmoid(x["g"] @ w["g1"]) @ w["g2"]
        kk = (k * w["k_k"]).reshape(heads)
        kk = kk / np.maximum(np.linalg.norm(kk, axis=1, keepdims=True), 1e-12)
        k = k * (1 + (a - 1) * w["k_a"])
        if v_first is None:
            v_first = v
        else:
            v = v + (v_first - v) * sigmoid(w["v0"] + x["v"] @ w["v1"] @ w["v2"])
        r, k, v, a = (z.reshape(heads) for z in (r, k, v, a))
        out = np.empty(heads)
        for head, old in enumerate(state[1]):
            new = old * decay[head] + np.outer(old @ -kk[head], kk[head] * a[head])
            state[1][head] = new + np.outer(v[head], k[head])
            y = state[1][head] @ r[head]
            out[head] = (y - y.mean()) / np.sqrt(y.var() + 64e-5)
        out = out.reshape(-1) * w["ln_x.weight"] + w["ln_x.bias"]
        out = out + ((r * k * w["r_k"]).sum(1, keepdims=True) * v).reshape(-1)
        state[0] = h
        return w["output.weight"] @ (out * g), v_first
