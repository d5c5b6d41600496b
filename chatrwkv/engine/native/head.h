#pragma once
#include "kernels.h"

// What `rwkv_head` of abi.h does.
int head(const Kernels& kernels, const float* x, int n, int wanted, int room, int32_t* ids, rwkv_head_sums& sums);
