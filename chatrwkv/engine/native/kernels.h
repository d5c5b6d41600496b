// What a level of instruction sets offers to the token step: one table of functions, filled once for each
// level from the same source (kernels.inl over simd_*.h) and chosen at run time.
//
// The files that fill it are compiled with instruction set flags of their own. They include no standard C++
// header: an inline function compiled there with AVX-512 could be the copy the linker keeps for everybody.
#pragma once
#include <stdint.h>

#include "abi.h"

constexpr int kTileRows = 16;   // rows of a tile = lanes
constexpr int kGroup = 64;      // columns that share a scale, in weights and in quantised activations
constexpr int kLine = 64;       // bytes
constexpr int kMaxHead = 128;   // head size
constexpr int kMaxNarrowTokens = 8;  // tokens that the narrow product takes at most
constexpr int kMaxTokens = RWKV_MAX_TOKENS;  // of one pass; more gains nothing and costs cache and latency

// What becomes of a sum before it is stored.
enum class After : int32_t { kStore, kAdd, kRelu2, kTanh, kSigmoid, kSilu, kAddGated };

// The input of matrix products: M tokens, written as `f`, then arranged into what the products read: all
// tokens of a column side by side, so that one address register serves them all. Padding columns are zero.
//
//   few tokens, S = `lanes_of(M)` apart:  a column's floats, or integers of 16 bits, whose scale is that of
//                                         64 columns. For four columns: two pairs (0, 1) and (2, 3); or, where
//                                         the CPU multiplies bytes, the four high bytes and the four low ones,
//                                         both signed and in the order 0 2 1 3 of the weights
//   many tokens, in blocks (`block_of`):   a column's floats, or pairs of bf16
struct Activations {
    int64_t ld;       // floats from token to token: columns rounded up to kGroup
    float* f;         // (M, ld); for one token this is the arranged form too
    uint32_t* lanes;  // (ld, S) floats; many: [block][column or pair of columns][token]
    int32_t* pairs;   // (ld / 2, S) the integers: 16 bits, so that only the weights are coarse
    float* scale;     // (ld / kGroup, S)
    int32_t* zero;    // (ld / kGroup, S): -128 * sum of the integers, since stored weights are true + 128
};

// The lines of a tile that meet an activation that is not zero, for one token.
struct ActiveLines {
    uint32_t* offset;  // bytes from the first line of the tile; of FP32 the first of two lines
    int32_t* group;    // (groups + 1): where in `offset` each 64 columns begin
    int32_t n;
};
constexpr int kActiveAhead = 16;  // entries behind the last: those of the next tile, for its prefetch

struct Matmul {
    const rwkv_matrix* w;
    const Activations* x;
    int32_t n_tokens;
    float* out;           // token i, row j at i * ld_out + j
    int64_t ld_out;
    After after;
    int32_t prefetch;  // bytes ahead
    const ActiveLines* active;  // NULL: all lines
    const float* gate;          // of kAddGated: factors, laid out as `out`
};

// LayerNorm, then lerps with the h of the token before: the first part of both mixers.
struct MixJob {
    const float* x;  // (M, ld) residual stream
    float* h;        // (M, ld) normalised
    int64_t ld;
    int32_t n_channels, n_mixes;
    const float *weight, *bias;
    const float* mixes;              // (n_mixes, C)
    const float* const* before;      // per token: the h before a row's first token, NULL inside a row
    const Activations* out;          // n_mixes of them: only `f` is written
    bool is_of_now;                  // 4 and 5: a mix of 1 is all of the token itself, not of the one before
};

// All that happens between the first matrix products of the time mixer and its last.
struct Heads7 {
    const rwkv_layer* layer;
    int32_t is_first_layer, n_channels, head_size, n_rows;
    const int32_t* row_start;  // (n_rows + 1): first token of each row
    int64_t ld;
    float *r, *k, *v, *v_first;          // (M, ld)
    const float *w, *a, *v_mix, *g;      // (M, ld): LoRA outputs without their biases
    float* y;                            // (M, ld): what the output matrix reads
    float* const* wkv;                   // per row: (H, N, N)
};

