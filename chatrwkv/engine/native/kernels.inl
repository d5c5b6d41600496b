// The kernels, written once over the sixteen lanes of simd_*.h. Included by kernels_LEVEL.cpp after the
// header of its lanes; LEVEL_NAME and LEVEL_FUNCTION name the table at the end.
#include "kernels.h"
#include "tables.h"

namespace {

extern const Kernels kLevel;

constexpr float kLayerNormEps = 1e-5f;
constexpr float kGroupNormEps = 64e-5f;  // 1e-5 * 8^2, 8 being the head size divisor of training
constexpr float kMinKeyNorm = 1e-12f;
constexpr float kMaxLogDecay = 0.606531f;  // exp(-0.5) as the models were trained with

// exp for all floats: 2^n * p(r), error 2 ulp; NaN stays NaN since min and max return their second operand.
LANES_INLINE F f_exp(F x) {
    x = f_max(f_set(-87.0f), f_min(f_set(88.0f), x));
    const I n = i_round(f_mul(x, f_set(1.44269504f)));
    const F fn = f_from(n);
    F r = f_fma(fn, f_set(-0.693359375f), x);
    r = f_fma(fn, f_set(2.12194440e-4f), r);
    F p = f_set(1.9875691e-4f);  // minimax for e^r on |r| <= ln(2)/2 (Cephes)
    p = f_fma(p, r, f_set(1.3981999e-3f));
    p = f_fma(p, r, f_set(8.3334519e-3f));
    p = f_fma(p, r, f_set(4.1665796e-2f));
    p = f_fma(p, r, f_set(1.6666665e-1f));
    p = f_fma(p, r, f_set(5.0000001e-1f));
    p = f_fma(p, f_mul(r, r), f_add(r, f_set(1.0f)));
    return f_mul(p, f_bits(i_sll<23>(i_add(n, i_set(127)))));
}
LANES_INLINE F f_sigmoid(F x) {
    return f_div(f_set(1.0f), f_add(f_set(1.0f), f_exp(f_sub(f_zero(), x))));
}
LANES_INLINE F f_tanh(F x) {  // absolute error 1e-7
    return f_fma(f_set(2.0f), f_sigmoid(f_add(x, x)), f_set(-1.0f));
}

LANES_INLINE float one_over_root(float x) { return 1.0f / __builtin_sqrtf(x); }
LANES_INLINE int smaller(int a, int b) { return a < b ? a : b; }

// n sums of a product, from element `at` of its output on
LANES_INLINE void store_after(const Matmul& job, int64_t at, F y, int n) {
    float* out = job.out + at;
    switch (job.after) {
        case After::kStore: break;
        case After::kAdd: y = f_add(f_load_n(out, n), y); break;
        case After::kAddGated: y = f_fma(f_load_n(job.gate + at, n), y, f_load_n(out, n)); break;
        case After::kRelu2: y = f_max(f_zero(), y), y = f_mul(y, y); break;
        case After::kTanh: y = f_tanh(y); break;
        case After::kSigmoid: y = f_sigmoid(y); break;
        case After::kSilu: y = f_mul(y, f_sigmoid(y)); break;
    }
    f_store_n(out, y, n);
}

// ---- rows of activations -----------------------------------------------------------------------------------

void norm(const float* x, const float* weight, const float* bias, int n, float* out) {
    F sum = f_zero();
    for (int j = 0; j < n; j += 16) sum = f_add(sum, f_load_n(x + j, n - j));
    const float mean = f_sum(sum) / (float)n;
    F squares = f_zero();
    int j = 0;
    for (; j + 16 <= n; j += 16) {  // a second pass over L1: no cancellation for large means
        const F d = f_sub(f_load(x + j), f_set(mean));
        squares = f_fma(d, d, squares);
    }
    float rest = 0.0f;
    for (; j < n; j++) rest += (x[j] - mean) * (x[j] - mean);
    const float scale = one_over_root((f_sum(squares) + rest) / (float)n + kLayerNormEps);
    for (j = 0; j < n; j += 16) {
        const F d = f_mul(f_sub(f_load_n(x + j, n - j), f_set(mean)), f_set(scale));
        f_store_n(out + j, f_fma(d, f_load_n(weight + j, n - j), f_load_n(bias + j, n - j)), n - j);
    }
}

// Of the n values of a head: its mean, and what scales the differences from it.
struct Moments {
    float mean, scale;
};
LANES_INLINE Moments group_moments(const float* y, int n) {
    F sum = f_zero();
    for (int j = 0; j < n; j += 16) sum = f_add(sum, f_load_n(y + j, n - j));
    const float mean = f_sum(sum) / (float)n;
    float squares = 0.0f;
    F lanes = f_zero();
    int j = 0;
    for (; j + 16 <= n; j += 16) {
        const F d = f_sub(f_load(y + j), f_set(mean));
        lanes = f_fma(d, d, lanes);
    }
    for (; j < n; j++) squares += (y[j] - mean) * (y[j] - mean);
    return {mean, one_over_root((f_sum(lanes) + squares) / (float)n + kGroupNormEps)};
}

void mix(const MixJob& job, int token0, int token1, float* scratch) {
    const int C = job.n_channels;
    for (int m = token0; m < token1; m++) {
        float* h = job.h + m * job.ld;
        norm(job.x + m * job.ld, job.weight, job.bias, C, h);
        const float* p = job.before[m];
        if (!p && m == token0) {  // the token before belongs to another block, which may not be done
            norm(job.x + (m - 1) * job.ld, job.weight, job.bias, C, scratch);
            p = scratch;
        } else if (!p) {
            p = h - job.ld;
        }
        for (int j = 0; j < C; j += 16) {
            const int n = C - j;
            const F now = f_load_n(h + j, n), before = f_load_n(p + j, n);
            const F from = job.is_of_now ? before : now;
            const F dx = job.is_of_now ? f_sub(now, before) : f_sub(before, now);
            for (int i = 0; i < job.n_mixes; i++)
                f_store_n(job.out[i].f + m * job.out[i].ld + j, f_fma(dx, f_load_n(job.mixes + i * C + j, n), from), n);
        }
    }
}

void choose(const MixJob& job, int token0, int token1, float*) {
    const int C = job.n_channels;
    for (int m = token0; m < token1; m++) {
        const float* h = job.h + m * job.ld;
        const float* p = job.before[m] ? job.before[m] : h - job.ld;
        for (int j = 0; j < C; j += 16) {
            const int n = C - j;
            const F now = f_load_n(h + j, n), dx = f_sub(f_load_n(p + j, n), now);
            for (int i = 0; i < job.n_mixes; i++) {
                float* out = job.out[i].f + m * job.out[i].ld + j;
                f_store_n(out, f_fma(dx, f_add(f_load_n(job.mixes + i * C + j, n), f_load_n(out, n)), now), n);
            }
        }
    }
}

// The largest integer of an activation. As two signed bytes, high and low, 127 * 256 + 127 would be the limit.
constexpr float kTop = kHasBytes ? 127.0f * 256.0f : 32767.0f;

// 64 floats as integers and a scale; S is the distance between the words of one token
LANES_INLINE void quantise_group(const float* f, int S, int32_t* pairs, float* scale_out, int32_t* zero) {
    F top = f_zero(), bad = f_zero();
    for (int j = 0; j < kGroup; j += 16) {
        top = f_max(top, f_abs(f_load(f + j)));
        bad = f_fma(f_load(f + j), f_zero(), bad);  // NaN where an input is none or infinite
    }
    const float scale = f_top(top) / kTop + f_sum(bad);
    // below 1e-30 the inverse is not finite; what is lost there is nothing
    const F inverse = f_set(scale > 1e-30f ? 1.0f / scale : 0.0f);
    I sum = i_set(0);
    int16_t q[kGroup];
    for (int j = 0; j < kGroup; j += 16) {
        const I rounded = i_round(f_mul(f_load(f + j), inverse));
        sum = i_add(sum, rounded);
        w_store(q + j, rounded);
    }
    if (kHasBytes) {
        int16_t high[kGroup], low[kGroup];
        for (int j = 0; j < kGroup; j++) high[j] = (int16_t)(((q[j] + 128) >> 8) & 255), low[j] = q[j] & 255;
        for (int j = 0; j < kGroup; j += 4, pairs += 2 * S) {
            pairs[0] = high[j] | high[j + 2] << 8 | high[j + 1] << 16 | (int32_t)((uint32_t)high[j + 3] << 24);
            pairs[S] = low[j] | low[j + 2] << 8 | low[j + 1] << 16 | (int32_t)((uint32_t)low[j + 3] << 24);
        }
    } else {
        for (int j = 0; j < kGroup / 2; j++) __builtin_memcpy(pairs + j * S, q + 2 * j, 4);
    }
    int32_t lanes[16], total = 0;
    i_store(lanes, sum);
    for (int i = 0; i < 16; i++) total += lanes[i];
    *zero = -128 * total;
    *scale_out = scale;
}

void arrange_few(const Activations& x, int columns, int n_tokens, int m, int format) {
    const int S = lanes_of(n_tokens);
    const float* f = x.f + m * x.ld;
    if (is_quantised(format)) {
        for (int g = 0; g * kGroup < columns; g++)
            quantise_group(f + g * kGroup, S, x.pairs + g * (kGroup / 2) * S + m, x.scale + g * S + m, x.zero + g * S + m);
    } else if (S > 1) {
        const int n = (int)round_up(columns, kGroup);
        for (int j = 0; j < n; j++) __builtin_memcpy(x.lanes + j * S + m, f + j, 4);
    }
}

// float32 to bfloat16 in the high half of each lane, to nearest, halves to even; NaN stays NaN.
LANES_INLINE I high_bf16(F x) {
    const I bits = i_bits(x);
    const I even = i_and(i_srl<16>(bits), i_set(1));
    return i_and(i_add(i_add(bits, i_set(0x7fff)), even), i_set((int32_t)0xffff0000u));
}

void arrange_many(const Activations& x, int columns, int n_tokens, int block, bool as_fp32) {
    const int n_block = block_of(kLevel, n_tokens);
    const int n_columns = (int)round_up(columns, kGroup);
    const int step = as_fp32 ? 1 : 2;
    uint32_t* out = x.lanes + (int64_t)block * n_block * (x.ld / step);
    for (int t = 0; t < n_block; t++) {
        const int m = block * n_block + t;
        if (m >= n_tokens) {
            for (int j = 0; j < n_columns / step; j++) out[j * n_block + t] = 0;
            continue;
        }
        const float* f = x.f + m * x.ld;
        for (int j = 0; j < n_columns; j += 16) {
            uint32_t lanes[16];
            i_store(lanes, as_fp32 ? i_bits(f_load(f + j)) : high_bf16(f_load(f + j)));
            uint32_t* to = out + j / step * n_block + t;
            if (as_fp32) {
                for (int i = 0; i < 16; i++) to[i * n_block] = lanes[i];
            } else {
                for (int i = 0; i < 8; i++) to[i * n_block] = (lanes[2 * i] >> 16) | lanes[2 * i + 1];
            }
        }
    }
}

static_assert(kNarrowTokens <= kMaxNarrowTokens, "a tuner for each number of tokens");

void arrange(const Activations& x, int columns, int n_tokens, int unit, int format) {
    if (n_tokens > kNarrowTokens) arrange_many(x, columns, n_tokens, unit, !kHasBf16 || format == RWKV_FP32);
    else arrange_few(x, columns, n_tokens, unit, format);
}

// ---- few tokens: every weight is read once, sums are float32 (or exact integers within a group) ------------
//
// B tokens of S that lie side by side. `from` is the first of them.

template <int B, int S> LANES_INLINE void narrow_fp32(const uint8_t* line, int n_lines, const float* x, int ahead, F* y) {
    F even[B], odd[B];
    for (int b = 0; b < B; b++) even[b] = odd[b] = f_zero();
    for (int i = 0; i < n_lines; i += 2, line += 2 * kLine, x += 2 * S) {
        prefetch(line + ahead);
        prefetch(line + ahead + kLine);
        const F w0 = f_load((const float*)line), w1 = f_load((const float*)(line + kLine));
        for (int b = 0; b < B; b++) {
            even[b] = f_fma(w0, f_set(x[b]), even[b]);
            odd[b] = f_fma(w1, f_set(x[S + b]), odd[b]);
        }
    }
    for (int b = 0; b < B; b++) y[b] = f_add(even[b], odd[b]);
}

template <int B, int S> LANES_INLINE void narrow_bf16(const uint8_t* line, int n_lines, const float* x, int ahead, F* y) {
    const I high = i_set((int32_t)0xffff0000u);
    F even[B], odd[B];
    for (int b = 0; b < B; b++) even[b] = odd[b] = f_zero();
#pragma GCC unroll 2
    for (int i = 0; i < n_lines; i++, line += kLine, x += 2 * S) {
        prefetch(line + ahead);
        const I w = i_load(line);
        const F w0 = f_bits(i_sll<16>(w)), w1 = f_bits(i_and(w, high));
        for (int b = 0; b < B; b++) {
            even[b] = f_fma(w0, f_set(x[b]), even[b]);
            odd[b] = f_fma(w1, f_set(x[S + b]), odd[b]);
        }
    }
    for (int b = 0; b < B; b++) y[b] = f_add(even[b], odd[b]);
}

// Four columns. Bytes: `one` sums with the high bytes of the activations, `other` with the low ones. Else:
// bytes 0 and 2 of each lane are one pair, 1 and 3 the other.
template <int B, int S> LANES_INLINE void dot4(I w, const int32_t* pairs, I* one, I* other) {
    const I w0 = i_and(w, i_set(0x00ff00ff)), w1 = w_srl<8>(w);
    for (int b = 0; b < B; b++) {
        const I x0 = i_set(pairs[b]), x1 = i_set(pairs[S + b]);
        one[b] = kHasBytes ? i_dot_bytes(one[b], w, x0) : i_dot(one[b], w0, x0);
        other[b] = kHasBytes ? i_dot_bytes(other[b], w, x1) : i_dot(other[b], w1, x1);
    }
}
LANES_INLINE I total(I one, I other) { return i_add(kHasBytes ? i_sll<8>(one) : one, other); }

template <int B, int S, bool is_int4>
LANES_INLINE void quantised_line(const uint8_t* line, Table values, const int32_t* pairs, I* one, I* other) {
    const I w = i_load(line);
    if (is_int4) {
        const I nibble = i_set(0x0f0f0f0f);
        dot4<B, S>(look_up(values, i_and(w, nibble)), pairs, one, other);
        dot4<B, S>(look_up(values, i_and(i_srl<4>(w), nibble)), pairs + 2 * S, one, other);
    } else {
        dot4<B, S>(w, pairs, one, other);
    }
}

template <int B, int S, bool is_int4>
LANES_INLINE void narrow_quantised(const uint8_t* tile, int columns, const Activations& x, int from, int ahead, F* y) {
    constexpr int kFormat = is_int4 ? RWKV_INT4 : RWKV_INT8;
    constexpr int kColumns = is_int4 ? 8 : 4, kLines = kGroup / kColumns, kPairs = kColumns / 2 * S;
    const uint16_t* scales = (const uint16_t*)tile;
    const uint8_t* line = tile + tile_scale_bytes(kFormat, columns);
    const int n_lines = (int)tile_lines(kFormat, columns), n_groups = (n_lines + kLines - 1) / kLines;
    const Table values = table(kInt4Table);
    const int32_t* pairs = x.pairs + from;
    for (int b = 0; b < B; b++) y[b] = f_zero();
    for (int g = 0; g < n_groups; g++) {
        I one[B], other[B];
        for (int b = 0; b < B; b++) one[b] = i_set(0), other[b] = i_set(x.zero[g * S + from + b]);
        const int here = smaller(kLines, n_lines - g * kLines);
        int i = 0;
        for (; i + 4 <= here; i += 4) {  // lines come in fours
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++, line += kLine, pairs += kPairs) {
                prefetch(line + ahead);
                quantised_line<B, S, is_int4>(line, values, pairs, one, other);
            }
        }
        const F scale = f_load_bf16(scales + g * kTileRows);
        for (int b = 0; b < B; b++)
            y[b] = f_fma(f_from(total(one[b], other[b])), f_mul(scale, f_set(x.scale[g * S + from + b])), y[b]);
    }
}

