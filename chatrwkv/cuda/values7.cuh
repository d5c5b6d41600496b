// The second matrix of the channel mixing, most of whose inputs are zero: squares of what was below zero. It lies so
// that an input has a row of memory, and rows that no conversation needs are not read.
//
// A block has a strip of outputs and a range of inputs, which its warps share in pieces of 64. Of a piece the inputs
// that count are listed, then taken 16 at a time: a thread reads 16 bytes of four rows, turns them into pairs of the
// same output, and tensor cores multiply (see products7.cuh). The ranges of a strip are summed by the block that is
// done last, always in the same order.
#pragma once

#include "decode_calls.h"
#include "pairs.cuh"
#include "tiles.cuh"

namespace rwkv {

constexpr int VALUE_THREADS = 256;
constexpr int VALUE_WARPS = VALUE_THREADS / 32;
constexpr float WIDE_16 = 1024.0f;  // larger inputs are made smaller for fp16, as in `ops.py`

template <class T>
struct IsFp16 {
  static constexpr bool YES = false;
};
template <>
struct IsFp16<fp16> {
  static constexpr bool YES = true;
};

// Which inputs of a piece count, and their numbers, in the shared memory of one warp.
template <class T, int TILES>
struct Piece {
  static constexpr int ROW = GROUP + 8;  // of 16-bit numbers: eight rows lie in different banks
  static constexpr int FLOATS = GROUP + 8 * TILES + 8 * TILES * ROW / 2;
  int* list;    // -1: none
  float* size;  // what the numbers of a row were divided by
  T* k;

  RWKV_DEVICE explicit Piece(float* shared)
      : list(reinterpret_cast<int*>(shared)), size(shared + GROUP), k(reinterpret_cast<T*>(size + 8 * TILES)) {}

  // How many inputs from `first` on count.
  RWKV_DEVICE int gather(const rwkv_values_call& call, int first) const {
    const int lane = thread_index() % 32;
    const int input[2] = {first + lane, first + lane + 32};
    bool counts[2];
    unsigned kept[2];
    RWKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      counts[i] = input[i] < call.n_wide && !call.is_skipping;
      if (input[i] < call.n_wide && call.is_skipping)
        for (int row = 0; row < call.n_rows; ++row) counts[i] |= number(call, row, input[i]) != 0.0f;
      kept[i] = votes(counts[i]);
    }
    const unsigned before = (1u << lane) - 1u;
    const int slot[2] = {n_bits(kept[0] & before), n_bits(kept[0]) + n_bits(kept[1] & before)};
    const int n = n_bits(kept[0]) + n_bits(kept[1]);
    const int padding = lane < 16 && n + lane < (n + 15) / 16 * 16 ? n + lane : -1;
    sync_warp();  // the piece before has been read
    RWKV_UNROLL
    for (int i = 0; i < 2; ++i)
      if (counts[i]) list[slot[i]] = input[i];
    if (padding >= 0) list[padding] = -1;
    for (int row = 0; row < call.n_rows; ++row) {
      const float k0 = counts[0] ? number(call, row, input[0]) : 0.0f;
      const float k1 = counts[1] ? number(call, row, input[1]) : 0.0f;
      const float most = IsFp16<T>::YES ? group_max<32>(larger(k0, k1)) : 0.0f;
      const float divisor = most > WIDE_16 ? most / WIDE_16 : 1.0f;
      if (lane == 0) size[row] = divisor;
      if (counts[0]) store(k + row * ROW + slot[0], k0 / divisor);
      if (counts[1]) store(k + row * ROW + slot[1], k1 / divisor);
      if (padding >= 0) store(k + row * ROW + padding, 0.0f);
    }
    sync_warp();
    return n;
  }

  RWKV_DEVICE static float number(const rwkv_values_call& call, int row, int input) {
    return call.k[static_cast<long long>(row) * call.n_wide + input];
  }

  // Two numbers of a row.
  RWKV_DEVICE unsigned pair(int row, int slot) const {
    return *reinterpret_cast<const unsigned*>(k + row * ROW + slot);
  }
};

// Four rows of a 16-bit matrix as the left factors of a thread's 8 outputs, two to a tile.
template <class T>
struct Halves {
  static constexpr int EACH = 8, PRODUCTS = 4;
  static constexpr int NUMBER_BYTES = 2;

