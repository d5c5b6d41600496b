// The start of a half layer: LayerNorm, token shift, and the views of the token that the matrices read.
//
// A row is cut into slices, a block each; every block takes mean and variance of the whole row for itself, which costs
// it a read of 16 KB from the cache and saves a launch.
#pragma once

#include "decode_calls.h"
#include "pairs.cuh"

namespace rwkv {

constexpr int MIX_THREADS = 256;
constexpr int MIX_SLICE = 4 * MIX_THREADS;
constexpr float LAYER_NORM_EPS = 1e-5f;  // as in `weights.py`

template <class T>
RWKV_DEVICE float4s stream_at(const rwkv_mix_call& call, int row, int channel) {
  if (!call.emb) return load4(call.x + static_cast<long long>(row) * call.n_channels + channel);
  const T* from = static_cast<const T*>(call.emb) + call.ids[row] * call.n_channels + channel;
  return float4s{{load(from), load(from + 1), load(from + 2), load(from + 3)}};
}

template <class T>
RWKV_DEVICE void mix7(const rwkv_mix_call& call) {
  RWKV_SHARED(room, 16);
  const int n_slices = (call.n_channels + MIX_SLICE - 1) / MIX_SLICE, n_warps = MIX_THREADS / 32;
  const int row = block_index() / n_slices, first = 4 * thread_index();
  float sum = 0.0f, squares = 0.0f;
  for (int c = first; c < call.n_channels; c += MIX_SLICE) {
    const float4s x = stream_at<T>(call, row, c);
    sum += (x.x[0] + x.x[1]) + (x.x[2] + x.x[3]);
  }
  const float mean = block_sum(sum, room, n_warps) / static_cast<float>(call.n_channels);
  for (int c = first; c < call.n_channels; c += MIX_SLICE) {
    const float4s x = stream_at<T>(call, row, c);
    RWKV_UNROLL
    for (int i = 0; i < 4; ++i) squares = multiply_add(x.x[i] - mean, x.x[i] - mean, squares);
  }
  const float variance = block_sum(squares, room + 8, n_warps) / static_cast<float>(call.n_channels);
  const float factor = 1.0f / square_root(variance + LAYER_NORM_EPS);

  const int c = block_index() % n_slices * MIX_SLICE + first;
  if (c >= call.n_channels) return;
  const long long at = static_cast<long long>(row) * call.n_channels + c;
  const float4s x = stream_at<T>(call, row, c), weight = load4(call.weight + c), bias = load4(call.bias + c);
  float4s h, apart;
  RWKV_UNROLL
  for (int i = 0; i < 4; ++i) h.x[i] = multiply_add((x.x[i] - mean) * factor, weight.x[i], bias.x[i]);
  if (call.emb) store4(call.x + at, x);
  if (call.shift) {
    apart = load4(call.shift + at);
    RWKV_UNROLL
    for (int i = 0; i < 4; ++i) apart.x[i] -= h.x[i];
    store4(call.shift + at, h);
  }
  for (int view = 0; view < call.n_views; ++view) {
    float4s y = h;
    if (call.shift) {
      const float4s mix = load4(call.mix + static_cast<long long>(view) * call.n_channels + c);
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) y.x[i] = multiply_add(apart.x[i], mix.x[i], h.x[i]);
    }
    T* to = static_cast<T*>(call.y) + static_cast<long long>(view) * call.n_rows * call.n_channels + at;
    RWKV_UNROLL
    for (int i = 0; i < 4; ++i) store(to + i, y.x[i]);
  }
}

}  // namespace rwkv

RWKV_KERNEL(rwkv_mix7_fp16, rwkv::MIX_THREADS)(const rwkv_mix_call call) { rwkv::mix7<rwkv::fp16>(call); }
RWKV_KERNEL(rwkv_mix7_bf16, rwkv::MIX_THREADS)(const rwkv_mix_call call) { rwkv::mix7<rwkv::bf16>(call); }
