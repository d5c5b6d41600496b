// Launcher of RWKV-4, 2 and 3.
#include "launch.cuh"
#include "wkv4.cuh"

namespace {
void (*const KERNELS[])(rwkv_channels_call) = {rwkv_wkv4_fp32, rwkv_wkv4_fp16, rwkv_wkv4_bf16};
}

// Queues it on `stream` of the current device; returns the CUDA error code, 0 for none.
RWKV_EXPORT int rwkv_cuda_wkv4(const rwkv_channels_call* call, int type, void* stream) {
  if (type < RWKV_CUDA_FP32 || type > RWKV_CUDA_BF16) return rwkv::INVALID_VALUE;
  if (call->n_rows < 0 || call->n_tokens < 0 || call->n_channels < 0) return rwkv::INVALID_VALUE;
  const long long n_threads = static_cast<long long>(call->n_rows) * call->n_channels;
  const long long n_blocks = call->n_tokens ? (n_threads + rwkv::WKV4_THREADS - 1) / rwkv::WKV4_THREADS : 0;
  return rwkv::launch(KERNELS[type], n_blocks, rwkv::WKV4_THREADS, *call, stream);
}
