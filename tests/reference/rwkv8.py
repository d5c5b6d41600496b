"""RWKV-7a, 7b, 8-rc00 and its hybrid in float64 NumPy, written from the equations.

Every token's block input is remembered whole, and so are its key and value.
"""

from __future__ import annotations

import numpy as np

from tests.reference.rwkv4ab import softmax
from tests.reference.rwkv7 import Reference7


class Reference8(Reference7):
    """`state` as Reference7's; beside it ids, and block inputs and (q, K, V) of every token, a list a block."""

    def __init__(self, tensors):
        super().__init__(tensors)
        self.is_7 = "blocks.0.ffn.s1" in self.w
        self.has_dea = "blocks.0.qkv.qq.weight" in self.w
        self.ids = []
        self.entries: list[list[np.ndarray]] = [[] for _ in self.state]
        self.raw: list[list[tuple[np.ndarray, ...]]] = [[] for _ in self.state]
        self.heeded: list[tuple[list[np.ndarray], list[np.ndarray]]] = [([], []) for _ in self.state]

    def embedded(self, token_id):
        row = self.w["emb.weight"][token_id]
        return self.norm("blocks.0.ln0", row) if self.is_7 or not self.has_dea else row

    def step(self, token_id):
        x = self.embedded(token_id)
        self.ids.append(token_id)
        v_first = None
        for i, state in enumerate(self.state):
            self.entries[i].append(x)
            h = self.norm(f"blocks.{i}.ln1", x)
            y, v_first = self.att(f"blocks.{i}.att.", h, state, v_first)
            if self.has_dea:
                y = y + (self.dea_7b(i) if self.is_7 else self.dea_8(i))
            x = x + y
            h = self.norm(f"blocks.{i}.ln2", x)
            x = x + self.ffn(f"blocks.{i}.ffn.", h, state[2], token_id)
            state[2] = h
        return self.w["head.weight"] @ self.norm("ln_out", x)

    def ffn(self, ffn, h, p, token_id):
        k = np.maximum(self.w[ffn + "key.weight"] @ (h + (p - h) * self.w[ffn + "x_k"]), 0) ** 2
        if not self.is_7:
            return self.w[ffn + "value.weight"] @ k * self.w[ffn + "enn.weight"][token_id]
        row = self.w[ffn + "s_emb.weight"][token_id]
        row = row + self.w[ffn + "s_emb_x.weight"] @ self.embedded(token_id)
        ss = h @ self.w[ffn + "s1"] @ row.reshape(self.w[ffn + "s1"].shape[1], -1)
        return self.w[ffn + "value.weight"] @ (k * (ss @ self.w[ffn + "s2"] + self.w[ffn + "s0"]))

    def dea_7b(self, i):
        w = {name.split("qkv.")[1]: value for name, value in self.w.items() if f"blocks.{i}.qkv." in name}
        token_id, x = self.ids[-1], self.entries[i][-1]
        e = self.embedded(token_id)
        k_tab = w["k_emb.weight"][token_id] + w["k_emb_x.weight"] @ e
        v_tab = w["v_emb.weight"][token_id] + w["v_emb_x.weight"] @ e
        now = (w["qq.weight"] @ x, x @ w["k1"] @ w["k2"] * k_tab, np.tanh(x @ w["v1"] @ w["v2"]) * v_tab)
        before = self.raw[i][-1] if self.raw[i] else tuple(0 * part for part in now)
        self.raw[i].append(now)
        mixes = (w["x_q"], w["x_k"], w["x_v"])
        q, k, v = (new + (old - new) * m for old, new, m in zip(before, now, mixes, strict=True))
        return self.heed(i, q, k, v, 64, 1024)

    def dea_8(self, i):
        w = {name.split("qkv.")[1]: value for name, value in self.w.items() if f"blocks.{i}.qkv." in name}
        token_id, x = self.ids[-1], self.entries[i][-1]
        k = w["kkup.weight"] @ (w["kk.weight"] @ x) * w["ennk.weight"][token_id]
        v = np.tanh(w["vvup.weight"] @ (w["vv.weight"] @ x)) * w["emm.weight"][token_id]
        return self.heed(i, w["qq.weight"] @ x, k, v, 32, 512)

    def heed(self, i, q, k, v, cap, temperature):
        qkv, (keys, values) = f"blocks.{i}.qkv.", self.heeded[i]
        keys.append(self.norm(qkv + "lnk", k))
        values.append(self.norm(qkv + "lnv", v))
        scores = np.stack(keys) @ self.norm(qkv + "lnq", q)
        return softmax(cap * np.tanh(scores / temperature)) @ np.stack(values)

    @property
    def past(self):
        if not self.has_dea:
            return {}
        ids = {"past_ids": np.array(self.ids)[None]}
        entries = np.array(self.entries)
        qkv = [f"blocks.{i}.qkv." for i in range(self.n_layer)]
        if self.is_7:
            pairs = [(self.w[name + "k1"], self.w[name + "v1"]) for name in qkv]
            queries = [self.w[n + "qq.weight"] @ e[-1] for n, e in zip(qkv, entries, strict=True)]
            last = {"q_shift": np.stack(queries)}
        else:
            pairs = [(self.w[name + "kk.weight"].T, self.w[name + "vv.weight"].T) for name in qkv]
            last = {}
        rows = zip(entries, pairs, strict=True)
        k, v = zip(*((e @ k, e @ v) for e, (k, v) in rows), strict=True)
        return ids | last | {"past_k": np.stack(k), "past_v": np.stack(v)}
