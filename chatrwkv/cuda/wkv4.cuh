// RWKV-4 (and 2 and 3): y_t = (sum_i exp(k_i + (t-1-i) w) v_i + exp(u + k_t) v_t) / (the same without v).
// A thread owns a channel of a row and walks its tokens; sums are kept as aa*exp(pp), so nothing overflows.
#pragma once

#include "calls.h"
#include "portable.cuh"

namespace rwkv {

// One warp a block: 4,096 channels are 128 blocks, one for each processor of a large GPU.
constexpr int WKV4_THREADS = 32;
// Tokens read ahead: 16 loads in flight hide the latency of memory behind 8 tokens of arithmetic.
constexpr int WKV4_AHEAD = 8;
constexpr float WKV4_MAX_LOG_EPS = 80.0f;  // exp of more leaves float32; beside e^80 the sums are nothing

template <class T>
struct Wkv4Ahead {
  T k[WKV4_AHEAD], v[WKV4_AHEAD];

  RWKV_DEVICE void fetch(const T* ks, const T* vs, long long stride, int first, int length) {
    RWKV_UNROLL
    for (int i = 0; i < WKV4_AHEAD; ++i) {
      const bool is_there = first + i < length;
      k[i] = is_there ? ks[(first + i) * stride] : zero_of<T>();
      v[i] = is_there ? vs[(first + i) * stride] : zero_of<T>();
    }
  }
};

struct Wkv4Sums {
  float aa, bb, pp;

  RWKV_DEVICE float read(float k, float v, float u, const rwkv_channels_call& call) const {
    const float now = u + k;
    const float q = larger(pp, now);
    const float e_old = exponential(pp - q), e_now = exponential(now - q);
    float total = multiply_add(e_old, bb, e_now);
    if (call.has_eps) total += exponential(smaller(call.log_eps - q, WKV4_MAX_LOG_EPS));
    return multiply_add(e_old, aa, e_now * v) / total;
  }

  RWKV_DEVICE void add(float k, float v, float w) {
    const float decayed = pp + w;
    pp = larger(decayed, k);
    const float e_old = exponential(decayed - pp), e_now = exponential(k - pp);
    aa = multiply_add(e_old, aa, e_now * v);
    bb = multiply_add(e_old, bb, e_now);
  }
};

template <class T>
RWKV_DEVICE void wkv4(const rwkv_channels_call& call) {
  const long long stride = call.n_channels;
  const long long place = static_cast<long long>(block_index()) * WKV4_THREADS + thread_index();
  if (place >= call.n_rows * stride) return;
  const int row = static_cast<int>(place / stride), channel = static_cast<int>(place % stride);
  const long long start = static_cast<long long>(row) * call.n_tokens * stride + channel;
  const T *ks = static_cast<const T*>(call.k) + start, *vs = static_cast<const T*>(call.v) + start;
  T* ys = static_cast<T*>(call.y) + start;
  const int length = call.lengths ? call.lengths[row] : call.n_tokens;
  const float w = call.w[channel], u = call.u[channel];
  Wkv4Sums sums{call.aa[place], call.bb[place], call.pp[place]};
  Wkv4Ahead<T> ahead;
  ahead.fetch(ks, vs, stride, 0, length);
  for (int first = 0; first < length; first += WKV4_AHEAD) {
    const Wkv4Ahead<T> now = ahead;
    ahead.fetch(ks, vs, stride, first + WKV4_AHEAD, length);
    RWKV_UNROLL
    for (int i = 0; i < WKV4_AHEAD; ++i) {
      if (first + i < length) {
        const float k = value_of(now.k[i]), v = value_of(now.v[i]);
        store(&ys[(first + i) * stride], sums.read(k, v, u, call));
        sums.add(k, v, w);
      }
    }
  }
  for (int t = length; t < call.n_tokens; ++t) store(&ys[t * stride], 0.0f);
  call.aa[place] = sums.aa;
  call.bb[place] = sums.bb;
  call.pp[place] = sums.pp;
}

}  // namespace rwkv

RWKV_KERNEL(rwkv_wkv4_fp32, rwkv::WKV4_THREADS)(const rwkv_channels_call call) { rwkv::wkv4<float>(call); }
RWKV_KERNEL(rwkv_wkv4_fp16, rwkv::WKV4_THREADS)(const rwkv_channels_call call) { rwkv::wkv4<rwkv::fp16>(call); }
RWKV_KERNEL(rwkv_wkv4_bf16, rwkv::WKV4_THREADS)(const rwkv_channels_call call) { rwkv::wkv4<rwkv::bf16>(call); }
