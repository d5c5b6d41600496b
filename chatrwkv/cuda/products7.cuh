// Matrices times the vectors of 1 to 16 rows, several matrices a launch, each weight read once for all rows.
//
// A block has 16 outputs of one matrix; its warps take its columns in turn and are summed at the end, always in the same
// order: what a row gets does not depend on the rows beside it. Tensor cores multiply, not for their speed but because
// one instruction then serves up to 8 rows: 16 (outputs) x 16 (columns) x 8 (rows). Columns may be in any order if both
// factors agree, so a thread's 16 bytes go in as they lie in memory. That memory is read in streams, UNROLL loads at
// a time on their way for each of a thread's two outputs.
#pragma once

#include "decode_calls.h"
#include "pairs.cuh"
#include "tiles.cuh"

namespace rwkv {

constexpr int PRODUCT_THREADS = 256;
constexpr int PRODUCT_WARPS = PRODUCT_THREADS / 32;
constexpr int PRODUCT_OUTPUTS = 16;
constexpr float MAX_LOG_DECAY = 0.606531f;  // as in `rwkv7.py`

// The sums of one warp: 16 outputs of 8 rows each.
template <int TILES>
struct Outputs {
  Sum rows[TILES];
};

// What a thread multiplies: two outputs, and for each 8 rows one of them, which need not exist.
template <int TILES>
struct Factors {
  long long first, second;  // of the weight, in numbers
  const void* x[TILES];

