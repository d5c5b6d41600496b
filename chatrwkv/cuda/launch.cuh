// The host side of a launch. Not for NVRTC, whose kernels are launched by `driver.py`.
#pragma once

#include "calls.h"
#include "portable.cuh"

#ifdef _WIN32
#define RWKV_EXPORT extern "C" __declspec(dllexport)
#else
#define RWKV_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace rwkv {

constexpr int INVALID_VALUE = 1;  // cudaErrorInvalidValue
constexpr long long MAX_BLOCKS = 0x7fffffff;

// Queues the kernel; returns the CUDA error code of this launch, 0 for none.
template <class Call>
int launch(void (*kernel)(Call), long long n_blocks, int n_threads, const Call& call, void* stream) {
  if (n_blocks == 0) return 0;
  if (n_blocks < 0 || n_blocks > MAX_BLOCKS) return INVALID_VALUE;
#if RWKV_IS_DEVICE
  void* arguments[] = {const_cast<Call*>(&call)};
  return static_cast<int>(cudaLaunchKernel(reinterpret_cast<const void*>(kernel),
                                           dim3(static_cast<unsigned>(n_blocks)),
                                           dim3(static_cast<unsigned>(n_threads)), arguments, 0,
                                           static_cast<cudaStream_t>(stream)));
#else
  (void)stream;
  return host_shim::run([kernel, call] { kernel(call); }, static_cast<int>(n_blocks), n_threads);
#endif
}

}  // namespace rwkv
