// RWKV-7, sixteen tokens at a time on tensor cores; the sums are those of `wkv7.cuh` in another order.
//
// With D(t) the product of the decays up to token t of the chunk, and a' = a D(t-1), r' = r D(t), b' = b / D,
// k' = k / D, what a token reads of the old state is
//     u(t) = S a'(t) + sum over j < t of  u(j) (b'(j) . a'(t)) + v(j) (k'(j) . a'(t))
// so that U = (S A'^T + V K^T) M^T with M the inverse of a triangle of ones below its diagonal, and
//     y(t) = S r'(t) + sum over j <= t of  u(j) (b'(j) . r'(t)) + v(j) (k'(j) . r'(t))
//     S    = (S + U B' + V K') D(last)
// D is taken from the middle of the chunk, where RWKV-7's decays (0.545 at least) leave it between e^-5 and e^5.
// Log decays down to -10 stay inside float32.
//
// A block has one head, each of its warps 16 values of the state, in registers as the sums of the products.
// Products are three of tf32 each, which keeps float32's precision but for its last bits. Heads beyond 64, which
// no RWKV-7 has, would not fit the registers.
#pragma once

#include "heads.cuh"
#include "tiles.cuh"

namespace rwkv {

template <int PADDED>
struct Sixteens {
  static constexpr int TOKENS = 16, HALF = 8;  // a thread has one key of half of the tokens
  static constexpr int THREADS = 2 * PADDED;
  static constexpr int ROWS = PADDED;  // values a block
  static constexpr int WARPS = THREADS / 32;
  static constexpr int KEY_TILES = PADDED / 8;
  static constexpr int ROW = PADDED + 4;  // of a token in shared memory: eight rows lie in different banks
  static constexpr int VECTOR = TOKENS * ROW;
  static constexpr int SQUARE_ROW = 20;
  static constexpr int SQUARE = TOKENS * SQUARE_ROW;
  static constexpr int SHARED = 5 * VECTOR + 4 * SQUARE + 2 * PADDED;
};

// Where a block keeps its chunk.
template <int PADDED>
struct Desk {
  using Cut = Sixteens<PADDED>;
  float *a, *r, *b, *k, *v;     // (token, key), the first four scaled; v (token, value)
  float* squares;               // b.a turned into M, k.a, b.r, k.r: (token that reads, token that wrote)
  float *to_middle, *from_middle;  // decay of the chunk's first and second half

  RWKV_DEVICE explicit Desk(float* shared)
      : a(shared),
        r(a + Cut::VECTOR),
        b(r + Cut::VECTOR),
        k(b + Cut::VECTOR),
        v(k + Cut::VECTOR),
        squares(v + Cut::VECTOR),
        to_middle(squares + 4 * Cut::SQUARE),
        from_middle(to_middle + PADDED) {}
};

// One key of half a chunk, on its way from memory.
template <class T, int PADDED>
struct HalfColumn {
  using Cut = Sixteens<PADDED>;
  T r[Cut::HALF], k[Cut::HALF], v[Cut::HALF], a[Cut::HALF], b[Cut::HALF];
  float log_decay[Cut::HALF];

  RWKV_DEVICE void fetch(const rwkv_heads_call& call, int first_token, int length) {
    const int key = thread_index() % PADDED, head = block_index() % call.n_heads;
    const long long row = block_index() / call.n_heads;
    RWKV_UNROLL
    for (int i = 0; i < Cut::HALF; ++i) {
      const int token = first_token + thread_index() / PADDED * Cut::HALF + i;
      const bool is_there = token < length && key < call.head_size;
      const long long at = ((row * call.n_tokens + token) * call.n_heads + head) * call.head_size + key;
      r[i] = is_there ? static_cast<const T*>(call.r)[at] : zero_of<T>();
      k[i] = is_there ? static_cast<const T*>(call.k)[at] : zero_of<T>();
      v[i] = is_there ? static_cast<const T*>(call.v)[at] : zero_of<T>();
      a[i] = is_there ? static_cast<const T*>(call.a)[at] : zero_of<T>();
      b[i] = is_there ? static_cast<const T*>(call.b)[at] : zero_of<T>();
      log_decay[i] = is_there ? call.log_decay[at] : 0.0f;
    }
  }

