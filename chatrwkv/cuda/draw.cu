// Launcher of the draw.
#include "draw.cuh"

#include "launch.cuh"

// Queues it on `stream` of the current device; returns the CUDA error code, 0 for none. Logits are float32.
RWKV_EXPORT int rwkv_cuda_draw(const rwkv_draw_call* call, int type, void* stream) {
  if (type != RWKV_CUDA_FP32 || call->n_rows < 0 || call->n_vocab < 1) return rwkv::INVALID_VALUE;
  return rwkv::launch(rwkv_draw, call->n_rows, rwkv::DRAW_THREADS, *call, stream);
}
