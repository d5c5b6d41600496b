// Sixteen lanes in two AVX2 registers, with FMA.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#define LANES_INLINE static inline __attribute__((always_inline))

namespace {

struct F {
    __m256 a, b;
};
struct I {
    __m256i a, b;
};

constexpr int kWideTiles = 1, kWideTokens = 6, kFewTokens = 4;  // 12 sums + 2 lines + 1 broadcast of 16 registers
constexpr int kMaxNarrow = 4, kNarrowTokens = 8;
constexpr bool kHasBf16 = false, kHasBytes = false;

LANES_INLINE F f_zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LANES_INLINE F f_set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
LANES_INLINE F f_load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LANES_INLINE void f_store(float* p, F x) {
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
LANES_INLINE F f_load_n(const float* p, int n) {
    if (n >= 16) return f_load(p);
    float lanes[16] = {0};
    for (int i = 0; i < n; i++) lanes[i] = p[i];
    return f_load(lanes);
}
LANES_INLINE void f_store_n(float* p, F x, int n) {
    if (n >= 16) return f_store(p, x);
    float lanes[16];
    f_store(lanes, x);
    for (int i = 0; i < n; i++) p[i] = lanes[i];
}
LANES_INLINE F f_add(F x, F y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
LANES_INLINE F f_sub(F x, F y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
LANES_INLINE F f_mul(F x, F y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
LANES_INLINE F f_div(F x, F y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
LANES_INLINE F f_fma(F x, F y, F z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
LANES_INLINE F f_min(F x, F y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
LANES_INLINE F f_max(F x, F y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
LANES_INLINE F f_abs(F x) {
    const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
LANES_INLINE float f_sum(F x) {
    const __m256 s = _mm256_add_ps(x.a, x.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
LANES_INLINE float f_top(F x) {
    const __m256 s = _mm256_max_ps(x.a, x.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

LANES_INLINE I i_load(const void* p) {
    return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)p + 1)};
}
LANES_INLINE void i_store(void* p, I x) {
    _mm256_storeu_si256((__m256i*)p, x.a);
    _mm256_storeu_si256((__m256i*)p + 1, x.b);
}
LANES_INLINE I i_set(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
LANES_INLINE I i_and(I x, I y) { return {_mm256_and_si256(x.a, y.a), _mm256_and_si256(x.b, y.b)}; }
LANES_INLINE I i_or(I x, I y) { return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)}; }
LANES_INLINE I i_add(I x, I y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
template <int n> LANES_INLINE I i_srl(I x) { return {_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)}; }
template <int n> LANES_INLINE I i_sll(I x) { return {_mm256_slli_epi32(x.a, n), _mm256_slli_epi32(x.b, n)}; }
template <int n> LANES_INLINE I w_srl(I x) { return {_mm256_srli_epi16(x.a, n), _mm256_srli_epi16(x.b, n)}; }
LANES_INLINE F f_from(I x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
LANES_INLINE I i_round(F x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
LANES_INLINE F f_bits(I x) { return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)}; }
LANES_INLINE I i_bits(F x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }

LANES_INLINE F f_where_less(F x, F y, F a, F b) {
    return {_mm256_blendv_ps(b.a, a.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
            _mm256_blendv_ps(b.b, a.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
LANES_INLINE I b_reaches(I x, I y) {
    return {_mm256_cmpeq_epi8(_mm256_max_epu8(x.a, y.a), x.a), _mm256_cmpeq_epi8(_mm256_max_epu8(x.b, y.b), x.b)};
}

LANES_INLINE I i_dot(I acc, I x, I y) {
    return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(x.a, y.a)), _mm256_add_epi32(acc.b, _mm256_madd_epi16(x.b, y.b))};
}
LANES_INLINE I i_dot_bytes(I acc, I, I) { return acc; }
LANES_INLINE F f_dot_bf16(F acc, I, I) { return acc; }

struct Table {
    __m256i bytes;
};
LANES_INLINE Table table(const uint8_t* p) {
    return {_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p))};
}
LANES_INLINE I look_up(Table t, I index) {
    return {_mm256_shuffle_epi8(t.bytes, index.a), _mm256_shuffle_epi8(t.bytes, index.b)};
}

LANES_INLINE F f_load_bf16(const uint16_t* p) {
    const __m256i x = _mm256_loadu_si256((const __m256i*)p);
    return f_bits(i_sll<16>({_mm256_cvtepu16_epi32(_mm256_castsi256_si128(x)),
                             _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1))}));
}
LANES_INLINE void w_store(int16_t* p, I x) {
    const __m256i mask = _mm256_set1_epi32(0xffff);  // packus keeps 0..65535, so the bits pass unchanged
    const __m256i both = _mm256_packus_epi32(_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask));
    _mm256_storeu_si256((__m256i*)p, _mm256_permute4x64_epi64(both, 0xd8));
}

LANES_INLINE void prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T1); }

// the sums of eight registers as the eight lanes of one
LANES_INLINE __m256 sums8(const __m256* v) {
    const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
LANES_INLINE F f_sums(const F* v) {
    __m256 s[16];
    for (int i = 0; i < 16; i++) s[i] = _mm256_add_ps(v[i].a, v[i].b);
    return {sums8(s), sums8(s + 8)};
}

}  // namespace
