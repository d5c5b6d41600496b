"""RWKV generations, one family a file: `forward` is pure, `step` and `scan` wrap it."""
