// Weights into tiles. Runs once for each model and format (the result is cached on disk), so it spends time
// on the least error: for each group of 64 weights the scale is searched, not taken from the largest value.
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

float element(const void* src, int format, int64_t at) {
    if (format == RWKV_FP32) return static_cast<const float*>(src)[at];
    const uint16_t x = static_cast<const uint16_t*>(src)[at];
    return format == RWKV_BF16 ? from_bf16(x) : from_fp16(x);
}

// the nearest entry of the INT4 table for each whole number
struct Nearest {
    uint8_t index[256] = {};
    constexpr Nearest() {
        for (int x = 0; x < 256; x++) {
            int best = 0;
            for (int i = 1; i < 16; i++)
                if (abs_of(kInt4Table[i] - x) < abs_of(kInt4Table[best] - x)) best = i;
            index[x] = static_cast<uint8_t>(best);
        }
    }
    static constexpr int abs_of(int x) { return x < 0 ? -x : x; }
};
constexpr Nearest kNearest;

// Integers of n weights for one scale, and how well they fit: `error`, and the scale that fits them best.
struct Fit {
    float error, better_scale;
};

Fit quantise_group(const float* x, int n, float scale, int format, uint8_t* q) {
    const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
    float xv = 0.0f, vv = 0.0f, xx = 0.0f;
    for (int i = 0; i < n; i++) {
        const float y = x[i] * inverse;
        const float limited = y < -127.0f ? -127.0f : y > 127.0f ? 127.0f : y;
        int value = static_cast<int>(limited + 128.5f);  // 1 to 255: positive, so that truncation rounds
        if (format == RWKV_INT4) {
            q[i] = kNearest.index[value];
            value = kInt4Table[q[i]];
        } else {
            q[i] = static_cast<uint8_t>(value);
        }
        const float v = static_cast<float>(value - 128);
        xv += x[i] * v;
        vv += v * v;
        xx += x[i] * x[i];
    }
    return {xx - 2.0f * scale * xv + scale * scale * vv, vv > 0.0f ? xv / vv : 0.0f};
}

// The bf16 scale and integers of least squared error over a few starts and refinements. The INT4 table is
// not symmetric, so negative scales are tried too.
uint16_t best_group(const float* x, int n, int format, uint8_t* q) {
    float top = 0.0f;
    for (int i = 0; i < n; i++) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    static const float starts4[] = {1 / 122.0f, -1 / 122.0f, 1 / 105.0f, -1 / 105.0f, 1 / 140.0f, -1 / 140.0f};
    static const float starts8[] = {1 / 127.0f, 1 / 131.0f};
    const float* starts = format == RWKV_INT4 ? starts4 : starts8;
    const int n_starts = format == RWKV_INT4 ? 6 : 2, n_rounds = format == RWKV_INT4 ? 3 : 2;
    uint8_t trial[kGroup];
    float least = INFINITY;
    uint16_t best = 0;
    memset(q, format == RWKV_INT4 ? kNearest.index[128] : 128, static_cast<size_t>(n));
    for (int s = 0; s < n_starts; s++) {
        float scale = top * starts[s];
        for (int round = 0; round < n_rounds; round++) {
            const uint16_t stored = to_bf16(scale);
            const Fit fit = quantise_group(x, n, from_bf16(stored), format, trial);
            if (fit.error < least) {
                least = fit.error;
                best = stored;
                memcpy(q, trial, static_cast<size_t>(n));
            }
            scale = fit.better_scale;
        }
    }
    return best;
}

// byte of column c (of four) inside a lane: columns 0 2 1 3
inline int place4(int c) { return (c & 1) * 2 + (c >> 1 & 1); }

void pack_quantised(int format, const float* rows, int n_columns, uint8_t* tile) {
    const int per_line = line_columns(format);
    const int64_t n_lines = tile_lines(format, n_columns);
    uint16_t* scales = reinterpret_cast<uint16_t*>(tile);
    uint8_t* lines = tile + tile_scale_bytes(format, n_columns);
    memset(lines, 0, static_cast<size_t>(n_lines * kLine));  // padding columns meet activations of zero
    for (int row = 0; row < kTileRows; row++) {
        const float* x = rows + static_cast<int64_t>(row) * n_columns;
        for (int g = 0, c = 0; c < n_columns; g++) {
            const int n = n_columns - c < kGroup ? n_columns - c : kGroup;
            uint8_t q[kGroup];
            scales[g * kTileRows + row] = best_group(x + c, n, format, q);
            for (int i = 0; i < n; i++, c++) {
                const int in_line = c % per_line;
                uint8_t* byte = lines + static_cast<int64_t>(c / per_line) * kLine + row * 4 + place4(in_line & 3);
                if (format == RWKV_INT8) *byte = q[i];
                else if (in_line < 4) *byte = static_cast<uint8_t>((*byte & 0xf0) | q[i]);
                else *byte = static_cast<uint8_t>((*byte & 0x0f) | q[i] << 4);
            }
        }
    }
}

}  // namespace

void pack_tile(const PackJob& job, int tile, float* room) {
    const int first = tile * kTileRows;
    const int n_rows = job.rows - first < kTileRows ? job.rows - first : kTileRows;
    uint8_t* out = job.dst + tile * tile_bytes(job.format, job.cols);
    memset(out, 0, static_cast<size_t>(tile_bytes(job.format, job.cols)));
    for (int row = 0; row < kTileRows; row++) {
        float* x = room + static_cast<int64_t>(row) * job.cols;
        for (int c = 0; c < job.cols; c++)
            x[c] = row < n_rows ? element(job.src, job.src_format, (first + row) * job.row_stride + c * job.col_stride) : 0.0f;
    }
    if (is_quantised(job.format)) return pack_quantised(job.format, room, job.cols, out);
    for (int row = 0; row < kTileRows; row++) {
        const float* x = room + static_cast<int64_t>(row) * job.cols;
        for (int c = 0; c < job.cols; c++) {
            if (job.format == RWKV_FP32) {
                memcpy(out + static_cast<int64_t>(c) * kLine + row * 4, x + c, 4);
            } else {
                const uint16_t b = to_bf16(x[c]);
                memcpy(out + static_cast<int64_t>(c / 2) * kLine + row * 4 + (c & 1) * 2, &b, 2);
            }
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