template <int B, int S> void narrow_tile(const Matmul& job, int tile, int from, F* y) {
    const rwkv_matrix& w = *job.w;
    const uint8_t* data = w.data + tile * tile_bytes(w.format, w.cols);
    const float* x = S == 1 ? job.x->f : (const float*)job.x->lanes + from;
    switch (w.format) {
        case RWKV_FP32: return narrow_fp32<B, S>(data, (int)tile_lines(RWKV_FP32, w.cols), x, job.prefetch, y);
        case RWKV_BF16: return narrow_bf16<B, S>(data, (int)tile_lines(RWKV_BF16, w.cols), x, job.prefetch, y);
        case RWKV_INT8: return narrow_quantised<B, S, false>(data, w.cols, *job.x, from, job.prefetch, y);
        default: return narrow_quantised<B, S, true>(data, w.cols, *job.x, from, job.prefetch, y);
    }
}

template <int S> void narrow_tiles(const Matmul& job, int tile0, int tile1) {
    constexpr int B = S < kMaxNarrow ? S : kMaxNarrow;
    for (int tile = tile0; tile < tile1; tile++) {
        const int rows = smaller(kTileRows, job.w->rows - tile * kTileRows);
        for (int from = 0; from < job.n_tokens; from += B) {
            F y[B];
            narrow_tile<B, S>(job, tile, from, y);
            for (int b = 0; b < smaller(B, job.n_tokens - from); b++)
                store_after(job, (from + b) * job.ld_out + tile * kTileRows, y[b], rows);
        }
    }
}

