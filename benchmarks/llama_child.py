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


def write_f16(path, shape):
    """A GGUF file as llama.cpp's converter writes RWKV-7; layers from the second on are alike."""
    width, random = shape["n_embd"], np.random.default_rng(0)
    n_w, n_a, n_v, n_g = shape["ranks"]
    writer = gguf.GGUFWriter(path, "rwkv7")
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(width)
    writer.add_block_count(shape["n_layer"])
    writer.add_feed_forward_length(4 * width)
    writer.add_head_count(0)
    writer.add_layer_norm_eps(1e-5)
    writer.add_wkv_head_size(HEAD_SIZE)
    writer.add_decay_lora_rank(n_w)
    writer.add_iclr_lora_rank(n_a)
    writer.add_value_residual_mix_lora_rank(n_v)
    writer.add_gate_lora_rank(n_g)
    writer.add_file_type(FILE_TYPES["f16"])
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list([b"<s>", *(b"t%d" % i for i in range(1, N_VOCAB))])
    writer.add_token_types([3] + [1] * (N_VOCAB - 1))

    def matrix(rows, cols):
        return (random.standard_normal((rows, cols), np.float32) / cols**0.5).astype(np.float16)

    def vector(*size, mean=0.0):
        return (mean + 0.1 * random.standard_normal(size, np.float32)).astype(np.float32)

    def norm(name):
        writer.add_tensor(f"{name}.weight", vector(width, mean=1.0))
        writer.add_tensor(f"{name}.bias", vector(width))

    ranks = {"w": n_w, "a": n_a, "v": n_v, "g": n_g}
    square = {name: matrix(width, width) for name in ("key", "value", "receptance", "output")}
    key, value = matrix(4 * width, width), matrix(width, 4 * width)
    pairs = {j: (matrix(rank, width), matrix(width, rank)) for j, rank in ranks.items()}
    first_v = matrix(n_a, width), matrix(width, n_a)  # of the first layer, which does not use them
    writer.add_tensor("token_embd.weight", matrix(N_VOCAB, width))
    norm("token_embd_norm")
    for i in range(shape["n_layer"]):
        at = f"blk.{i}."
        for name in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            norm(at + name)
        for j in ranks:
            down, up = first_v if j == "v" and i == 0 else pairs[j]
            writer.add_tensor(f"{at}time_mix_{j}1.weight", down)
            writer.add_tensor(f"{at}time_mix_{j}2.weight", up)
            if j != "g":
                writer.add_tensor(f"{at}time_mix_{j}0.weight", vector(width))
        writer.add_tensor(at + "time_mix_lerp_fused.weight", vector(6, 1, 1, width, mean=0.5))
        for name in ("k_k", "k_a", "r_k"):
            writer.add_tensor(f"{at}time_mix_{name}.weight", vector(width, mean=0.7))
        for name, weights in square.items():
            writer.add_tensor(f"{at}time_mix_{name}.weight", weights)
        writer.add_tensor(at + "channel_mix_lerp_k.weight", vector(1, 1, width, mean=0.5))
        writer.add_tensor(at + "channel_mix_key.weight", key)
        writer.add_tensor(at + "channel_mix_value.weight", value)
    norm("output_norm")
    writer.add_tensor("output.weight", matrix(N_VOCAB, width))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model_file(folder, shape, kind):
    """The file in this type; made if it is not there."""
    plain, wanted = folder / "llama-f16.gguf", folder / f"llama-{kind}.gguf"
    if not plain.exists():
        write_f16(plain, shape)
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
