r"""llama.cpp on random RWKV-7 weights, for `native_decode.py --llama PYTHON`: runs in a Python that has it.

    PYTHON benchmarks/llama_child.py FOLDER '{"n_layer": 12, "n_embd": 768, "ranks": [64, 64, 32, 128]}' q8_0 2

Needs `llama-cpp-python` and `gguf` and nothing of this program. Its AMX kernels crashed with gcc 12, so:

    CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF" \
        pip install --no-binary llama-cpp-python llama-cpp-python gguf
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

N_VOCAB, HEAD_SIZE = 65536, 64
FILE_TYPES = {"f16": 1, "q8_0": 7, "q4_K_M": 15}  # llama_ftype


class Writer:
    """A GGUF file as llama.cpp's converter writes RWKV-7; layers from the second on are alike."""

    def __init__(self, path, shape):
        self.n_layer, self.width, self.ranks = shape["n_layer"], shape["n_embd"], shape["ranks"]
        self.file, self.random = gguf.GGUFWriter(path, "rwkv7"), np.random.default_rng(0)

    def write(self):
        """All of it."""
        self.header()
        self.file.add_tensor("token_embd.weight", self.matrix(N_VOCAB, self.width))
        self.norm("token_embd_norm")
        matrices = self.matrices()
        for i in range(self.n_layer):
            self.layer(f"blk.{i}.", matrices, is_first=i == 0)
        self.norm("output_norm")
        self.file.add_tensor("output.weight", self.matrix(N_VOCAB, self.width))
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()

    def header(self):
        """Sizes, and a vocabulary of nothing."""
        n_w, n_a, n_v, n_g = self.ranks
        self.file.add_context_length(1 << 20)
        self.file.add_embedding_length(self.width)
        self.file.add_block_count(self.n_layer)
        self.file.add_feed_forward_length(4 * self.width)
        self.file.add_head_count(0)
        self.file.add_layer_norm_eps(1e-5)
        self.file.add_wkv_head_size(HEAD_SIZE)
        self.file.add_decay_lora_rank(n_w)
        self.file.add_iclr_lora_rank(n_a)
        self.file.add_value_residual_mix_lora_rank(n_v)
        self.file.add_gate_lora_rank(n_g)
        self.file.add_file_type(FILE_TYPES["f16"])
        self.file.add_tokenizer_model("rwkv")
        self.file.add_token_list([b"<s>", *(b"t%d" % i for i in range(1, N_VOCAB))])
        self.file.add_token_types([3] + [1] * (N_VOCAB - 1))

    def matrices(self):
        """Those of every layer but the first, by name; llama.cpp wants `v` of the first in the rank of `a`."""
        width, (n_w, n_a, n_v, n_g) = self.width, self.ranks
        found = {
            f"time_mix_{name}": self.matrix(width, width) for name in ("key", "value", "receptance", "output")
        }
        for name, rank in {"w": n_w, "a": n_a, "v": n_v, "g": n_g, "first_v": n_a}.items():
            found[f"time_mix_{name}1"] = self.matrix(rank, width)
            found[f"time_mix_{name}2"] = self.matrix(width, rank)
        found["channel_mix_key"] = self.matrix(4 * width, width)
        found["channel_mix_value"] = self.matrix(width, 4 * width)
        return found

    def layer(self, at, matrices, *, is_first):
        """One layer; the first does not use its `v`."""
        width = self.width
        for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            self.norm(at + name)
        for name, weights in matrices.items():
            if "first_v" not in name:
                other = matrices.get(name.replace("_v", "_first_v")) if is_first else None
                self.file.add_tensor(f"{at}{name}.weight", weights if other is None else other)
        for name in ("w0", "a0", "v0", "k_k", "k_a", "r_k"):
            self.file.add_tensor(f"{at}time_mix_{name}.weight", self.vector(width, mean=0.7))
        self.file.add_tensor(at + "time_mix_lerp_fused.weight", self.vector(6, 1, 1, width, mean=0.5))
        self.file.add_tensor(at + "channel_mix_lerp_k.weight", self.vector(1, 1, width, mean=0.5))

    def matrix(self, rows, cols):
        """Random float16."""
        return (self.random.standard_normal((rows, cols), np.float32) / cols**0.5).astype(np.float16)

    def vector(self, *size, mean=0.0):
        """Random float32."""
        return (mean + 0.1 * self.random.standard_normal(size, np.float32)).astype(np.float32)

    def norm(self, name):
        """Weight and bias."""
        self.file.add_tensor(f"{name}.weight", self.vector(self.width, mean=1.0))
        self.file.add_tensor(f"{name}.bias", self.vector(self.width))


def model_file(folder, shape, kind):
    """The file in this type; made if it is not there."""
    plain, wanted = folder / "llama-f16.gguf", folder / f"llama-{kind}.gguf"
    if not plain.exists():
        Writer(plain, shape).write()
    if not wanted.exists():
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = FILE_TYPES[kind]
        if llama_cpp.llama_model_quantize(str(plain).encode(), str(wanted).encode(), ctypes.byref(params)):
            raise SystemExit(f"llama.cpp cannot make {wanted.name}")
    return wanted


def timed(work, n):
    """Median seconds of n calls: on the clock, and of the calling thread's processor time."""
    walls, cpus = [], []
    for i in range(n):
        start, cpu = time.perf_counter(), time.thread_time()
        work(i)
        walls.append(time.perf_counter() - start)
        cpus.append(time.thread_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def main():
    folder, shape, kind, n_threads = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    path = model_file(folder, shape, kind)
    threads = {"n_threads": n_threads, "n_threads_batch": n_threads}
    model = llama_cpp.Llama(str(path), n_ctx=32768, n_batch=512, verbose=False, **threads)
    model.eval([1, 2, 3])
    print("ready", flush=True)
    for line in sys.stdin:
        what, n = json.loads(line)
        if what == "decode":
            result = timed(lambda i: model.eval([1 + i % 50]), n)
        else:
            model.reset()
            result = timed(lambda _, n=n: model.eval([1 + i % 50 for i in range(n)]), 1)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