  RWKV_DEVICE Factors(const rwkv_product& matrix, int n_rows, int output, const Lane& lane) {
    const int last = matrix.n_out - 1, upper = output + lane.group, lower = upper + 8;
    first = static_cast<long long>(upper < last ? upper : last) * matrix.n_in;
    second = static_cast<long long>(lower < last ? lower : last) * matrix.n_in;
    RWKV_UNROLL
    for (int t = 0; t < TILES; ++t) {
      const int row = 8 * t + lane.group;
      const char* at = static_cast<const char*>(matrix.x) + 2LL * row * matrix.n_in;
      x[t] = row < n_rows ? at : nullptr;
    }
  }
};

template <class T, int TILES>
RWKV_DEVICE void multiply_16(Outputs<TILES>& out, const rwkv_product& matrix, int n_rows, int output) {
  constexpr int UNROLL = 4, EACH = 8, STEP = PRODUCT_WARPS * 4 * EACH;
  const Lane lane;
  const Factors<TILES> from(matrix, n_rows, output, lane);
  const T* weight = static_cast<const T*>(matrix.weight);
  const int mine = lane.in_group * EACH;
  for (int start = thread_index() / 32 * 4 * EACH; start < matrix.n_in; start += UNROLL * STEP) {
    words4 first[UNROLL], second[UNROLL];
    RWKV_UNROLL
    for (int u = 0; u < UNROLL; ++u) {
      const int column = start + u * STEP + mine;
      const bool is_there = column < matrix.n_in;
      first[u] = is_there ? stream16(weight + from.first + column) : words4{};
      second[u] = is_there ? stream16(weight + from.second + column) : words4{};
    }
    RWKV_UNROLL
    for (int u = 0; u < UNROLL; ++u) {
      const int column = start + u * STEP + mine;
      const unsigned low[4] = {first[u].x[0], second[u].x[0], first[u].x[1], second[u].x[1]};
      const unsigned high[4] = {first[u].x[2], second[u].x[2], first[u].x[3], second[u].x[3]};
      RWKV_UNROLL
      for (int t = 0; t < TILES; ++t) {
        const bool is_there = from.x[t] && column < matrix.n_in;
        const words4 x = is_there ? load16(static_cast<const T*>(from.x[t]) + column) : words4{};
        mma_16(out.rows[t].x, low, {x.x[0], x.x[1]}, T{});
        mma_16(out.rows[t].x, high, {x.x[2], x.x[3]}, T{});
      }
    }
  }
}

// The same of int8: four threads have the 64 columns of a scale, which multiplies their sum.
template <class T, int TILES>
RWKV_DEVICE void multiply_8(Outputs<TILES>& out, const rwkv_product& matrix, int n_rows, int output) {
  constexpr int UNROLL = 2, EACH = 16, STEP = PRODUCT_WARPS * GROUP;
  const Lane lane;
  const Factors<TILES> from(matrix, n_rows, output, lane);
  const signed char* weight = static_cast<const signed char*>(matrix.weight);
  const int mine = lane.in_group * EACH, n_groups = (matrix.n_in + GROUP - 1) / GROUP;
  const unsigned short* scales[2] = {matrix.scale + from.first / matrix.n_in * n_groups,
                                     matrix.scale + from.second / matrix.n_in * n_groups};
  for (int start = thread_index() / 32 * GROUP; start < matrix.n_in; start += UNROLL * STEP) {
    words4 first[UNROLL], second[UNROLL];
    RWKV_UNROLL
    for (int u = 0; u < UNROLL; ++u) {
      const int column = start + u * STEP + mine;
      const bool is_there = column < matrix.n_in;
      first[u] = is_there ? bytes16(weight + from.first + column) : words4{};
      second[u] = is_there ? bytes16(weight + from.second + column) : words4{};
    }
    RWKV_UNROLL
    for (int u = 0; u < UNROLL; ++u) {
      const int column = start + u * STEP + mine;
      if (start + u * STEP >= matrix.n_in) break;
      const float upper = bf16_at(scales[0] + column / GROUP), lower = bf16_at(scales[1] + column / GROUP);
      RWKV_UNROLL
      for (int t = 0; t < TILES; ++t) {
        const bool is_there = from.x[t] && column < matrix.n_in;
        const T* at = static_cast<const T*>(from.x[t]) + column;
        const words4 x[2] = {is_there ? load16(at) : words4{}, is_there ? load16(at + 8) : words4{}};
        Sum part;
        RWKV_UNROLL
        for (int w = 0; w < 4; ++w) {
          const unsigned left[4] = {pair_of_bytes(first[u].x[w], 0, T{}), pair_of_bytes(second[u].x[w], 0, T{}),
                                    pair_of_bytes(first[u].x[w], 1, T{}), pair_of_bytes(second[u].x[w], 1, T{})};
          mma_16(part.x, left, {x[w / 2].x[w % 2 * 2], x[w / 2].x[w % 2 * 2 + 1]}, T{});
        }
        RWKV_UNROLL
        for (int i = 0; i < 4; ++i)
          out.rows[t].x[i] = multiply_add(part.x[i], i < 2 ? upper : lower, out.rows[t].x[i]);
      }
    }
  }
}

RWKV_DEVICE float activated(float x, int act) {
  switch (act) {
    case RWKV_ACT_TANH: return hyperbolic_tangent(x);
    case RWKV_ACT_SIGMOID: return sigmoid(x);
    case RWKV_ACT_DECAY: return exponential(-MAX_LOG_DECAY * sigmoid(x));
    case RWKV_ACT_SQUARED_RELU: return larger(x, 0.0f) * larger(x, 0.0f);
    default: return x;
  }
}

template <class T>
RWKV_DEVICE void put_output(const rwkv_product& matrix, int row, int output, float sum) {
  if (matrix.bias) sum += matrix.bias[output];
  sum = activated(sum, matrix.act);
  const long long at = static_cast<long long>(row) * matrix.n_out + output;
  if (!matrix.is_wide) {
    store(static_cast<T*>(matrix.y) + at, sum);
    return;
  }
  float* to = static_cast<float*>(matrix.y) + at;
  *to = matrix.act == RWKV_ACT_ADD ? *to + sum : sum;
}

template <class T, int TILES>
RWKV_DEVICE void products7(const rwkv_products_call& call) {
  constexpr int ROWS = 8 * TILES, TILE = PRODUCT_OUTPUTS * ROWS;
  RWKV_SHARED(shared, PRODUCT_WARPS * TILE);
  int block = block_index(), index = 0;
  for (;; ++index) {
    const int n_blocks = (call.matrix[index].n_out + PRODUCT_OUTPUTS - 1) / PRODUCT_OUTPUTS;
    if (block < n_blocks) break;
    block -= n_blocks;
  }
  const rwkv_product& matrix = call.matrix[index];
  const int output = block * PRODUCT_OUTPUTS, warp = thread_index() / 32;
  Outputs<TILES> out;
  if (matrix.scale)
    multiply_8<T, TILES>(out, matrix, call.n_rows, output);
  else
    multiply_16<T, TILES>(out, matrix, call.n_rows, output);
  const Lane lane;
  RWKV_UNROLL
  for (int t = 0; t < TILES; ++t)
    RWKV_UNROLL
    for (int i = 0; i < 4; ++i)
      shared[warp * TILE + (8 * t + lane.column(i)) * PRODUCT_OUTPUTS + lane.row(i)] = out.rows[t].x[i];
  sync_block();
  const int row = thread_index() / PRODUCT_OUTPUTS, mine = output + thread_index() % PRODUCT_OUTPUTS;
  if (row >= call.n_rows || mine >= matrix.n_out) return;
  float sum = 0.0f;
  RWKV_UNROLL
  for (int w = 0; w < PRODUCT_WARPS; ++w) sum += shared[w * TILE + thread_index()];
  put_output<T>(matrix, row, mine, sum);
}

}  // namespace rwkv

#define RWKV_PRODUCTS_KERNEL(type, tiles)                                                                 \
  RWKV_KERNEL(rwkv_products7_##type##_##tiles, rwkv::PRODUCT_THREADS)(const rwkv_products_call call) {    \
    rwkv::products7<rwkv::type, tiles>(call);                                                             \
  }
RWKV_PRODUCTS_KERNEL(fp16, 1)
RWKV_PRODUCTS_KERNEL(fp16, 2)
RWKV_PRODUCTS_KERNEL(bf16, 1)
RWKV_PRODUCTS_KERNEL(bf16, 2)