  RWKV_DEVICE static words4 read(const void* from) { return stream16(from); }

  RWKV_DEVICE static void left(unsigned (&to)[4], const words4 (&rows)[4], int product) {
    RWKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      to[2 * i] = low_halves(rows[2 * i].x[product], rows[2 * i + 1].x[product]);
      to[2 * i + 1] = high_halves(rows[2 * i].x[product], rows[2 * i + 1].x[product]);
    }
  }

  RWKV_DEVICE static float scale(const rwkv_values_call&, int, int) { return 1.0f; }
};

// The same of int8: 16 outputs.
template <class T>
struct Bytes {
  static constexpr int EACH = 16, PRODUCTS = 8;
  static constexpr int NUMBER_BYTES = 1;

  RWKV_DEVICE static words4 read(const void* from) { return bytes16(from); }

  RWKV_DEVICE static void left(unsigned (&to)[4], const words4 (&rows)[4], int product) {
    RWKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      const unsigned four = bytes_of(rows[2 * i].x[product / 2], rows[2 * i + 1].x[product / 2],
                                     product % 2 == 0 ? 0x5140u : 0x7362u);
      to[2 * i] = pair_of_bytes(four, 0, T{});
      to[2 * i + 1] = pair_of_bytes(four, 1, T{});
    }
  }

  RWKV_DEVICE static float scale(const rwkv_values_call& call, int input, int output) {
    const long long group = input / GROUP;
    return bf16_at(call.scale + group * call.n_channels + output);
  }
};

template <class T, class Stored, int TILES>
struct Strip {
  static constexpr int OUTPUTS = 8 * Stored::EACH;
  static constexpr int ROWS = 8 * TILES;
  static constexpr int SUM_ROW = ROWS + 1;  // of an output, in shared memory
  static constexpr int PIECES = VALUE_WARPS * Piece<T, TILES>::FLOATS;
  static constexpr int SHARED = PIECES + OUTPUTS * SUM_ROW + 1;
  Sum total[Stored::PRODUCTS][TILES];

  RWKV_DEVICE static int output_of(const Lane& lane, int product, int i) {
    return Stored::EACH * lane.group + 2 * product + i / 2;
  }

  RWKV_DEVICE void add(const rwkv_values_call& call, const Piece<T, TILES>& piece, int first_output, int first) {
    const Lane lane;
    const int n = piece.gather(call, first), mine = first_output + Stored::EACH * lane.group;
    const char* weight = static_cast<const char*>(call.weight) + static_cast<long long>(mine) * Stored::NUMBER_BYTES;
    const long long pitch = static_cast<long long>(call.n_channels) * Stored::NUMBER_BYTES;
    Sum part[Stored::PRODUCTS][TILES];
    RWKV_UNROLL_2
    for (int start = 0; start < n; start += 16) {
      words4 rows[4];
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int input = piece.list[start + 2 * lane.in_group + i / 2 * 8 + i % 2];
        rows[i] = input >= 0 && mine < call.n_channels ? Stored::read(weight + input * pitch) : words4{};
      }
      unsigned right[TILES][2];
      RWKV_UNROLL
      for (int t = 0; t < TILES; ++t)
        RWKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          const int row = 8 * t + lane.group, slot = start + 2 * lane.in_group + 8 * i;
          right[t][i] = row < call.n_rows ? piece.pair(row, slot) : 0u;
        }
      RWKV_UNROLL
      for (int p = 0; p < Stored::PRODUCTS; ++p) {
        unsigned left[4];
        Stored::left(left, rows, p);
        RWKV_UNROLL
        for (int t = 0; t < TILES; ++t) mma_16(part[p][t].x, left, right[t], T{});
      }
    }
    if (n == 0 || mine >= call.n_channels) return;
    RWKV_UNROLL
    for (int p = 0; p < Stored::PRODUCTS; ++p)
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float scale = Stored::scale(call, first, first_output + output_of(lane, p, i));
        RWKV_UNROLL
        for (int t = 0; t < TILES; ++t) {
          const int row = 8 * t + lane.column(i);
          const float size = row < call.n_rows ? piece.size[row] : 0.0f;
          total[p][t].x[i] = multiply_add(part[p][t].x[i], scale * size, total[p][t].x[i]);
        }
      }
  }

  // One warp after the other, so that the order is known.
  RWKV_DEVICE void gather(float* sums) const {
    const Lane lane;
    for (int warp = 0; warp < VALUE_WARPS; ++warp) {
      sync_block();
      if (thread_index() / 32 != warp) continue;
      RWKV_UNROLL
      for (int p = 0; p < Stored::PRODUCTS; ++p)
        RWKV_UNROLL
        for (int t = 0; t < TILES; ++t)
          RWKV_UNROLL
          for (int i = 0; i < 4; ++i) {
            float& sum = sums[output_of(lane, p, i) * SUM_ROW + 8 * t + lane.column(i)];
            sum = warp == 0 ? total[p][t].x[i] : sum + total[p][t].x[i];
          }
    }
    sync_block();
  }
};

