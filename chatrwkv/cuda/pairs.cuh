// Pairs of 16-bit numbers in a register, as the tensor cores take them, out of what lies in memory.
#pragma once

#include "portable.cuh"

namespace rwkv {

constexpr int GROUP = 64;  // columns of an int8 matrix with one scale, as in `quant.py`

// Sixteen signed bytes q as 128 + q.
RWKV_DEVICE words4 bytes16(const void* from) {
  words4 x = stream16(from);
  RWKV_UNROLL
  for (int i = 0; i < 4; ++i) x.x[i] ^= 0x80808080u;
  return x;
}

// Numbers 2 which and 2 which + 1 of four bytes of 128 + q: q is exact in both types.
RWKV_DEVICE unsigned pair_of_bytes(unsigned four, int which, fp16) {
  // 0x6400 is 1024, whose last bit is worth 1
  return subtract_pair(bytes_of(four, 0x64646464u, which == 0 ? 0x4140u : 0x4342u), 0x64806480u);
}
RWKV_DEVICE unsigned pair_of_bytes(unsigned four, int which, bf16) {
  const unsigned first = 2u * static_cast<unsigned>(which);
  // 0x4b000000 is 2^23
  const float low = float_of_bits(bytes_of(four, 0x4b000000u, 0x7440u | first)) - 8388736.0f;
  const float high = float_of_bits(bytes_of(four, 0x4b000000u, 0x7441u + first)) - 8388736.0f;
  return bytes_of(bits_of_float(low), bits_of_float(high), 0x7632u);
}

// The low or the high halves of two registers.
RWKV_DEVICE unsigned low_halves(unsigned a, unsigned b) { return bytes_of(a, b, 0x5410u); }
RWKV_DEVICE unsigned high_halves(unsigned a, unsigned b) { return bytes_of(a, b, 0x7632u); }

RWKV_DEVICE float bf16_at(const unsigned short* from) { return float_of_bits(static_cast<unsigned>(*from) << 16); }

// The sum over a block of at most 32 warps, in all its threads; `room` is used by nothing else.
RWKV_DEVICE float block_sum(float x, float* room, int n_warps) {
  x = group_sum<32>(x);
  if (thread_index() % 32 == 0) room[thread_index() / 32] = x;
  sync_block();
  float total = 0.0f;
  for (int i = 0; i < n_warps; ++i) total += room[i];
  return total;
}

RWKV_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace rwkv
