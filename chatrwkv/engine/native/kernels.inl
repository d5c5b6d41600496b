// The kernels, written once over the sixteen lanes of simd_*.h. Included by kernels_LEVEL.cpp after the
// header of its lanes; LEVEL_NAME and LEVEL_FUNCTION name the table at the end.
#include "kernels.h"
#include "tables.h"

namespace {

constexpr float kLayerNormEps = 1e-5f;
constexpr float kGroupNormEps = 64e-5f;  // 1e-5 * 8^2, 8 being the head size divisor of training
constexpr float kMinKeyNorm = 1e-12f;
constexpr float kMaxLogDecay = 0.606531f;  // exp(-0.5) as the models were trained with
constexpr int kPrefetch = 2048;            // bytes ahead: 3 to 9 % over none on EPYC and Xeon

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

LANES_INLINE void store_after(float* out, F y, After after, int n) {
    switch (after) {
        case After::kStore: break;
        case After::kAdd: y = f_add(f_load_n(out, n), y); break;
        case After::kRelu2: y = f_max(f_zero(), y), y = f_mul(y, y); break;
        case After::kTanh: y = f_tanh(y); break;
        case After::kSigmoid: y = f_sigmoid(y); break;
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
            const F now = f_load_n(h + j, n), dx = f_sub(f_load_n(p + j, n), now);
            for (int i = 0; i < job.n_mixes; i++)
                f_store_n(job.out[i].f + m * job.out[i].ld + j, f_fma(dx, f_load_n(job.mixes + i * C + j, n), now), n);
        }
    }
}

void quantise(const Activations& x, int columns, int token0, int token1) {
    const int n_groups = (columns + kGroup - 1) / kGroup;
    for (int m = token0; m < token1; m++) {
        for (int g = 0; g < n_groups; g++) {
            const float* f = x.f + m * x.ld + g * kGroup;
            int16_t* q = x.q + m * x.ld + g * kGroup;
            F top = f_zero(), bad = f_zero();
            for (int j = 0; j < kGroup; j += 16) {
                top = f_max(top, f_abs(f_load(f + j)));
                bad = f_fma(f_load(f + j), f_zero(), bad);  // NaN where an input is none or infinite
            }
            const float scale = f_top(top) / 32767.0f + f_sum(bad);
            // below 1e-30 the inverse is not finite; what is lost there is nothing
            const F inverse = f_set(scale > 1e-30f ? 1.0f / scale : 0.0f);
            I sum = i_set(0);
            for (int j = 0; j < kGroup; j += 16) {
                const I rounded = i_round(f_mul(f_load(f + j), inverse));
                sum = i_add(sum, rounded);
                w_store(q + j, rounded);
            }
            int32_t lanes[16], total = 0;
            i_store(lanes, sum);
            for (int i = 0; i < 16; i++) total += lanes[i];
            const int64_t at = m * (x.ld / kGroup) + g;
            x.zero[at] = -128 * total;
            x.scale[at] = scale;
        }
    }
}

// float32 to bfloat16 in the high half of each lane, to nearest, halves to even; NaN stays NaN.
LANES_INLINE I high_bf16(F x) {
    const I bits = i_bits(x);
    const I even = i_and(i_srl<16>(bits), i_set(1));
    return i_and(i_add(i_add(bits, i_set(0x7fff)), even), i_set((int32_t)0xffff0000u));
}

void widen(const Activations& x, int columns, int n_tokens, int block0, int block1, bool as_fp32) {
    const int n_columns = (int)round_up(columns, kGroup);
    const int step = as_fp32 ? 1 : 2;
    for (int block = block0; block < block1; block++) {
        uint32_t* out = x.wide + (int64_t)block * kWideTokens * (x.ld / step);
        for (int t = 0; t < kWideTokens; t++) {
            const int m = block * kWideTokens + t;
            if (m >= n_tokens) {
                for (int j = 0; j < n_columns / step; j++) out[j * kWideTokens + t] = 0;
                continue;
            }
            const float* f = x.f + m * x.ld;
            for (int j = 0; j < n_columns; j += 16) {
                uint32_t lanes[16];
                i_store(lanes, as_fp32 ? i_bits(f_load(f + j)) : high_bf16(f_load(f + j)));
                uint32_t* to = out + j / step * kWideTokens + t;
                if (as_fp32) {
                    for (int i = 0; i < 16; i++) to[i * kWideTokens] = lanes[i];
                } else {
                    for (int i = 0; i < 8; i++) to[i * kWideTokens] = (lanes[2 * i] >> 16) | lanes[2 * i + 1];
                }
            }
        }
    }
}

// ---- few tokens: every weight is read once, sums are float32 (or exact integers within a group) ------------

struct Inputs {  // of up to kMaxNarrow tokens
    const float* f[8];
    const int16_t* q[8];
    const float* scale[8];
    const int32_t* zero[8];
};

template <int B> LANES_INLINE void narrow_fp32(const uint8_t* line, int n_lines, const Inputs& x, F* y) {
    F even[B], odd[B];
    for (int b = 0; b < B; b++) even[b] = odd[b] = f_zero();
    for (int i = 0; i < n_lines; i += 2, line += 2 * kLine) {
        prefetch(line + kPrefetch);
        prefetch(line + kPrefetch + kLine);
        const F w0 = f_load((const float*)line), w1 = f_load((const float*)(line + kLine));
        for (int b = 0; b < B; b++) {
            even[b] = f_fma(w0, f_set(x.f[b][i]), even[b]);
            odd[b] = f_fma(w1, f_set(x.f[b][i + 1]), odd[b]);
        }
    }
    for (int b = 0; b < B; b++) y[b] = f_add(even[b], odd[b]);
}

