// Sixteen lanes as plain loops: any CPU, any compiler. On ARM and old x86 the compiler turns them into
// whatever it has (NEON, SSE2).
#pragma once
#include <stdint.h>
#include <string.h>

#define LANES_INLINE static inline __attribute__((always_inline))

namespace {

struct F {
    float v[16];
};
struct I {
    int32_t v[16];
};

constexpr int kWideTiles = 1, kWideTokens = 4, kFewTokens = 4;
constexpr int kMaxNarrow = 4, kNarrowTokens = 8;
constexpr bool kHasBf16 = false, kHasBytes = false;

#define EACH_LANE for (int i = 0; i < 16; i++)

LANES_INLINE F f_set(float x) {
    F r;
    EACH_LANE r.v[i] = x;
    return r;
}
LANES_INLINE F f_zero() { return f_set(0.0f); }
LANES_INLINE F f_load(const float* p) {
    F r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
LANES_INLINE void f_store(float* p, F x) { memcpy(p, x.v, sizeof x.v); }
LANES_INLINE F f_load_n(const float* p, int n) {
    if (n >= 16) return f_load(p);
    F r = f_zero();
    for (int i = 0; i < n; i++) r.v[i] = p[i];
    return r;
}
LANES_INLINE void f_store_n(float* p, F x, int n) {
    for (int i = 0; i < n && i < 16; i++) p[i] = x.v[i];
}
#define LANEWISE(name, type, expression)              \
    LANES_INLINE type name(type x, type y) {          \
        type r;                                       \
        EACH_LANE r.v[i] = expression;                \
        return r;                                     \
    }
LANEWISE(f_add, F, x.v[i] + y.v[i])
LANEWISE(f_sub, F, x.v[i] - y.v[i])
LANEWISE(f_mul, F, x.v[i] * y.v[i])
LANEWISE(f_div, F, x.v[i] / y.v[i])
LANEWISE(f_min, F, x.v[i] < y.v[i] ? x.v[i] : y.v[i])  // returns y where one is NaN, as x86 does
LANEWISE(f_max, F, x.v[i] > y.v[i] ? x.v[i] : y.v[i])
LANEWISE(i_and, I, x.v[i] & y.v[i])
LANEWISE(i_or, I, x.v[i] | y.v[i])
LANEWISE(i_add, I, (int32_t)((uint32_t)x.v[i] + (uint32_t)y.v[i]))  // wraps, as the sums rely on
#undef LANEWISE
LANES_INLINE F f_fma(F x, F y, F z) {
    F r;
    EACH_LANE r.v[i] = x.v[i] * y.v[i] + z.v[i];
    return r;
}
LANES_INLINE F f_abs(F x) {
    EACH_LANE x.v[i] = x.v[i] < 0 ? -x.v[i] : x.v[i];
    return x;
}
LANES_INLINE float f_sum(F x) {
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++) x.v[i] += x.v[i + n];
    return x.v[0];
}
LANES_INLINE float f_top(F x) {
    float top = x.v[0];
    EACH_LANE top = x.v[i] > top ? x.v[i] : top;
    return top;
}

LANES_INLINE I i_load(const void* p) {
    I r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
LANES_INLINE void i_store(void* p, I x) { memcpy(p, x.v, sizeof x.v); }
LANES_INLINE I i_set(int32_t x) {
    I r;
    EACH_LANE r.v[i] = x;
    return r;
}
template <int n> LANES_INLINE I i_srl(I x) {
    EACH_LANE x.v[i] = (int32_t)((uint32_t)x.v[i] >> n);
    return x;
}
template <int n> LANES_INLINE I i_sll(I x) {
    EACH_LANE x.v[i] = (int32_t)((uint32_t)x.v[i] << n);
    return x;
}
template <int n> LANES_INLINE I w_srl(I x) {  // in each half of a lane
    const uint32_t keep = (0xffffu >> n) * 0x10001u;
    EACH_LANE x.v[i] = (int32_t)(((uint32_t)x.v[i] >> n) & keep);
    return x;
}
LANES_INLINE F f_from(I x) {
    F r;
    EACH_LANE r.v[i] = (float)x.v[i];
    return r;
}
LANES_INLINE I i_round(F x) {  // to nearest, halves to even, for |x| < 2^22, NaN to something
    I r;
    EACH_LANE {
        const float shifted = x.v[i] + 12582912.0f;  // 1.5 * 2^23: the fraction falls off
        memcpy(&r.v[i], &shifted, 4);
        r.v[i] = (int32_t)((uint32_t)r.v[i] - 0x4b400000u);
    }
    return r;
}
LANES_INLINE F f_bits(I x) {
    F r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}
LANES_INLINE I i_bits(F x) {
    I r;
    memcpy(r.v, x.v, sizeof r.v);
    return r;
}
LANES_INLINE F f_where_less(F x, F y, F a, F b) {
    EACH_LANE a.v[i] = x.v[i] < y.v[i] ? a.v[i] : b.v[i];
    return a;
}
LANES_INLINE I b_reaches(I x, I y) {
    uint8_t a[64], b[64];
    memcpy(a, x.v, 64);
    memcpy(b, y.v, 64);
    for (int i = 0; i < 64; i++) a[i] = a[i] >= b[i] ? 255 : 0;
    memcpy(x.v, a, 64);
    return x;
}

LANES_INLINE I i_dot(I acc, I x, I y) {
    EACH_LANE {
        const int32_t low = (int32_t)(int16_t)x.v[i] * (int32_t)(int16_t)y.v[i];
        const int32_t high = (x.v[i] >> 16) * (y.v[i] >> 16);
        acc.v[i] = (int32_t)((uint32_t)acc.v[i] + (uint32_t)low + (uint32_t)high);
    }
    return acc;
}
LANES_INLINE I i_dot_bytes(I acc, I, I) { return acc; }
LANES_INLINE F f_dot_bf16(F acc, I, I) { return acc; }

struct Table {
    uint8_t bytes[16];
};
LANES_INLINE Table table(const uint8_t* p) {
    Table t;
    memcpy(t.bytes, p, 16);
    return t;
}
LANES_INLINE I look_up(Table t, I index) {
    uint8_t bytes[64];
    memcpy(bytes, index.v, 64);
    for (int i = 0; i < 64; i++) bytes[i] = t.bytes[bytes[i] & 15];
    memcpy(index.v, bytes, 64);
    return index;
}
LANES_INLINE F f_load_bf16(const uint16_t* p) {
    I r;
    EACH_LANE r.v[i] = (int32_t)((uint32_t)p[i] << 16);
    return f_bits(r);
}
LANES_INLINE void w_store(int16_t* p, I x) { EACH_LANE p[i] = (int16_t)x.v[i]; }
LANES_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
LANES_INLINE F f_sums(const F* v) {
    F r;
    EACH_LANE r.v[i] = f_sum(v[i]);
    return r;
}

}  // namespace
