// The launcher of the recurrences with heads. Not for NVRTC.
#pragma once

#include "heads.cuh"
#include "launch.cuh"

namespace rwkv {

using HeadKernel = void (*)(rwkv_heads_call);

template <int PADDED>
int launch_heads_of(HeadKernel kernel, const rwkv_heads_call& call, void* stream) {
  const long long n_tiles = (call.head_size + Tile<PADDED>::ROWS - 1) / Tile<PADDED>::ROWS;
  const long long n_blocks = call.n_tokens ? n_tiles * call.n_rows * call.n_heads : 0;
  return launch(kernel, n_blocks, Tile<PADDED>::THREADS, call, stream);
}

inline int launch_heads(const HeadKernel (&kernels)[3][4], const rwkv_heads_call& call, int type, void* stream) {
  if (type < RWKV_CUDA_FP32 || type > RWKV_CUDA_BF16) return INVALID_VALUE;
  if (call.n_rows < 0 || call.n_tokens < 0 || call.n_heads < 0) return INVALID_VALUE;
  if (call.head_size < 1 || call.head_size > MAX_HEAD_SIZE) return INVALID_VALUE;
  if (call.head_size <= 16) return launch_heads_of<16>(kernels[type][0], call, stream);
  if (call.head_size <= 32) return launch_heads_of<32>(kernels[type][1], call, stream);
  if (call.head_size <= 64) return launch_heads_of<64>(kernels[type][2], call, stream);
  return launch_heads_of<128>(kernels[type][3], call, stream);
}

}  // namespace rwkv

#define RWKV_HEAD_KERNEL_ROW(name, type)                                                 \
  {rwkv_##name##_##type##_16, rwkv_##name##_##type##_32, rwkv_##name##_##type##_64, \
   rwkv_##name##_##type##_128}

// Queues it on `stream` of the current device; returns the CUDA error code, 0 for none.
#define RWKV_HEAD_LAUNCHER(name)                                                                       \
  RWKV_EXPORT int rwkv_cuda_##name(const rwkv_heads_call* call, int type, void* stream) {              \
    static const rwkv::HeadKernel kernels[3][4] = {RWKV_HEAD_KERNEL_ROW(name, fp32),                   \
                                                   RWKV_HEAD_KERNEL_ROW(name, fp16),                   \
                                                   RWKV_HEAD_KERNEL_ROW(name, bf16)};                  \
    return rwkv::launch_heads(kernels, *call, type, stream);                                           \
  }
