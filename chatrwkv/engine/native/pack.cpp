// Weights into tiles and back. Packing runs once for each model and format (the result is cached on disk), so it
// spends time on the least error, see pack.inl.
#include "pack.h"

#include <math.h>
#include <string.h>

#include "tables.h"

namespace {

float from_bf16(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

uint16_t to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);  // NaN stays one
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_fp16(uint16_t x) {
    const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16, exponent = x >> 10 & 31, fraction = x & 1023;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * ldexpf(static_cast<float>(fraction), -24);
    const uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

// byte of column c (of four) inside a lane: columns 0 2 1 3
inline int place4(int c) { return (c & 1) * 2 + (c >> 1 & 1); }

// Columns [first, first + n) of one row, as floats `step` apart.
template <typename T, typename Convert>
void read_row(const T* src, int64_t col_stride, int n, float* out, int step, Convert convert) {
    for (int c = 0; c < n; c++) out[c * step] = convert(src[c * col_stride]);
}

void read_row(const PackJob& job, int row, int first, int n, float* out, int step) {
    const int64_t at = row * job.row_stride + first * job.col_stride;
    const uint16_t* halves = static_cast<const uint16_t*>(job.src) + at;
    if (job.src_format == RWKV_FP32)
        read_row(static_cast<const float*>(job.src) + at, job.col_stride, n, out, step, [](float x) { return x; });
    else if (job.src_format == RWKV_BF16) read_row(halves, job.col_stride, n, out, step, from_bf16);
    else read_row(halves, job.col_stride, n, out, step, from_fp16);
}

}  // namespace

void pack_tile(const Kernels& kernels, const PackJob& job, int tile) {
    const int first = tile * kTileRows, per_line = line_columns(job.format);
    const int n_rows = job.rows - first < kTileRows ? job.rows - first : kTileRows;
    uint8_t* out = job.dst + tile * tile_bytes(job.format, job.cols);
    uint16_t* scales = reinterpret_cast<uint16_t*>(out);
    uint8_t* lines = out + tile_scale_bytes(job.format, job.cols);
    memset(out, 0, static_cast<size_t>(tile_bytes(job.format, job.cols)));  // padding meets activations of zero
    for (int c = 0; c < job.cols; c += kGroup) {
        const int n = job.cols - c < kGroup ? job.cols - c : kGroup;
        float x[kGroup * kTileRows] = {0.0f};  // (columns, rows): a lane is a row
        for (int row = 0; row < n_rows; row++) read_row(job, first + row, c, n, x + row, kTileRows);
        uint8_t* line = lines + static_cast<int64_t>(c / per_line) * kLine;
        if (is_quantised(job.format)) {
            kernels.pack_group(job.format, x, n, scales + c / kGroup * kTileRows, line);
        } else if (job.format == RWKV_FP32) {
            memcpy(line, x, static_cast<size_t>(n) * kLine);
        } else {
            uint16_t* pairs = reinterpret_cast<uint16_t*>(line);
            for (int i = 0; i < n; i++)
                for (int row = 0; row < kTileRows; row++)
                    pairs[(i / 2 * kTileRows + row) * 2 + i % 2] = to_bf16(x[i * kTileRows + row]);
        }
    }
}

void unpack(const rwkv_matrix& w, float* dst) {
    const int per_line = line_columns(w.format);
    for (int row = 0; row < w.rows; row++) {
        const uint8_t* tile = w.data + row / kTileRows * tile_bytes(w.format, w.cols);
        const uint8_t* lines = tile + tile_scale_bytes(w.format, w.cols);
        const int lane = row % kTileRows;
        for (int c = 0; c < w.cols; c++) {
            const uint8_t* at = lines + static_cast<int64_t>(c / per_line) * kLine + lane * 4;
            float value;
            if (w.format == RWKV_FP32) {
                memcpy(&value, at, 4);
            } else if (w.format == RWKV_BF16) {
                uint16_t b;
                memcpy(&b, at + (c & 1) * 2, 2);
                value = from_bf16(b);
            } else {
                const uint8_t byte = at[place4(c & 3)];
                const int stored = w.format == RWKV_INT8 ? byte : kInt4Table[c % 8 < 4 ? byte & 15 : byte >> 4];
                uint16_t scale;
                memcpy(&scale, tile + (static_cast<int64_t>(c / kGroup) * kTileRows + lane) * 2, 2);
                value = from_bf16(scale) * static_cast<float>(stored - 128);
            }
            dst[static_cast<int64_t>(row) * w.cols + c] = value;
        }
    }
}
