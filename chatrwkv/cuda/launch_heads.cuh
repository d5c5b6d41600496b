// The launchers of the recurrences with heads. Not for NVRTC.
#pragma once

#include "heads.cuh"
#include "launch.cuh"

namespace rwkv {

using HeadKernel = void (*)(rwkv_heads_call);

template <class Cut>
int launch_cut(HeadKernel kernel, const rwkv_heads_call& call, void* stream) {
  if (!kernel) return INVALID_VALUE;
  const long long n_tiles = (call.head_size + Cut::ROWS - 1) / Cut::ROWS;
  const long long n_blocks = call.n_tokens ? n_tiles * call.n_rows * call.n_heads : 0;
  return launch(kernel, n_blocks, Cut::THREADS, call, stream);
}

// `kernels`: for each number type those for heads up to 16, 32, 64 and 128; null where there is none.
template <template <int> class Cut>
int launch_heads(const HeadKernel (&kernels)[3][4], const rwkv_heads_call& call, int type, void* stream) {
  if (type < RWKV_CUDA_FP32 || type > RWKV_CUDA_BF16) return INVALID_VALUE;
  if (call.n_rows < 0 || call.n_tokens < 0 || call.n_heads < 0) return INVALID_VALUE;
  if (call.head_size < 1 || call.head_size > MAX_HEAD_SIZE) return INVALID_VALUE;
  if (call.head_size <= 16) return launch_cut<Cut<16>>(kernels[type][0], call, stream);
  if (call.head_size <= 32) return launch_cut<Cut<32>>(kernels[type][1], call, stream);
  if (call.head_size <= 64) return launch_cut<Cut<64>>(kernels[type][2], call, stream);
  return launch_cut<Cut<128>>(kernels[type][3], call, stream);
}

}  // namespace rwkv

// Queues it on `stream` of the current device; returns the CUDA error code, 0 for none.
#define RWKV_CUT_LAUNCHER(name, cut, row)                                                             \
  RWKV_EXPORT int rwkv_cuda_##name(const rwkv_heads_call* call, int type, void* stream) {             \
    static const rwkv::HeadKernel kernels[3][4] = {row(name, fp32), row(name, fp16), row(name, bf16)}; \
    return rwkv::launch_heads<rwkv::cut>(kernels, *call, type, stream);                               \
  }

#define RWKV_ROW_TO_64(name, type) \
  {rwkv_##name##_##type##_16, rwkv_##name##_##type##_32, rwkv_##name##_##type##_64, nullptr}
#define RWKV_ROW_TO_128(name, type)                                                      \
  {rwkv_##name##_##type##_16, rwkv_##name##_##type##_32, rwkv_##name##_##type##_64, \
   rwkv_##name##_##type##_128}
#define RWKV_HEAD_LAUNCHER(name) RWKV_CUT_LAUNCHER(name, Tile, RWKV_ROW_TO_128)
