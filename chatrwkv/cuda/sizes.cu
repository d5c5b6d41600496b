// What `abi.py` compares with its mirror when the library is opened.
#include "calls.h"
#include "launch.cuh"

RWKV_EXPORT int rwkv_cuda_sizes(int which) {
  constexpr int sizes[] = {sizeof(rwkv_heads_call), sizeof(rwkv_channels_call), sizeof(rwkv_draw_call),
                           sizeof(rwkv_draw_row), sizeof(rwkv_drawn)};
  return which >= 0 && which < 5 ? sizes[which] : 0;
}