template <int B> LANES_INLINE void narrow_bf16(const uint8_t* line, int n_lines, const Inputs& x, F* y) {
    const I high = i_set((int32_t)0xffff0000u);
    F even[B], odd[B];
    for (int b = 0; b < B; b++) even[b] = odd[b] = f_zero();
#pragma GCC unroll 2
    for (int i = 0; i < n_lines; i++, line += kLine) {
        prefetch(line + kPrefetch);
        const I w = i_load(line);
        const F w0 = f_bits(i_sll<16>(w)), w1 = f_bits(i_and(w, high));
        for (int b = 0; b < B; b++) {
            even[b] = f_fma(w0, f_set(x.f[b][2 * i]), even[b]);
            odd[b] = f_fma(w1, f_set(x.f[b][2 * i + 1]), odd[b]);
        }
    }
    for (int b = 0; b < B; b++) y[b] = f_add(even[b], odd[b]);
}

LANES_INLINE I pair(const int16_t* q) {
    int32_t both;
    __builtin_memcpy(&both, q, 4);
    return i_set(both);
}

// four columns: bytes 0 and 2 of each lane are one pair, 1 and 3 the other
template <int B>
LANES_INLINE void dot4(I w, const Inputs& x, int column, I* even, I* odd) {
    const I w0 = i_and(w, i_set(0x00ff00ff)), w1 = w_srl<8>(w);
    for (int b = 0; b < B; b++) {
        even[b] = i_dot(even[b], w0, pair(x.q[b] + column));
        odd[b] = i_dot(odd[b], w1, pair(x.q[b] + column + 2));
    }
}

template <int B, bool is_int4>
LANES_INLINE void narrow_quantised(const uint8_t* tile, int columns, const Inputs& x, F* y) {
    constexpr int kFormat = is_int4 ? RWKV_INT4 : RWKV_INT8;
    constexpr int kColumns = is_int4 ? 8 : 4;
    const uint16_t* scales = (const uint16_t*)tile;
    const uint8_t* line = tile + tile_scale_bytes(kFormat, columns);
    const int n_lines = (int)tile_lines(kFormat, columns);
    const Table values = table(kInt4Table);
    const I nibble = i_set(0x0f0f0f0f);
    for (int b = 0; b < B; b++) y[b] = f_zero();
    for (int g = 0, i = 0; i < n_lines; g++) {
        I even[B], odd[B];
        for (int b = 0; b < B; b++) even[b] = i_set(x.zero[b][g]), odd[b] = i_set(0);
        const int end = smaller(n_lines, i + kGroup / kColumns);
#pragma GCC unroll 2
        for (; i < end; i++, line += kLine) {
            prefetch(line + kPrefetch);
            const I w = i_load(line);
            if (is_int4) {
                dot4<B>(look_up(values, i_and(w, nibble)), x, 8 * i, even, odd);
                dot4<B>(look_up(values, i_and(i_srl<4>(w), nibble)), x, 8 * i + 4, even, odd);
            } else {
                dot4<B>(w, x, 4 * i, even, odd);
            }
        }
        const F scale = f_load_bf16(scales + g * kTileRows);
        for (int b = 0; b < B; b++)
            y[b] = f_fma(f_from(i_add(even[b], odd[b])), f_mul(scale, f_set(x.scale[b][g])), y[b]);
    }
}

template <int B> void narrow_tile(const Matmul& job, int tile, const Inputs& x, F* y) {
    const rwkv_matrix& w = *job.w;
    const uint8_t* data = w.data + tile * tile_bytes(w.format, w.cols);
    switch (w.format) {
        case RWKV_FP32: return narrow_fp32<B>(data, (int)tile_lines(RWKV_FP32, w.cols), x, y);
        case RWKV_BF16: return narrow_bf16<B>(data, (int)tile_lines(RWKV_BF16, w.cols), x, y);
        case RWKV_INT8: return narrow_quantised<B, false>(data, w.cols, x, y);
        default: return narrow_quantised<B, true>(data, w.cols, x, y);
    }
}

void narrow(const Matmul& job, int tile0, int tile1) {
    for (int tile = tile0; tile < tile1; tile++) {
        for (int m = 0; m < job.n_tokens; m += kMaxNarrow) {
            const int n = smaller(kMaxNarrow, job.n_tokens - m);
            Inputs x;
            for (int b = 0; b < kMaxNarrow; b++) {  // beyond n the last token again, not stored
                const int64_t from = m + smaller(b, n - 1), group = from * (job.x->ld / kGroup);
                x.f[b] = job.x->f + from * job.x->ld;
                x.q[b] = job.x->q + from * job.x->ld;
                x.scale[b] = job.x->scale + group;
                x.zero[b] = job.x->zero + group;
            }
            F y[8];
            if (n == 1) narrow_tile<1>(job, tile, x, y);
            else if (n == 2) narrow_tile<2>(job, tile, x, y);
            else if (n <= 4) narrow_tile<4>(job, tile, x, y);
            else narrow_tile<kMaxNarrow>(job, tile, x, y);
            const int rows = smaller(kTileRows, job.w->rows - tile * kTileRows);
            for (int b = 0; b < n; b++)
                store_after(job.out + (m + b) * job.ld_out + tile * kTileRows, y[b], job.after, rows);
        }
    }
}

#include "wide.inl"
#include "heads7.inl"

constexpr Kernels kLevel = {
    LEVEL_NAME, kHasBf16, kWideTokens, kNarrowTokens, narrow, wide, norm, mix, quantise, widen, heads7,
};

}  // namespace

const Kernels& LEVEL_FUNCTION() { return kLevel; }
