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
struct alignas(16) words4 {
  unsigned x[4];
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

// Takes the next place of a list, in shared memory or, among blocks, in the device's; in which order is not said.
RWKV_DEVICE int next_place(int* n_taken) { return atomicAdd(n_taken, 1); }
RWKV_DEVICE float square_root(float x) { return sqrtf(x); }
RWKV_DEVICE float hyperbolic_tangent(float x) { return tanhf(x); }
// Four bytes of the eight of b:a, the number of each in 4 bits of `which`.
RWKV_DEVICE unsigned bytes_of(unsigned a, unsigned b, unsigned which) { return __byte_perm(a, b, which); }
RWKV_DEVICE int n_bits(unsigned x) { return __popc(x); }
// What this thread has written before is seen by whoever sees what it writes, or counts, after it, in any block.
RWKV_DEVICE void fence() { __threadfence(); }
// Of another block, past the first cache, which may hold what was there before.
RWKV_DEVICE float load_fresh(const float* from) {
  float x;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(x) : "l"(from) : "memory");
  return x;
}

// Which threads of the warp say yes, a bit for each. Every thread of the warp must call it.
RWKV_DEVICE unsigned votes(bool yes) { return __ballot_sync(0xffffffffu, yes); }

// The sum over LANES neighbouring threads, in all of them. Every thread of the warp must call it.
template <int LANES>
RWKV_DEVICE float group_sum(float x) {
  RWKV_UNROLL
  for (int apart = LANES / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffffu, x, apart);
  return x;
}

// The largest over LANES neighbouring threads, as `group_sum`.
template <int LANES>
RWKV_DEVICE float group_max(float x) {
  RWKV_UNROLL
  for (int apart = LANES / 2; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, apart));
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

// sum (16, 8) += left (16, 16) right (16, 8) of 16-bit numbers, two to a register, by a warp. Thread 4g + q has left
// (g, 2q), (g+8, 2q), (g, 2q+8), (g+8, 2q+8) and right (2q, g), (2q+8, g), each with the number behind it.
// bf16 does nothing before sm_80: `abi.decode_types` leaves it out.
RWKV_DEVICE void mma_16(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2], fp16) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#else
  RWKV_UNROLL
  for (int half = 0; half < 2; ++half)
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[2 * half]), "r"(left[2 * half + 1]), "r"(right[half]));
#endif
}
RWKV_DEVICE void mma_16(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2], bf16) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

RWKV_DEVICE words4 load16(const void* from) { return *static_cast<const words4*>(from); }
// 16 bytes that are read once: past the first cache, which keeps what is read again.
RWKV_DEVICE words4 stream16(const void* from) {
  words4 x;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
      : "=r"(x.x[0]), "=r"(x.x[1]), "=r"(x.x[2]), "=r"(x.x[3])
      : "l"(from));
  return x;
}
// Two fp16 in one register.
RWKV_DEVICE unsigned subtract_pair(unsigned a, unsigned b) {
  unsigned x;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(x) : "r"(a), "r"(b));
  return x;
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
using host_shim::bytes_of;
using host_shim::exponential;
using host_shim::fence;
using host_shim::float_of_bits;
using host_shim::group_max;
using host_shim::group_sum;
using host_shim::hyperbolic_tangent;
using host_shim::larger;
using host_shim::logarithm;
using host_shim::mma_tile;
using host_shim::multiply_add;
using host_shim::n_bits;
using host_shim::next_place;
using host_shim::raised;
using host_shim::smaller;
using host_shim::square_root;
using host_shim::sync_block;
using host_shim::sync_warp;
using host_shim::tf32_of;
using host_shim::thread_index;
using host_shim::votes;

inline float load(const fp16* from) { return host_shim::float_of_f16(from->bits); }
inline void store(fp16* to, float x) { to->bits = host_shim::f16_of_float(x); }

inline words4 load16(const void* from) {
  if (reinterpret_cast<unsigned long long>(from) % 16 != 0) std::abort();  // as a GPU stops
  words4 x;
  std::memcpy(&x, from, 16);
  return x;
}
inline words4 stream16(const void* from) { return load16(from); }
inline float load_fresh(const float* from) { return *from; }
inline unsigned subtract_pair(unsigned a, unsigned b) {
  const auto half = [a, b](int shift) -> unsigned {
    const float x = host_shim::float_of_f16(static_cast<unsigned short>(a >> shift & 0xffffu));
    const float y = host_shim::float_of_f16(static_cast<unsigned short>(b >> shift & 0xffffu));
    return host_shim::f16_of_float(x - y);
  };
  return half(0) | half(16) << 16;
}
inline float half_of(unsigned pair, int which, fp16) {
  return host_shim::float_of_f16(static_cast<unsigned short>(pair >> 16 * which & 0xffffu));
}
inline float half_of(unsigned pair, int which, bf16) { return float_of_bits((pair >> 16 * which & 0xffffu) << 16); }
template <class T>
void mma_16(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2], T type) {
  host_shim::mma_16(sum, left, right, [type](unsigned pair, int which) { return half_of(pair, which, type); });
}
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
RWKV_DEVICE void store4(float* to, const float4s& x) { *reinterpret_cast<float4s*>(to) = x; }

}  // namespace rwkv
