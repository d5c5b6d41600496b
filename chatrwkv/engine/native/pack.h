#pragma once
#include "kernels.h"

struct PackJob {
    int format;
    const void* src;
    int src_format, rows, cols;
    int64_t row_stride, col_stride;
    uint8_t* dst;
};

void pack_tile(const Kernels& kernels, const PackJob& job, int tile);
void unpack(const rwkv_matrix& matrix, float* dst);  // float32 (rows, cols)
