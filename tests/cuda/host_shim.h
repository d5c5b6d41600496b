// Runs CUDA blocks on the host, one after another, so that indexing and arithmetic are tested where no GPU is.
//
// The threads of a block are fibers (ucontext) that really wait for each other: 128 system threads on two cores
// need about a millisecond a barrier, fibers a few microseconds. Once begun they change by longjmp, which unlike
// swapcontext asks nothing of the system. They also run in a known order, forwards or
// backwards: what lacks a barrier is wrong in one of the two. Shared memory is full of NaN when a block
// starts, and has a guard behind each array. Not a model of speed, nor of what threads of one warp may
// do between barriers.
#pragma once

#undef _FORTIFY_SOURCE  // its longjmp refuses another stack
#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

namespace host_shim {

constexpr int WARP = 32;
constexpr std::size_t STACK_BYTES = 64 << 10;
constexpr int SHARED_FLOATS = 48 * 1024 / 4;  // what every GPU gives a block
constexpr int MOST_EXCHANGED = 6;  // numbers of a thread in one exchange
constexpr int GUARD_FLOATS = 4;
constexpr float GUARD = -12345.678f;
constexpr int DIVERGED = 9001, SHARED_OVERRUN = 9002;  // beyond CUDA's own error codes

enum class At { running, warp, block, end };

struct Fiber {
  ucontext_t context;  // its beginning
  jmp_buf place;       // where it waits
  bool has_begun;
  std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
  At at;
  int n_exchanges;
  int shared_used;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<float> values[2];  // of the exchange of even and of odd number
  alignas(16) float shared[SHARED_FLOATS];
  std::vector<int> guards;
  jmp_buf scheduler;
  std::function<void()> kernel;
  int index = 0, thread = 0;
};

inline Block& block() {
  static Block the_one;
  return the_one;
}

inline bool& is_backwards() {
  static bool it_is = false;
  return it_is;
}

inline int* last_launch() {
  static int blocks_and_threads[2] = {0, 0};
  return blocks_and_threads;
}

inline int thread_index() { return block().thread; }
inline int block_index() { return block().index; }

inline void wait(At what) {
  Block& b = block();
  Fiber& me = b.fibers[b.thread];
  me.at = what;
  if (_setjmp(me.place) == 0) _longjmp(b.scheduler, 1);
}

inline void sync_block() { wait(At::block); }
inline void sync_warp() { wait(At::warp); }

// Shows numbers to the warp; all numbers of all threads of the block, MOST_EXCHANGED apart.
inline const float* exchange(const float* mine, int count) {
  Block& b = block();
  std::vector<float>& values = b.values[b.fibers[b.thread].n_exchanges++ % 2];
  std::memcpy(&values[b.thread * MOST_EXCHANGED], mine, sizeof(float) * static_cast<std::size_t>(count));
  wait(At::warp);
  return values.data();
}

template <int LANES>
float group_sum(float x) {
  const int first = block().thread / LANES * LANES;
  const float* const shown = exchange(&x, 1);
  float sums[LANES];  // pairwise, as the device does it
  for (int i = 0; i < LANES; ++i) sums[i] = shown[(first + i) * MOST_EXCHANGED];
  for (int n = LANES / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) sums[i] += sums[i + n];
  return sums[0];
}

template <int LANES>
float group_max(float x) {
  const int first = block().thread / LANES * LANES;
  const float* const shown = exchange(&x, 1);
  for (int i = 0; i < LANES; ++i) x = std::fmax(x, shown[(first + i) * MOST_EXCHANGED]);
  return x;
}

inline unsigned votes(bool yes) {
  const int first = block().thread / WARP * WARP;
  const float mine = yes ? 1.0f : 0.0f;
  const float* const shown = exchange(&mine, 1);
  unsigned bits = 0;
  for (int i = 0; i < WARP; ++i) bits |= (shown[(first + i) * MOST_EXCHANGED] != 0.0f ? 1u : 0u) << i;
  return bits;
}

// m16n8k16 of pairs, as `portable.cuh` tells; `half_of` takes the first or second number of a pair.
template <class Half>
void mma_16(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2], Half half_of) {
  const int lane = block().thread % WARP, first = block().thread - lane;
  const unsigned mine[MOST_EXCHANGED] = {left[0], left[1], left[2], left[3], right[0], right[1]};
  float carried[MOST_EXCHANGED];
  std::memcpy(carried, mine, sizeof(mine));
  const float* const floats = exchange(carried, MOST_EXCHANGED) + first * MOST_EXCHANGED;
  const auto shown = [floats](int at) {
    unsigned word;
    std::memcpy(&word, floats + at, 4);
    return word;
  };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const unsigned a = shown((row % 8 * 4 + k % 8 / 2) * MOST_EXCHANGED + row / 8 + k / 8 * 2);
      const unsigned b = shown((column * 4 + k % 8 / 2) * MOST_EXCHANGED + 4 + k / 8);
      sum[i] = std::fma(half_of(a, k % 2), half_of(b, k % 2), sum[i]);
    }
  }
}