#include "sparse.inl"

void narrow(const Matmul& job, int tile0, int tile1) {
    if (job.active) return sparse_tiles(job, tile0, tile1);
    switch (lanes_of(job.n_tokens)) {
        case 1: return narrow_tiles<1>(job, tile0, tile1);
        case 2: return narrow_tiles<2>(job, tile0, tile1);
        case 4: return narrow_tiles<4>(job, tile0, tile1);
        default: return narrow_tiles<8>(job, tile0, tile1);
    }
}

int32_t read(const uint8_t* data, int64_t n_bytes) {
    I sums[4];
    for (I& sum : sums) sum = i_set(0);
    for (int64_t at = 0; at < n_bytes; at += 4 * kLine)
        for (int i = 0; i < 4; i++) sums[i] = i_add(sums[i], i_load(data + at + i * kLine));
    int32_t lanes[16];
    i_store(lanes, i_add(i_add(sums[0], sums[1]), i_add(sums[2], sums[3])));
    return lanes[0];
}

#include "wide.inl"
#include "heads4.inl"
#include "heads6.inl"
#include "heads7.inl"
#include "head.inl"
#include "pack.inl"

const Kernels kLevel = {
    LEVEL_NAME, kHasBf16, kWideTokens, kFewTokens, kNarrowTokens, narrow, wide, norm, mix, choose, arrange, channels4, heads6,
    heads7, read, maxima, exp_sum, pack_group,
};

}  // namespace

const Kernels& LEVEL_FUNCTION() { return kLevel; }
