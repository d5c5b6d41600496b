// RWKV-6: the decay depends on token and key.
#pragma once

#include "wkv56.cuh"

namespace rwkv {

template <class T, int PADDED>
RWKV_DEVICE void wkv6(const rwkv_heads_call& call) {
  wkv56<T, PADDED, true>(call);
}

}  // namespace rwkv

RWKV_HEAD_KERNELS(wkv6)