// m16n8k8: thread 4g + q has left (g, q), (g+8, q), (g, q+4), (g+8, q+4), right (q, g), (q+4, g), and
// sum (g, 2q), (g, 2q+1), (g+8, 2q), (g+8, 2q+1).
inline void mma_tile(float (&sum)[4], const float (&left)[4], const float (&right)[2]) {
  const int lane = block().thread % WARP, first = block().thread - lane;
  const float mine[MOST_EXCHANGED] = {left[0], left[1], left[2], left[3], right[0], right[1]};
  const float* const shown = exchange(mine, MOST_EXCHANGED) + first * MOST_EXCHANGED;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 8; ++k) {
      const float a = shown[(row % 8 * 4 + k % 4) * MOST_EXCHANGED + row / 8 + k / 4 * 2];
      const float b = shown[(column * 4 + k % 4) * MOST_EXCHANGED + 4 + k / 4];
      sum[i] = std::fma(a, b, sum[i]);
    }
  }
}

// The next array of the block; every thread asks for the same ones in the same order.
inline float* shared(int count) {
  Block& b = block();
  Fiber& me = b.fibers[b.thread];
  const int from = me.shared_used;
  const int end = from + count;
  if (end + GUARD_FLOATS > SHARED_FLOATS) {
    std::fprintf(stderr, "a block wants %d bytes of shared memory\n", end * 4);
    std::abort();
  }
  if (std::memcmp(&b.shared[end], &GUARD, 4) != 0) {
    for (int i = 0; i < GUARD_FLOATS; ++i) b.shared[end + i] = GUARD;
    b.guards.push_back(end);
  }
  me.shared_used = (end + GUARD_FLOATS + 3) / 4 * 4;
  return &b.shared[from];
}

inline void enter() {
  Block& b = block();
  b.kernel();
  b.fibers[b.thread].at = At::end;
  _longjmp(b.scheduler, 1);
}

inline void resume(int thread) {
  Block& b = block();
  b.thread = thread;
  Fiber& fiber = b.fibers[thread];
  fiber.at = At::running;
  if (_setjmp(b.scheduler) != 0) return;
  if (fiber.has_begun) _longjmp(fiber.place, 1);
  fiber.has_begun = true;
  setcontext(&fiber.context);
}

// Runs one warp until its threads wait for the block or are done; false if they part ways.
inline bool run_warp(int first, int n, bool backwards) {
  Block& b = block();
  for (;;) {
    for (int i = 0; i < n; ++i) resume(first + (backwards ? n - 1 - i : i));
    const At at = b.fibers[first].at;
    for (int i = 1; i < n; ++i)
      if (b.fibers[first + i].at != at) return false;
    if (at != At::warp) return true;
  }
}

