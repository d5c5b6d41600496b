// Products of small matrices by a warp: 16 x 8 and 8 x 8 tiles, as the tensor cores take them.
//
// The inner index of a product is ordered 0, 2, 4, 6, 1, 3, 5, 7: then a sum lies in its threads just as the left
// factor of the next product has to, and nothing moves between threads.
#pragma once

#include "portable.cuh"

namespace rwkv {

struct Sum {
  float x[4] = {0.0f, 0.0f, 0.0f, 0.0f};
};
struct Left {
  float x[4];
};
struct Right {
  float x[2];
};

// Which part of a tile a thread has.
struct Lane {
  int group, in_group;

  RWKV_DEVICE Lane() : group(thread_index() % 32 / 4), in_group(thread_index() % 4) {}

  // Of number i of a sum.
  RWKV_DEVICE int row(int i) const { return group + i / 2 * 8; }
  RWKV_DEVICE int column(int i) const { return 2 * in_group + i % 2; }
};

// The sum as a left factor: its columns become the inner index.
RWKV_DEVICE Left as_left(const Sum& sum) { return Left{{sum.x[0], sum.x[2], sum.x[1], sum.x[3]}}; }

// 16 rows, 8 inner; the steps are from one to the next.
RWKV_DEVICE Left left_from(const Lane& lane, const float* from, int row_step, int inner_step) {
  const float* const first = from + lane.group * row_step + 2 * lane.in_group * inner_step;
  const float* const second = first + 8 * row_step;
  return Left{{first[0], second[0], first[inner_step], second[inner_step]}};
}

// 8 inner, 8 columns.
RWKV_DEVICE Right right_from(const Lane& lane, const float* from, int inner_step, int column_step) {
  const float* const first = from + lane.group * column_step + 2 * lane.in_group * inner_step;
  return Right{{first[0], first[inner_step]}};
}

// sum += left right. Each factor is split into a tf32 (11 bits) and what that leaves: the product of the two
// rests, 2^-22 of the whole, is dropped.
RWKV_DEVICE void multiply(Sum& sum, const Left& left, const Right& right) {
  Left left_high, left_low;
  Right right_high, right_low;
  RWKV_UNROLL
  for (int i = 0; i < 4; ++i) {
    left_high.x[i] = tf32_of(left.x[i]);
    left_low.x[i] = tf32_of(left.x[i] - left_high.x[i]);
  }
  RWKV_UNROLL
  for (int i = 0; i < 2; ++i) {
    right_high.x[i] = tf32_of(right.x[i]);
    right_low.x[i] = tf32_of(right.x[i] - right_high.x[i]);
  }
  mma_tile(sum.x, left_low.x, right_high.x);
  mma_tile(sum.x, left_high.x, right_low.x);
  mma_tile(sum.x, left_high.x, right_high.x);
}

// Each column of the sum times its factor.
RWKV_DEVICE void scale(Sum& sum, const float* factors, const Lane& lane) {
  RWKV_UNROLL
  for (int i = 0; i < 4; ++i) sum.x[i] *= factors[lane.column(i)];
}

}  // namespace rwkv
