// One token of a head of RWKV-7, between the matrices: keys and values mixed, the recurrence (see wkv7.cuh), the norm
// of the head, the bonus of the token itself, the gate. A block has a head of a row, 8 threads each value of its state.
#pragma once

#include "decode_calls.h"
#include "pairs.cuh"

namespace rwkv {

constexpr int TOKEN_HEAD = 64;  // heads of 4 to 64; padded with zeros
constexpr int TOKEN_LANES = 8;
constexpr int TOKEN_THREADS = TOKEN_HEAD * TOKEN_LANES;
constexpr float MIN_KEY_NORM = 1e-12f;      // as in `rwkv7.py`
constexpr float GROUP_NORM_EPS = 64e-5f;  // as in `ops.py`

// The vectors of a head, in shared memory.
struct HeadVectors {
  float *r, *decay, *k, *kk, *a, *v, *bonus, *y;

  RWKV_DEVICE explicit HeadVectors(float* shared)
      : r(shared),
        decay(r + TOKEN_HEAD),
        k(decay + TOKEN_HEAD),
        kk(k + TOKEN_HEAD),
        a(kk + TOKEN_HEAD),
        v(a + TOKEN_HEAD),
        bonus(v + TOKEN_HEAD),
        y(bonus + TOKEN_HEAD) {}

  RWKV_DEVICE void clear(int i) const { r[i] = decay[i] = k[i] = kk[i] = a[i] = v[i] = bonus[i] = 0.0f; }

  // kk is of the key before k_a changes it, and not of unit length yet.
  RWKV_DEVICE void read(const rwkv_token_call& call, int i, int channel, long long at) const {
    const float key = call.k[at], rate = call.a[at];
    float value = call.v[at];
    if (call.v_gate)
      value = multiply_add(call.v_first[at] - value, call.v_gate[at], value);
    else
      call.v_first[at] = value;
    r[i] = call.r[at];
    decay[i] = call.decay[at];
    a[i] = rate;
    v[i] = value;
    kk[i] = key * call.k_k[channel];
    k[i] = multiply_add(key * call.k_a[channel], rate - 1.0f, key);
    bonus[i] = r[i] * k[i] * call.r_k[channel];
  }
};

// A sum over the head, by each warp for itself.
RWKV_DEVICE float head_sum(float first, float second) { return group_sum<32>(first + second); }

template <class T>
RWKV_DEVICE void token7(const rwkv_token_call& call) {
  RWKV_SHARED(shared, 8 * TOKEN_HEAD);
  const HeadVectors x(shared);
  const int n = call.head_size, me = thread_index(), value = me / TOKEN_LANES, lane = me % TOKEN_LANES;
  const int head = block_index() % call.n_heads, low = me % 32, high = low + 32;
  const long long at = static_cast<long long>(block_index()) * n;  // of the head, in (B, C)
  float* state = call.state + (at + value) * n;
  float4s s[2];
  RWKV_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int key = 32 * i + 4 * lane;
    s[i] = value < n && key < n ? load4(state + key) : float4s{};
  }
  if (me < n)
    x.read(call, me, head * n + me, at + me);
  else if (me < TOKEN_HEAD)
    x.clear(me);
  sync_block();

  const float length = square_root(head_sum(x.kk[low] * x.kk[low], x.kk[high] * x.kk[high]));
  const float to_unit = 1.0f / larger(length, MIN_KEY_NORM);
  const float bonus = head_sum(x.bonus[low], x.bonus[high]);
  float read = 0.0f, y = 0.0f;
  RWKV_UNROLL
  for (int i = 0; i < 8; ++i) read = multiply_add(s[i / 4].x[i % 4], x.kk[i / 4 * 32 + 4 * lane + i % 4], read);
  read = -group_sum<TOKEN_LANES>(read) * to_unit;
  RWKV_UNROLL
  for (int i = 0; i < 8; ++i) {
    const int key = i / 4 * 32 + 4 * lane + i % 4;
    const float added = multiply_add(read * to_unit, x.kk[key] * x.a[key], x.v[value] * x.k[key]);
    s[i / 4].x[i % 4] = multiply_add(s[i / 4].x[i % 4], x.decay[key], added);
    y = multiply_add(s[i / 4].x[i % 4], x.r[key], y);
  }
  y = group_sum<TOKEN_LANES>(y);
  if (lane == 0) x.y[value] = y;
  RWKV_UNROLL
  for (int i = 0; i < 2; ++i)
    if (value < n && 32 * i + 4 * lane < n) store4(state + 32 * i + 4 * lane, s[i]);
  sync_block();

  const float size = static_cast<float>(n), mean = head_sum(x.y[low], x.y[high]) / size;
  const float apart = low < n ? x.y[low] - mean : 0.0f, further = high < n ? x.y[high] - mean : 0.0f;
  const float factor = 1.0f / square_root(head_sum(apart * apart, further * further) / size + GROUP_NORM_EPS);
  if (me >= n) return;
  const int channel = head * n + me;
  const float normed = multiply_add((x.y[me] - mean) * factor, call.ln_weight[channel], call.ln_bias[channel]);
  store(static_cast<T*>(call.y) + at + me, multiply_add(bonus, x.v[me], normed) * call.g[at + me]);
}

}  // namespace rwkv

RWKV_KERNEL(rwkv_token7_fp16, rwkv::TOKEN_THREADS)(const rwkv_token_call call) { rwkv::token7<rwkv::fp16>(call); }
RWKV_KERNEL(rwkv_token7_bf16, rwkv::TOKEN_THREADS)(const rwkv_token_call call) { rwkv::token7<rwkv::bf16>(call); }