// The same for 4, where every channel has sums of its own: aa and bb, each times exp(-pp).
struct Channels4 {
    const rwkv_layer* layer;
    int32_t n_rows;
    const int32_t* row_start;
    int64_t ld;
    const float *r, *k, *v;    // (M, ld), r a gate already
    float* y;                  // (M, ld)
    float *aa, *bb, *pp;       // of row 0
    int64_t row_stride;
};

// The same for 5 and 6.
struct Heads6 {
    const rwkv_layer* layer;
    int32_t head_size, n_rows;
    const int32_t* row_start;  // (n_rows + 1)
    int64_t ld;
    const float *r, *k, *v;    // (M, ld)
    const float* w;            // (M, ld): what the token adds to the raw decay; NULL before 6
    const float* g;            // (M, ld); NULL in 5.0
    float* y;                  // (M, ld)
    float* const* wkv;         // per row: (H, N, N)
};

struct Kernels {
    const char* name;
    bool has_bf16;  // wide products of anything but float32 weights take bf16 activations
    int32_t wide_tokens, few_tokens;  // tokens of a block, the larger and the smaller choice
    int32_t narrow_tokens;  // up to so many tokens the narrow product is used
    // tiles [tile0, tile1) of a product with fp32 sums; weights are read once
    void (*narrow)(const Matmul& job, int tile0, int tile1);
    // the same for many tokens; scratch: wide_scratch_bytes
    void (*wide)(const Matmul& job, int tile0, int tile1, void* scratch);
    void (*norm)(const float* x, const float* weight, const float* bias, int n, float* out);
    void (*mix)(const MixJob& job, int token0, int token1, float* scratch);
    // 6: lerps with h and the h before, as `mix` left them, by job.mixes plus what `out` holds
    void (*choose)(const MixJob& job, int token0, int token1, float* scratch);
    // one unit of work of arranging n_tokens for matrices of a format: a token, or a block of them
    void (*arrange)(const Activations& x, int columns, int n_tokens, int unit, int format);
    void (*channels4)(const Channels4& job, int channel0, int channel1);
    void (*heads6)(const Heads6& job, int head0, int head1);
    void (*heads7)(const Heads7& job, int head0, int head1);
    int32_t (*read)(const uint8_t* data, int64_t n_bytes);  // a sum over it, as fast as it can be read
    void (*maxima)(const float* x, int n_blocks, int width, float* out);  // see head.inl
    double (*exp_sum)(const float* x, int n, float best);
    // n columns of 16 rows, x (n rounded up to 8, 16): one scale a row, and the lines of INT8 or INT4
    void (*pack_group)(int format, const float* x, int n, uint16_t* scales, uint8_t* lines);
};

constexpr int64_t kWideScratchBytes = (kMaxTokens + 16) * 32 * 4 + 2 * 64 * kLine + 256;

const Kernels& kernels_portable();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512_bf16();
#endif

// how far apart the floats of a column are for few tokens
static inline int lanes_of(int n_tokens) { return n_tokens <= 2 ? n_tokens : n_tokens <= 4 ? 4 : 8; }
// Tokens of a block of many: the larger choice unless its padding costs more than a tenth (16 tokens are two
// blocks of 8, not two of 12).
static inline int block_of(const Kernels& k, int n_tokens) {
    const int blocks = (n_tokens + k.wide_tokens - 1) / k.wide_tokens;
    return (blocks * k.wide_tokens - n_tokens) * 10 > n_tokens ? k.few_tokens : k.wide_tokens;
}
static inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
static inline int tile_count(const rwkv_matrix& w) { return (w.rows + kTileRows - 1) / kTileRows; }

// columns in one line of 16 rows
static inline int line_columns(int format) {
    return format == RWKV_FP32 ? 1 : format == RWKV_BF16 ? 2 : format == RWKV_INT8 ? 4 : 8;
}
static inline bool is_quantised(int format) { return format == RWKV_INT8 || format == RWKV_INT4; }
// lines come in fours, so that loops over them need no rest
static inline int64_t tile_lines(int format, int columns) { return round_up(columns, 4 * line_columns(format)) / line_columns(format); }
static inline int64_t tile_scale_bytes(int format, int columns) {
    if (!is_quantised(format)) return 0;
    return round_up((columns + kGroup - 1) / kGroup * (int64_t)(kTileRows * 2), kLine);
}
static inline int64_t tile_bytes(int format, int columns) {
    return tile_scale_bytes(format, columns) + tile_lines(format, columns) * kLine;
}
