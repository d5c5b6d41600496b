// RWKV-5: RWKV-6 with one decay for all tokens, (H, N); 5.0 and 5.1 broadcast theirs over the keys.
#pragma once

#include "wkv56.cuh"

namespace rwkv {

template <class T, int PADDED>
RWKV_DEVICE void wkv5(const rwkv_heads_call& call) {
  wkv56<T, PADDED, false>(call);
}

}  // namespace rwkv

RWKV_HEAD_KERNELS(wkv5)
