// What RWKV-5, 6 and 7 share: how a head is cut into threads, and how tokens reach them.
//
// The rows (values) of a head's matrix never meet, so each is walked on its own by LANES threads that hold
// KEYS of its numbers each in registers and sum by shuffles; a block owns ROWS rows, several blocks a head.
// That fills a GPU with one reply (64 heads of 64 are 256 blocks) and keeps the chain from token to token
// short. Vectors are read TOKENS tokens at a time through shared memory, converted once a block; the next
// chunk is already on its way in registers while this one is computed.
//
// Head sizes are padded to 16, 32, 64 or 128 with zeros, so that any size up to 128 works.
#pragma once

#include "calls.h"
#include "portable.cuh"

namespace rwkv {

constexpr int MAX_HEAD_SIZE = 128;

template <int PADDED>
struct Tile {
  static constexpr int LANES = PADDED < 32 ? PADDED / 4 : 8;
  static constexpr int KEYS = PADDED / LANES;
  static constexpr int THREADS = PADDED < 32 ? 64 : 128;
  static constexpr int ROWS = THREADS / LANES;
  static constexpr int TOKENS = PADDED < 128 ? 16 : 8;  // 128 would read 80 registers ahead with 16
  static constexpr int EACH = TOKENS * PADDED / THREADS;     // numbers of a vector a thread reads ahead
  static constexpr int EACH_VALUE = TOKENS * ROWS / THREADS;
  static_assert(LANES * 4 <= PADDED && KEYS % 4 == 0 && EACH_VALUE > 0, "a thread reads 4 keys at once");
};

// Which part of which head a thread has.
template <int PADDED>
struct Place {
  int batch_row, head, first_value, value, lane, length;

  RWKV_DEVICE explicit Place(const rwkv_heads_call& call) {
    const int n_tiles = (call.head_size + Tile<PADDED>::ROWS - 1) / Tile<PADDED>::ROWS;
    const int index = block_index() / n_tiles;
    batch_row = index / call.n_heads;
    head = index % call.n_heads;
    first_value = block_index() % n_tiles * Tile<PADDED>::ROWS;
    value = first_value + thread_index() / Tile<PADDED>::LANES;
    lane = thread_index() % Tile<PADDED>::LANES;
    length = call.lengths ? call.lengths[batch_row] : call.n_tokens;
  }

  // The key of this thread's number i. Neighbouring lanes read neighbouring groups of 4: no bank conflicts.
  RWKV_DEVICE int key(int i) const { return (i / 4 * Tile<PADDED>::LANES + lane) * 4 + i % 4; }

  // Offset of (token, head, 0) in a (B, T, H, N) vector.
  RWKV_DEVICE long long at(const rwkv_heads_call& call, int token) const {
    return ((static_cast<long long>(batch_row) * call.n_tokens + token) * call.n_heads + head) * call.head_size;
  }
};

// The KEYS numbers of one row of the state that a thread has.
template <int PADDED>
struct StateRow {
  float s[Tile<PADDED>::KEYS];

  RWKV_DEVICE static long long start(const rwkv_heads_call& call, const Place<PADDED>& place) {
    const long long head = static_cast<long long>(place.batch_row) * call.n_heads + place.head;
    return (head * call.head_size + place.value) * call.head_size;
  }

  RWKV_DEVICE void read(const rwkv_heads_call& call, const Place<PADDED>& place) {
    RWKV_UNROLL
    for (int i = 0; i < Tile<PADDED>::KEYS; ++i) {
      const bool is_there = place.value < call.head_size && place.key(i) < call.head_size;
      s[i] = is_there ? call.state[start(call, place) + place.key(i)] : 0.0f;
    }
  }

  RWKV_DEVICE void write(const rwkv_heads_call& call, const Place<PADDED>& place) const {
    RWKV_UNROLL
    for (int i = 0; i < Tile<PADDED>::KEYS; ++i)
      if (place.value < call.head_size && place.key(i) < call.head_size)
        call.state[start(call, place) + place.key(i)] = s[i];
  }
};

// TOKENS tokens of VECTORS vectors over the keys, of the decay if it changes, and of the block's values:
// first in registers as they lie in memory, then in shared memory as float32.
template <class T, int PADDED, int VECTORS, bool HAS_DECAY>
struct Chunk {
  using Cut = Tile<PADDED>;
  static constexpr int VECTOR = Cut::TOKENS * PADDED;
  static constexpr int DECAY = VECTORS * VECTOR;  // where it starts in shared memory
  static constexpr int VALUES = DECAY + (HAS_DECAY ? VECTOR : 0);
  static constexpr int SHARED = VALUES + Cut::TOKENS * Cut::ROWS;

