// What differs between nvcc, NVRTC and the host compiler. Kernels use only these names, so that the same
// source runs on a GPU and, block after block, in tests/cuda (host_shim.h). No header of the CUDA toolkit is
// needed: NVRTC has none of them where only torch's wheels are installed.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define RWKV_DEVICE __device__ __forceinline__
// The 1: else ptxas spills a few words where that lets one more block onto a processor.
#define RWKV_KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads, 1) name
#define RWKV_SHARED_OF(type, name, count) __shared__ __align__(16) type name[count]
#define RWKV_UNROLL _Pragma("unroll")
#define RWKV_UNROLL_2 _Pragma("unroll 2")
#define RWKV_UNROLL_8 _Pragma("unroll 8")
#define RWKV_IS_DEVICE 1
#else
#include "host_shim.h"
#define RWKV_DEVICE inline
#define RWKV_KERNEL(name, threads) extern "C" void name
#define RWKV_SHARED_OF(type, name, count) \
  type* name = reinterpret_cast<type*>(host_shim::shared(static_cast<int>((count) * sizeof(type) / sizeof(float))))
#define RWKV_UNROLL
#define RWKV_UNROLL_2
#define RWKV_UNROLL_8
#define RWKV_IS_DEVICE 0
#endif
#define RWKV_SHARED(name, count) RWKV_SHARED_OF(float, name, count)

namespace rwkv {

// Numbers as they lie in memory; arithmetic is float32 everywhere.
using fp32 = float;
struct fp16 {
  unsigned short bits;
};
struct bf16 {
  unsigned short bits;
};
struct alignas(16) float4s {
  float x[4];
};

#if RWKV_IS_DEVICE
RWKV_DEVICE int thread_index() { return static_cast<int>(threadIdx.x); }
RWKV_DEVICE int block_index() { return static_cast<int>(blockIdx.x); }
RWKV_DEVICE void sync_block() { __syncthreads(); }
RWKV_DEVICE void sync_warp() { __syncwarp(); }
RWKV_DEVICE float float_of_bits(unsigned bits) { return __uint_as_float(bits); }
RWKV_DEVICE unsigned bits_of_float(float x) { return __float_as_uint(x); }
RWKV_DEVICE float exponential(float x) { return expf(x); }
RWKV_DEVICE float logarithm(float x) { return logf(x); }
RWKV_DEVICE float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
RWKV_DEVICE float larger(float a, float b) { return fmaxf(a, b); }
RWKV_DEVICE float smaller(float a, float b) { return fminf(a, b); }
RWKV_DEVICE float raised(float x, float power) { return powf(x, power); }
RWKV_DEVICE double raised(double x, double power) { return pow(x, power); }

// Takes the next place of a list in shared memory; in which order threads get theirs is not said.
RWKV_DEVICE int next_place(int* n_taken) { return atomicAdd(n_taken, 1); }

// The sum over LANES neighbouring threads, in all of them. Every thread of the warp must call it.
template <int LANES>
RWKV_DEVICE float group_sum(float x) {
  RWKV_UNROLL
  for (int apart = LANES / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

// Rounded to what a tensor core reads of a float32: 11 bits of precision.
RWKV_DEVICE float tf32_of(float x) {
#if __CUDA_ARCH__ >= 800
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  return x;
#endif
}

// sum (16, 8) += left (16, 8) right (8, 8), by a warp; which thread has what is told by `tiles.cuh`.
// Before sm_80 it does nothing: `abi.kernels_for` leaves out what needs it.
RWKV_DEVICE void mma_tile(float (&sum)[4], const float (&left)[4], const float (&right)[2]) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(__float_as_uint(left[0])), "r"(__float_as_uint(left[1])), "r"(__float_as_uint(left[2])),
        "r"(__float_as_uint(left[3])), "r"(__float_as_uint(right[0])), "r"(__float_as_uint(right[1])));
#endif
}

RWKV_DEVICE float load(const fp16* from) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(from->bits));
  return x;
}
RWKV_DEVICE void store(fp16* to, float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(x)); }
#else
using host_shim::bits_of_float;
using host_shim::block_index;
using host_shim::exponential;
using host_shim::float_of_bits;
using host_shim::group_sum;
using host_shim::larger;
using host_shim::logarithm;
using host_shim::mma_tile;
using host_shim::multiply_add;
using host_shim::next_place;
using host_shim::raised;
using host_shim::smaller;
using host_shim::sync_block;
using host_shim::sync_warp;
using host_shim::tf32_of;
using host_shim::thread_index;

inline float load(const fp16* from) { return host_shim::float_of_f16(from->bits); }
inline void store(fp16* to, float x) { to->bits = host_shim::f16_of_float(x); }
#endif

RWKV_DEVICE float infinity() { return float_of_bits(0x7f800000u); }

RWKV_DEVICE float load(const float* from) { return *from; }
RWKV_DEVICE void store(float* to, float x) { *to = x; }

RWKV_DEVICE float load(const bf16* from) { return float_of_bits(static_cast<unsigned>(from->bits) << 16); }

// To nearest, ties to even, as torch does; a NaN stays one.
RWKV_DEVICE void store(bf16* to, float x) {
  const unsigned bits = bits_of_float(x);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  to->bits = static_cast<unsigned short>(is_nan ? 0x7fc0u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// A number read ahead and not converted yet: converting would wait for the memory.
template <class T>
RWKV_DEVICE float value_of(const T& raw) {
  return load(&raw);
}
template <class T>
RWKV_DEVICE T zero_of() {
  return T{};
}

RWKV_DEVICE float4s load4(const float* from) { return *reinterpret_cast<const float4s*>(from); }

}  // namespace rwkv
