// RWKV-7, token after token:  S = S diag(decay) + (S a) b^T + v k^T, the old S on the right;  y = S r
#pragma once

#include "heads.cuh"

namespace rwkv {

template <class T, int PADDED>
RWKV_DEVICE void wkv7(const rwkv_heads_call& call) {
  using Cut = Tile<PADDED>;
  using Ahead = Chunk<T, PADDED, 4, true>;
  RWKV_SHARED(shared, Ahead::SHARED);
  const Place<PADDED> place(call);
  const void* const from[4] = {call.r, call.k, call.a, call.b};
  StateRow<PADDED> row;
  row.read(call, place);
  Ahead ahead;
  ahead.fetch(call, place, from, 0);
  for (int first = 0; first < place.length; first += Cut::TOKENS) {
    sync_block();  // everybody has read the chunk before
    ahead.put(shared);
    sync_block();
    ahead.fetch(call, place, from, first + Cut::TOKENS);
    const int n = place.length - first < Cut::TOKENS ? place.length - first : Cut::TOKENS;
    RWKV_UNROLL_2
    for (int t = 0; t < n; ++t) {
      const float* token = shared + t * PADDED;
      const Keys<PADDED> r(token, place), k(token + Ahead::VECTOR, place);
      const Keys<PADDED> a(token + 2 * Ahead::VECTOR, place), b(token + 3 * Ahead::VECTOR, place);
      const Keys<PADDED> decay(token + Ahead::DECAY, place);
      const float v = shared[Ahead::VALUES + t * Cut::ROWS + thread_index() / Cut::LANES];
      float read = 0.0f, y = 0.0f;
      RWKV_UNROLL
      for (int i = 0; i < Cut::KEYS; ++i) read = multiply_add(row.s[i], a.x[i], read);
      read = group_sum<Cut::LANES>(read);
      RWKV_UNROLL
      for (int i = 0; i < Cut::KEYS; ++i) {
        row.s[i] = multiply_add(row.s[i], decay.x[i], multiply_add(read, b.x[i], v * k.x[i]));
        y = multiply_add(row.s[i], r.x[i], y);
      }
      put_y<T>(call, place, first + t, group_sum<Cut::LANES>(y));
    }
  }
  clear_padding<T>(call, place);
  row.write(call, place);
}

}  // namespace rwkv

RWKV_HEAD_KERNELS(wkv7)
