"""RWKV-1 in float64 NumPy, written from the equations: every sum over the past is written out.

`step` keeps all tokens of the context; when it is full it starts again from the last half of it.
"""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv4ab import softmax
from tests.reference.rwkv7 import layer_norm, sigmoid


def mish(z):
    return z * np.tanh(np.log1p(np.exp(z)))


class Reference1:
    """`layers`: a dict of lists a block, one entry a token."""

    def __init__(self, tensors):
        self.w = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
        self.n_layer = 1 + max(int(n.split(".")[1]) for n in self.w if n.startswith("blocks."))
        self.n_head, self.ctx_len = self.w["blocks.0.attn.time_w"].shape
        self.forget()

    def forget(self):
        c = self.w["tok_emb.weight"].shape[1]
        self.ids, self.head_k = [], []
        self.layers = [
            {"h": [np.zeros(c)], "g": [np.zeros(c)], "k": [], "m": [], "kk": [], "vv": []}
            for _ in range(self.n_layer)
        ]

    def linear(self, name, x):
        return self.w[name + ".weight"] @ x + self.w[name + ".bias"]

    def norm(self, name, x):
        return layer_norm(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def step(self, token_id):
        if len(self.ids) == self.ctx_len:
            last = self.ids[self.ctx_len - self.ctx_len // 2 :]
            self.forget()
            for old in last:
                self.step(old)
        t = len(self.ids)
        self.ids.append(token_id)
        x = self.w["tok_emb.weight"][token_id]
        for i, layer in enumerate(self.layers):
            x = x + self.att(f"blocks.{i}.", layer, x, t) * self.w[f"blocks.{i}.attn.time_gamma"][t, 0]
            layer["g"].append(self.norm(f"blocks.{i}.ln2", x))
            z, mlp = self.half(layer["g"]), f"blocks.{i}.mlp."
            k = mish(self.linear(mlp + "key", z)) * self.linear(mlp + "value", z)
            x = x + sigmoid(self.linear(mlp + "receptance", z)) * self.linear(mlp + "weight", k)
        y = self.norm("ln_f", x)
        logits = self.w["head.weight"] @ (y * self.w["time_out"][0, t, 0] if "time_out" in self.w else y)
        if "head_q.weight" in self.w:
            self.head_k.append(self.linear("head_k", y))
            q = self.linear("head_q", y)
            for seen, key in zip(self.ids, self.head_k, strict=True):
                logits[seen] += key @ q / len(q)
        return logits

    def half(self, rows):
        p, h = rows[-2:]
        return np.concatenate([p[: len(p) // 2], h[len(h) // 2 :]])

    def att(self, block, layer, x, t):
        att, w = block + "attn.", self.w
        layer["h"].append(self.norm(block + "ln1", x))
        z = self.half(layer["h"])
        k = np.exp(np.clip(self.linear(att + "key", z), -60, 30))
        v, r = self.linear(att + "value", z), sigmoid(self.linear(att + "receptance", z))
        size = len(k) // self.n_head
        head = np.arange(len(k)) // size
        layer["k"].append(k)
        layer["m"].append(w[att + "time_alpha"][head, 0, t] * k * v)
        wkv = np.zeros(len(k))
        for u, m in enumerate(layer["m"]):
            wkv += w[att + "time_w"][head, self.ctx_len - 1 - (t - u)] * m
        wkv *= w[att + "time_beta"][head, t, 0]
        y = self.linear(att + "output", r * wkv / np.sum(layer["k"], 0))
        if att + "tiny_att.qkv.weight" in w:
            q, kk, vv = np.split(self.linear(att + "tiny_att.qkv", z), 3)
            layer["kk"].append(kk)
            layer["vv"].append(vv)
            n = int(w.get(att + "tiny_att.n_head", [1])[0])
            keys, values = np.stack(layer["kk"]), np.stack(layer["vv"])
            e = [
                softmax(k_j @ q_j / np.sqrt(len(q_j))) @ v_j
                for q_j, k_j, v_j in zip(
                    np.split(q, n), np.split(keys, n, 1), np.split(values, n, 1), strict=True
                )
            ]
            y = y + self.linear(att + "tiny_att.out", np.concatenate(e))
        return y

    @property
    def past(self):
        found = {
            "att_shift": np.stack([layer["h"][-1] for layer in self.layers]),
            "ffn_shift": np.stack([layer["g"][-1] for layer in self.layers]),
            "sum_k": np.stack([np.sum(layer["k"], 0) for layer in self.layers]),
            "past_m": np.array([layer["m"] for layer in self.layers]),
            "past_ids": np.array(self.ids)[None],
        }
        if self.head_k:
            found["past_head_k"] = np.stack(self.head_k)[None]
        if self.layers[0]["kk"]:
            found["past_kk"] = np.array([layer["kk"] for layer in self.layers])
            found["past_vv"] = np.array([layer["vv"] for layer in self.layers])
        return found