  RWKV_DEVICE void put(const Desk<PADDED>& desk) const {
    const int key = thread_index() % PADDED, half = thread_index() / PADDED;
    float total = 0.0f;
    RWKV_UNROLL
    for (int i = 0; i < Cut::HALF; ++i) total += log_decay[i];
    float before = half == 0 ? -total : 0.0f;  // log D up to the token before this one, from the middle
    RWKV_UNROLL
    for (int i = 0; i < Cut::HALF; ++i) {
      const int at = (half * Cut::HALF + i) * Cut::ROW + key;
      const float after = before + log_decay[i], grown = exponential(-after);
      desk.a[at] = value_of(a[i]) * exponential(before);
      desk.r[at] = value_of(r[i]) * exponential(after);
      desk.b[at] = value_of(b[i]) * grown;
      desk.k[at] = value_of(k[i]) * grown;
      desk.v[at] = value_of(v[i]);
      before = after;
    }
    (half == 0 ? desk.to_middle : desk.from_middle)[key] = exponential(total);
  }
};

// The four squares, each by one warp; what a token may not see is zero.
template <int PADDED>
RWKV_DEVICE void put_squares(const Desk<PADDED>& desk, const Lane& lane, int warp) {
  using Cut = Sixteens<PADDED>;
  for (int which = warp; which < 4; which += Cut::WARPS) {
    const float* const reads = which < 2 ? desk.a : desk.r;
    const float* const writes = which % 2 == 0 ? desk.b : desk.k;
    RWKV_UNROLL
    for (int j = 0; j < Cut::TOKENS; j += 8) {
      Sum found;
      RWKV_UNROLL
      for (int key = 0; key < PADDED; key += 8)
        multiply(found, left_from(lane, reads + key, Cut::ROW, 1),
                 right_from(lane, writes + j * Cut::ROW + key, 1, Cut::ROW));
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int reader = lane.row(i), writer = j + lane.column(i);
        const bool is_seen = which < 2 ? writer < reader : writer <= reader;
        desk.squares[which * Cut::SQUARE + reader * Cut::SQUARE_ROW + writer] = is_seen ? found.x[i] : 0.0f;
      }
    }
  }
}

// Turns the first square X into the inverse of 1 - X: a lane has a column. For the warp that wrote X.
template <int PADDED>
RWKV_DEVICE void invert(const Desk<PADDED>& desk) {
  using Cut = Sixteens<PADDED>;
  const int column = thread_index() % Cut::TOKENS;
  float x[Cut::TOKENS];
  sync_warp();
  RWKV_UNROLL
  for (int t = 0; t < Cut::TOKENS; ++t) {
    x[t] = t == column ? 1.0f : 0.0f;
    RWKV_UNROLL
    for (int j = 0; j < t; ++j) x[t] = multiply_add(desk.squares[t * Cut::SQUARE_ROW + j], x[j], x[t]);
  }
  sync_warp();
  if (thread_index() < Cut::TOKENS)
    for (int t = 0; t < Cut::TOKENS; ++t) desk.squares[t * Cut::SQUARE_ROW + column] = x[t];
}

// The 16 values of a warp: their state, and one chunk of it.
template <int PADDED>
struct Values {
  using Cut = Sixteens<PADDED>;
  Sum s[Cut::KEY_TILES];
  Sum u[2], y[2];  // (value, token)

  RWKV_DEVICE long long offset(const rwkv_heads_call& call, const Lane& lane, int warp, int tile, int i) const {
    const int value = 16 * warp + lane.row(i), key = 8 * tile + lane.column(i);
    const bool is_there = value < call.head_size && key < call.head_size;
    return is_there ? (static_cast<long long>(block_index()) * call.head_size + value) * call.head_size + key : -1;
  }

