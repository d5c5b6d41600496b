// Sixteen lanes in one AVX-512 register. CHATRWKV_VNNI_BF16 adds vpdpwssd and vdpbf16ps.
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
// gcc 12 calls its own _mm512_undefined_* uninitialised once a reduction is inlined (its bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#include <stdint.h>

#define LANES_INLINE static inline __attribute__((always_inline))

namespace {

typedef __m512 F;   // 16 float32
typedef __m512i I;  // 16 int32, 32 int16 or 64 bytes

constexpr int kWideTiles = 2, kWideTokens = 12, kFewTokens = 8;  // 24 sums + 2 lines + 1 broadcast of 32 registers
constexpr int kMaxNarrow = 8, kNarrowTokens = 8;
#if defined(CHATRWKV_VNNI_BF16)
constexpr bool kHasBf16 = true, kHasBytes = true;
#else
constexpr bool kHasBf16 = false, kHasBytes = false;
#endif

LANES_INLINE F f_zero() { return _mm512_setzero_ps(); }
LANES_INLINE F f_set(float x) { return _mm512_set1_ps(x); }
LANES_INLINE F f_load(const float* p) { return _mm512_loadu_ps(p); }
LANES_INLINE void f_store(float* p, F x) { _mm512_storeu_ps(p, x); }
LANES_INLINE F f_load_n(const float* p, int n) {
    return n >= 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
LANES_INLINE void f_store_n(float* p, F x, int n) {
    if (n >= 16) _mm512_storeu_ps(p, x);
    else _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
LANES_INLINE F f_add(F a, F b) { return _mm512_add_ps(a, b); }
LANES_INLINE F f_sub(F a, F b) { return _mm512_sub_ps(a, b); }
LANES_INLINE F f_mul(F a, F b) { return _mm512_mul_ps(a, b); }
LANES_INLINE F f_div(F a, F b) { return _mm512_div_ps(a, b); }
LANES_INLINE F f_fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
LANES_INLINE F f_min(F a, F b) { return _mm512_min_ps(a, b); }  // returns b where one is NaN
LANES_INLINE F f_max(F a, F b) { return _mm512_max_ps(a, b); }
LANES_INLINE F f_abs(F a) { return _mm512_abs_ps(a); }
LANES_INLINE float f_sum(F a) { return _mm512_reduce_add_ps(a); }
LANES_INLINE float f_top(F a) { return _mm512_reduce_max_ps(a); }

LANES_INLINE I i_load(const void* p) { return _mm512_loadu_si512(p); }
LANES_INLINE void i_store(void* p, I a) { _mm512_storeu_si512(p, a); }
LANES_INLINE I i_set(int32_t x) { return _mm512_set1_epi32(x); }
LANES_INLINE I i_and(I a, I b) { return _mm512_and_si512(a, b); }
LANES_INLINE I i_or(I a, I b) { return _mm512_or_si512(a, b); }
LANES_INLINE I i_add(I a, I b) { return _mm512_add_epi32(a, b); }
template <int n> LANES_INLINE I i_srl(I a) { return _mm512_srli_epi32(a, n); }
template <int n> LANES_INLINE I i_sll(I a) { return _mm512_slli_epi32(a, n); }
template <int n> LANES_INLINE I w_srl(I a) { return _mm512_srli_epi16(a, n); }
LANES_INLINE F f_from(I a) { return _mm512_cvtepi32_ps(a); }
LANES_INLINE I i_round(F a) { return _mm512_cvtps_epi32(a); }
LANES_INLINE F f_bits(I a) { return _mm512_castsi512_ps(a); }
LANES_INLINE I i_bits(F a) { return _mm512_castps_si512(a); }

// x < y ? a : b in each lane
LANES_INLINE F f_where_less(F x, F y, F a, F b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a); }
// 255 in each byte, unsigned, with x >= y
LANES_INLINE I b_reaches(I x, I y) { return _mm512_movm_epi8(_mm512_cmpge_epu8_mask(x, y)); }

// acc + products of the int16 pairs of each lane
LANES_INLINE I i_dot(I acc, I a, I b) { return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)); }

// acc + products of the four bytes of each lane, a unsigned, b signed
LANES_INLINE I i_dot_bytes(I acc, I a, I b) {
#if defined(CHATRWKV_VNNI_BF16)
    return _mm512_dpbusd_epi32(acc, a, b);
#else
    (void)a, (void)b;
    return acc;
#endif
}

// acc + products of the bf16 pairs of each lane
LANES_INLINE F f_dot_bf16(F acc, I a, I b) {
#if defined(CHATRWKV_VNNI_BF16)
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#else
    (void)a, (void)b;
    return acc;
#endif
}

// a table of 16 bytes; each byte of `index` is 0 to 15
struct Table {
    __m512i bytes;
};
LANES_INLINE Table table(const uint8_t* p) {
    return {_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)p))};
}
LANES_INLINE I look_up(Table t, I index) { return _mm512_shuffle_epi8(t.bytes, index); }

// 16 bfloat16 to float32
LANES_INLINE F f_load_bf16(const uint16_t* p) {
    return f_bits(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
}
// the low half of each lane, as 16 int16
LANES_INLINE void w_store(int16_t* p, I a) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(a)); }

LANES_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// lane i of the result = sum of the lanes of v[i]: a 16 x 16 transpose that adds on the way, 15 additions
// and 30 shuffles instead of 16 horizontal sums of 7 instructions each
LANES_INLINE F f_sums(const F* v) {
    __m512 a[8], b[4], c[2];
    for (int i = 0; i < 8; i++)  // pairs of rows 2i, 2i+1
        a[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 4; i++)  // each 128-bit quarter: rows 4i .. 4i+3
        b[i] = _mm512_add_ps(_mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44),
                             _mm512_shuffle_ps(a[2 * i], a[2 * i + 1], 0xee));
    for (int i = 0; i < 2; i++)  // quarters: rows 8i.. (even), 8i+4.. (odd)
        c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(b[2 * i], b[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(c[0], c[1], 0x88), _mm512_shuffle_f32x4(c[0], c[1], 0xdd));
}

}  // namespace