  T vectors[VECTORS][Cut::EACH];
  float log_decay[HAS_DECAY ? Cut::EACH : 1];
  T values[Cut::EACH_VALUE];

  RWKV_DEVICE void fetch(const rwkv_heads_call& call, const Place<PADDED>& place,
                         const void* const (&from)[VECTORS], int first_token) {
    RWKV_UNROLL
    for (int i = 0; i < Cut::EACH; ++i) {
      const int place_in_chunk = i * Cut::THREADS + thread_index();
      const int token = first_token + place_in_chunk / PADDED, key = place_in_chunk % PADDED;
      const bool is_there = token < place.length && key < call.head_size;
      const long long offset = place.at(call, token) + key;
      RWKV_UNROLL
      for (int v = 0; v < VECTORS; ++v)
        vectors[v][i] = is_there ? static_cast<const T*>(from[v])[offset] : zero_of<T>();
      if (HAS_DECAY) log_decay[i] = is_there ? call.log_decay[offset] : 0.0f;
    }
    RWKV_UNROLL
    for (int i = 0; i < Cut::EACH_VALUE; ++i) {
      const int place_in_chunk = i * Cut::THREADS + thread_index();
      const int token = first_token + place_in_chunk / Cut::ROWS;
      const int value = place.first_value + place_in_chunk % Cut::ROWS;
      const bool is_there = token < place.length && value < call.head_size;
      values[i] = is_there ? static_cast<const T*>(call.v)[place.at(call, token) + value] : zero_of<T>();
    }
  }

  RWKV_DEVICE void put(float* shared) const {
    RWKV_UNROLL
    for (int i = 0; i < Cut::EACH; ++i) {
      const int place_in_chunk = i * Cut::THREADS + thread_index();
      RWKV_UNROLL
      for (int v = 0; v < VECTORS; ++v) shared[v * VECTOR + place_in_chunk] = value_of(vectors[v][i]);
      if (HAS_DECAY) shared[DECAY + place_in_chunk] = exponential(log_decay[i]);
    }
    RWKV_UNROLL
    for (int i = 0; i < Cut::EACH_VALUE; ++i)
      shared[VALUES + i * Cut::THREADS + thread_index()] = value_of(values[i]);
  }
};

// This thread's keys of a vector of one token, out of shared memory.
template <int PADDED>
struct Keys {
  float x[Tile<PADDED>::KEYS];

  RWKV_DEVICE Keys(const float* of_token, const Place<PADDED>& place) {
    RWKV_UNROLL
    for (int i = 0; i < Tile<PADDED>::KEYS; i += 4) {
      const float4s four = load4(of_token + place.key(i));
      RWKV_UNROLL
      for (int j = 0; j < 4; ++j) x[i + j] = four.x[j];
    }
  }
};

// One lane of a row writes its y.
template <class T, int PADDED>
RWKV_DEVICE void put_y(const rwkv_heads_call& call, const Place<PADDED>& place, int token, float y) {
  if (place.lane == 0 && place.value < call.head_size)
    store(static_cast<T*>(call.y) + place.at(call, token) + place.value, y);
}

// Behind a row's length y is zero: what lies there enters norms and products of padding, which must not meet NaN.
template <class T, int PADDED>
RWKV_DEVICE void clear_padding(const rwkv_heads_call& call, const Place<PADDED>& place) {
  for (int token = place.length; token < call.n_tokens; ++token) put_y<T>(call, place, token, 0.0f);
}

}  // namespace rwkv

// A kernel for each number type and padded head size: rwkv_wkv7_bf16_64 and so on. `cut` says how many threads.
#define RWKV_HEAD_KERNEL(name, cut, type, padded)                                                        \
  RWKV_KERNEL(rwkv_##name##_##type##_##padded, rwkv::cut<padded>::THREADS)(const rwkv_heads_call call) { \
    rwkv::name<rwkv::type, padded>(call);                                                                \
  }
#define RWKV_HEAD_KERNELS_TO_64(name, cut, type) \
  RWKV_HEAD_KERNEL(name, cut, type, 16)          \
  RWKV_HEAD_KERNEL(name, cut, type, 32)          \
  RWKV_HEAD_KERNEL(name, cut, type, 64)
#define RWKV_HEAD_KERNELS_OF(name, type)    \
  RWKV_HEAD_KERNELS_TO_64(name, Tile, type) \
  RWKV_HEAD_KERNEL(name, Tile, type, 128)
#define RWKV_HEAD_KERNELS(name)    \
  RWKV_HEAD_KERNELS_OF(name, fp32) \
  RWKV_HEAD_KERNELS_OF(name, fp16) \
  RWKV_HEAD_KERNELS_OF(name, bf16)