  RWKV_DEVICE void read(const rwkv_heads_call& call, const Lane& lane, int warp) {
    RWKV_UNROLL
    for (int tile = 0; tile < Cut::KEY_TILES; ++tile)
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const long long at = offset(call, lane, warp, tile, i);
        s[tile].x[i] = at < 0 ? 0.0f : call.state[at];
      }
  }

  RWKV_DEVICE void write(const rwkv_heads_call& call, const Lane& lane, int warp) const {
    RWKV_UNROLL
    for (int tile = 0; tile < Cut::KEY_TILES; ++tile)
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const long long at = offset(call, lane, warp, tile, i);
        if (at >= 0) call.state[at] = s[tile].x[i];
      }
  }

  // What the old state gives to u and y. Needs no square.
  RWKV_DEVICE void meet_state(const Desk<PADDED>& desk, const Lane& lane) {
    RWKV_UNROLL
    for (int n = 0; n < 2; ++n) u[n] = y[n] = Sum{};
    RWKV_UNROLL
    for (int tile = 0; tile < Cut::KEY_TILES; ++tile) {
      scale(s[tile], desk.to_middle + 8 * tile, lane);
      const Left old = as_left(s[tile]);
      RWKV_UNROLL
      for (int n = 0; n < 2; ++n) {
        const int from = 8 * n * Cut::ROW + 8 * tile;
        multiply(u[n], old, right_from(lane, desk.a + from, 1, Cut::ROW));
        multiply(y[n], old, right_from(lane, desk.r + from, 1, Cut::ROW));
      }
    }
  }

  // sums += factors (value, token that wrote) times a square.
  RWKV_DEVICE static void through(Sum (&sums)[2], const Left (&factors)[2], const float* square, const Lane& lane) {
    RWKV_UNROLL
    for (int n = 0; n < 2; ++n)
      RWKV_UNROLL
      for (int j = 0; j < 2; ++j)
        multiply(sums[n], factors[j], right_from(lane, square + 8 * n * Cut::SQUARE_ROW + 8 * j, 1, Cut::SQUARE_ROW));
  }

  RWKV_DEVICE void meet_chunk(const Desk<PADDED>& desk, const Lane& lane, int warp) {
    const Left v[2] = {left_from(lane, desk.v + 16 * warp, 1, Cut::ROW),
                       left_from(lane, desk.v + 16 * warp + 8 * Cut::ROW, 1, Cut::ROW)};
    through(u, v, desk.squares + Cut::SQUARE, lane);
    const Left read[2] = {as_left(u[0]), as_left(u[1])};
    Sum solved[2];
    through(solved, read, desk.squares, lane);
    const Left removed[2] = {as_left(solved[0]), as_left(solved[1])};
    through(y, removed, desk.squares + 2 * Cut::SQUARE, lane);
    through(y, v, desk.squares + 3 * Cut::SQUARE, lane);
    RWKV_UNROLL
    for (int tile = 0; tile < Cut::KEY_TILES; ++tile) {
      RWKV_UNROLL
      for (int j = 0; j < 2; ++j) {
        const int from = 8 * j * Cut::ROW + 8 * tile;
        multiply(s[tile], removed[j], right_from(lane, desk.b + from, Cut::ROW, 1));
        multiply(s[tile], v[j], right_from(lane, desk.k + from, Cut::ROW, 1));
      }
      scale(s[tile], desk.from_middle + 8 * tile, lane);
    }
  }

  template <class T>
  RWKV_DEVICE void put_y(const rwkv_heads_call& call, const Lane& lane, int warp, int first_token, int length) const {
    const int head = block_index() % call.n_heads;
    const long long row = block_index() / call.n_heads;
    RWKV_UNROLL
    for (int n = 0; n < 2; ++n)
      RWKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int value = 16 * warp + lane.row(i), token = first_token + 8 * n + lane.column(i);
        if (value >= call.head_size || token >= call.n_tokens) continue;
        const long long at = ((row * call.n_tokens + token) * call.n_heads + head) * call.head_size + value;
        store(static_cast<T*>(call.y) + at, token < length ? y[n].x[i] : 0.0f);
      }
  }
};

template <class T, int PADDED>
RWKV_DEVICE void wkv7_chunked(const rwkv_heads_call& call) {
  using Cut = Sixteens<PADDED>;
  RWKV_SHARED(shared, Cut::SHARED);
  const Desk<PADDED> desk(shared);
  const Lane lane;
  const int warp = thread_index() / 32;
  const int length = call.lengths ? call.lengths[block_index() / call.n_heads] : call.n_tokens;
  Values<PADDED> values;
  values.read(call, lane, warp);
  HalfColumn<T, PADDED> ahead;
  ahead.fetch(call, 0, length);
  for (int first = 0; first < call.n_tokens; first += Cut::TOKENS) {
    sync_block();  // everybody has read the chunk before
    ahead.put(desk);
    sync_block();
    ahead.fetch(call, first + Cut::TOKENS, length);
    put_squares(desk, lane, warp);
    if (warp == 0) invert(desk);
    values.meet_state(desk, lane);
    sync_block();
    values.meet_chunk(desk, lane, warp);
    values.template put_y<T>(call, lane, warp, first, length);
  }
  values.write(call, lane, warp);
}

}  // namespace rwkv

RWKV_HEAD_KERNELS_TO_64(wkv7_chunked, Sixteens, fp32)
RWKV_HEAD_KERNELS_TO_64(wkv7_chunked, Sixteens, fp16)
RWKV_HEAD_KERNELS_TO_64(wkv7_chunked, Sixteens, bf16)
