"""The recurrences alone, token by token in float64 NumPy, written from the equations.

One row: vectors (T, H, N), or (T, C) in RWKV-4; matrices (H, value, key).
"""

from __future__ import annotations

import numpy as np


def wkv4(k, v, w, u, num, den, eps=0.0):
    """Numerator and denominator as they stand; returns y, num, den."""
    y = np.zeros(k.shape)
    for t in range(len(k)):
        now, e = np.exp(u + k[t]), np.exp(k[t])
        y[t] = (num + now * v[t]) / (den + now + eps)
        num, den = np.exp(w) * num + e * v[t], np.exp(w) * den + e
    return y, num, den


def wkv6(r, decay, k, v, u, s):
    """RWKV-5 too, with the same decay for every token; returns y, s."""
    s, y = s.copy(), np.zeros(k.shape)
    for t in range(len(k)):
        for h in range(k.shape[1]):
            y[t, h] = (s[h] + np.outer(v[t, h], u[h] * k[t, h])) @ r[t, h]
            s[h] = s[h] @ np.diag(decay[t, h]) + np.outer(v[t, h], k[t, h])
    return y, s


def wkv7(r, decay, k, v, a, b, s):
    """Returns y, s."""
    s, y = s.copy(), np.zeros(k.shape)
    for t in range(len(k)):
        for h in range(k.shape[1]):
            s[h] = s[h] @ (np.diag(decay[t, h]) + np.outer(a[t, h], b[t, h])) + np.outer(v[t, h], k[t, h])
            y[t, h] = s[h] @ r[t, h]
    return y, s
