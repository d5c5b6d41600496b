// RWKV-5 and 6, token after token:  y = S r + (r . (u k)) v ;  S = S diag(decay) + v k^T
// In RWKV-5 the decay is the same for every token (5.0 and 5.1: for every key of a head too).
#pragma once

#include "heads.cuh"

namespace rwkv {

template <class T, int PADDED, bool HAS_DECAY>
RWKV_DEVICE void wkv56(const rwkv_heads_call& call) {
  using Cut = Tile<PADDED>;
  using Ahead = Chunk<T, PADDED, 2, HAS_DECAY>;
  RWKV_SHARED(shared, Ahead::SHARED);
  const Place<PADDED> place(call);
  const void* const from[2] = {call.r, call.k};
  float u[Cut::KEYS], fixed_decay[Cut::KEYS];
  RWKV_UNROLL
  for (int i = 0; i < Cut::KEYS; ++i) {
    const bool is_there = place.key(i) < call.head_size;
    const int at = place.head * call.head_size + place.key(i);
    u[i] = is_there ? call.u[at] : 0.0f;
    fixed_decay[i] = !HAS_DECAY && is_there ? exponential(call.log_decay[at]) : 1.0f;
  }
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
      const Keys<PADDED> decay(token + (HAS_DECAY ? Ahead::DECAY : 0), place);
      const float v = shared[Ahead::VALUES + t * Cut::ROWS + thread_index() / Cut::LANES];
      float y = 0.0f;
      RWKV_UNROLL
      for (int i = 0; i < Cut::KEYS; ++i) {
        const float added = v * k.x[i];
        y = multiply_add(r.x[i], multiply_add(u[i], added, row.s[i]), y);
        row.s[i] = multiply_add(row.s[i], HAS_DECAY ? decay.x[i] : fixed_decay[i], added);
      }
      put_y<T>(call, place, first + t, group_sum<Cut::LANES>(y));
    }
  }
  clear_padding<T>(call, place);
  row.write(call, place);
}

}  // namespace rwkv