template <class T, class Stored, int TILES>
RWKV_DEVICE void values7(const rwkv_values_call& call) {
  using Whole = Strip<T, Stored, TILES>;
  RWKV_SHARED(shared, Whole::SHARED);
  float* const sums = shared + Whole::PIECES;
  const int n_strips = (call.n_channels + Whole::OUTPUTS - 1) / Whole::OUTPUTS;
  const int n_ranges = (call.n_wide + call.range - 1) / call.range;
  const int strip = block_index() % n_strips, range = block_index() / n_strips, warp = thread_index() / 32;
  const int first_output = strip * Whole::OUTPUTS;
  const int start = range * call.range, rest = call.n_wide - start;
  const int end = start + (rest < call.range ? rest : call.range);
  const Piece<T, TILES> piece(shared + warp * Piece<T, TILES>::FLOATS);
  Whole whole;
  for (int first = start + warp * GROUP; first < end; first += VALUE_WARPS * GROUP)
    whole.add(call, piece, first_output, first);
  whole.gather(sums);

  const int n = call.n_rows * Whole::OUTPUTS;
  const long long area = static_cast<long long>(call.n_rows) * call.n_channels;
  for (int i = thread_index(); i < n && n_ranges > 1; i += VALUE_THREADS) {
    const int row = i / Whole::OUTPUTS, output = i % Whole::OUTPUTS, channel = first_output + output;
    if (channel < call.n_channels)
      call.parts[range * area + static_cast<long long>(row) * call.n_channels + channel] =
          sums[output * Whole::SUM_ROW + row];
  }
  if (n_ranges > 1) {
    float* const is_last = shared + Whole::SHARED - 1;
    fence();
    sync_block();
    if (thread_index() == 0) *is_last = next_place(call.counters + strip) == n_ranges - 1 ? 1.0f : 0.0f;
    sync_block();
    if (*is_last == 0.0f) return;
    fence();
    if (thread_index() == 0) call.counters[strip] = 0;
  }
  for (int i = thread_index(); i < n; i += VALUE_THREADS) {
    const int row = i / Whole::OUTPUTS, output = i % Whole::OUTPUTS, channel = first_output + output;
    if (channel >= call.n_channels) continue;
    const long long at = static_cast<long long>(row) * call.n_channels + channel;
    float sum = n_ranges > 1 ? 0.0f : sums[output * Whole::SUM_ROW + row];
    for (int j = 0; j < n_ranges && n_ranges > 1; ++j) sum += load_fresh(call.parts + j * area + at);
    call.x[at] += sum;
  }
}

}  // namespace rwkv

#define RWKV_VALUES_KERNELS(type, tiles)                                                             \
  RWKV_KERNEL(rwkv_values7_##type##_##tiles, rwkv::VALUE_THREADS)(const rwkv_values_call call) {     \
    rwkv::values7<rwkv::type, rwkv::Halves<rwkv::type>, tiles>(call);                                \
  }                                                                                                  \
  RWKV_KERNEL(rwkv_values7_int8_##type##_##tiles, rwkv::VALUE_THREADS)(const rwkv_values_call call) { \
    rwkv::values7<rwkv::type, rwkv::Bytes<rwkv::type>, tiles>(call);                                 \
  }
RWKV_VALUES_KERNELS(fp16, 1)
RWKV_VALUES_KERNELS(fp16, 2)
RWKV_VALUES_KERNELS(bf16, 1)
RWKV_VALUES_KERNELS(bf16, 2)