inline bool run_block(int n_threads, bool backwards) {
  Block& b = block();
  for (int t = 0; t < n_threads; ++t) {
    Fiber& fiber = b.fibers[t];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    fiber.has_begun = false;
    makecontext(&fiber.context, enter, 0);
    fiber.at = At::block;
    fiber.n_exchanges = fiber.shared_used = 0;
  }
  const int n_warps = (n_threads + WARP - 1) / WARP;
  while (b.fibers[0].at != At::end) {
    for (int i = 0; i < n_warps; ++i) {
      const int first = (backwards ? n_warps - 1 - i : i) * WARP;
      const int n = n_threads - first < WARP ? n_threads - first : WARP;
      if (!run_warp(first, n, backwards)) return false;
    }
    for (const Fiber& fiber : b.fibers)
      if (fiber.at != b.fibers[0].at) return false;
  }
  return true;
}

inline int run(std::function<void()> kernel, int n_blocks, int n_threads) {
  Block& b = block();
  const bool backwards = is_backwards();
  last_launch()[0] = n_blocks;
  last_launch()[1] = n_threads;
  b.kernel = std::move(kernel);
  b.fibers.resize(static_cast<std::size_t>(n_threads));
  for (auto& values : b.values) values.assign(static_cast<std::size_t>(n_threads) * MOST_EXCHANGED, 0.0f);
  for (int i = 0; i < n_blocks; ++i) {
    b.index = backwards ? n_blocks - 1 - i : i;
    b.guards.clear();
    for (float& x : b.shared) x = std::numeric_limits<float>::quiet_NaN();
    if (!run_block(n_threads, backwards)) return DIVERGED;
    for (int end : b.guards)
      for (int g = 0; g < GUARD_FLOATS; ++g)
        if (std::memcmp(&b.shared[end + g], &GUARD, 4) != 0) return SHARED_OVERRUN;
  }
  return 0;
}

inline float float_of_bits(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline unsigned bits_of_float(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float tf32_of(float x) {  // to nearest, ties away from zero, 10 bits behind the point
  return float_of_bits((bits_of_float(x) + 0x1000u) & ~0x1fffu);
}
inline float exponential(float x) { return std::exp(x); }
inline float logarithm(float x) { return std::log(x); }
inline float multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
inline float larger(float a, float b) { return std::fmax(a, b); }
inline float smaller(float a, float b) { return std::fmin(a, b); }
inline float raised(float x, float power) { return std::pow(x, power); }
inline double raised(double x, double power) { return std::pow(x, power); }
inline int next_place(int* n_taken) { return (*n_taken)++; }
inline float square_root(float x) { return std::sqrt(x); }
inline float hyperbolic_tangent(float x) { return std::tanh(x); }
inline unsigned bytes_of(unsigned a, unsigned b, unsigned which) {
  const unsigned long long both = static_cast<unsigned long long>(b) << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) out |= static_cast<unsigned>(both >> 8 * (which >> 4 * i & 7) & 0xffu) << 8 * i;
  return out;
}
inline int n_bits(unsigned x) { return __builtin_popcount(x); }
inline void fence() {}

inline float float_of_f16(unsigned short bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  float x = exponent == 31 ? (fraction ? std::nanf("") : INFINITY)
            : exponent     ? std::ldexp(1024.0f + static_cast<float>(fraction), exponent - 25)
                           : std::ldexp(static_cast<float>(fraction), -24);
  return bits >> 15 ? -x : x;
}
inline unsigned short f16_of_float(float x) {
  const unsigned short sign = bits_of_float(x) >> 31 ? 0x8000 : 0;
  const float size = std::fabs(x);
  if (std::isnan(x)) return 0x7e00;
  if (size == 0.0f) return sign;
  if (size >= 65520.0f) return static_cast<unsigned short>(sign | 0x7c00);  // rounds to infinity
  int exponent = 0;
  std::frexp(size, &exponent);                          // size in [2^(exponent-1), 2^exponent)
  const int unit = exponent - 11 < -24 ? -24 : exponent - 11;  // of the last bit
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(size, -unit)));
  // The leading bit of steps, 1024, adds 1 to the exponent field; subnormals have neither.
  const int bits = ((unit + 24) << 10) + steps;
  return static_cast<unsigned short>(sign | bits);
}

}  // namespace host_shim
