// Which level of instruction sets runs here. The only place that looks; everything compiled with more than
// the base instructions of the architecture is reached through the table this chooses.
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(__x86_64__)

constexpr int kLevels = 4;

// CPUID by hand: __builtin_cpu_supports knows no more, and says no to everything in programs linked by zig.
struct Features {
    bool avx2 = false, avx512 = false, avx512_bf16 = false;

    Features() {
        uint32_t a, b, c, d;
        if (!__get_cpuid(1, &a, &b, &c, &d)) return;
        const bool fma = c >> 12 & 1, has_xgetbv = c >> 27 & 1;
        if (!has_xgetbv || !(c >> 28 & 1)) return;
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // what the system saves of registers
        const bool saves_ymm = (low & 0x06) == 0x06, saves_zmm = (low & 0xe6) == 0xe6;
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
        const uint32_t f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
        avx2 = fma && saves_ymm && (b >> 5 & 1);
        avx512 = avx2 && saves_zmm && (b & f_dq_bw_vl) == f_dq_bw_vl;
        const bool vnni = c >> 11 & 1;
        avx512_bf16 = avx512 && vnni && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
    }
};

bool runs(int level) {
    const Features features;  // asked once for each engine: no need to keep it
    return level == 0 || (level == 1 && features.avx2) || (level == 2 && features.avx512) ||
           (level == 3 && features.avx512_bf16);
}

#else

constexpr int kLevels = 1;

bool runs(int level) { return level == 0; }

#endif

}  // namespace

const Kernels* kernels_at(int level) {
    switch (level) {
        case 0: return &kernels_portable();
#if defined(__x86_64__)
        case 1: return &kernels_avx2();
        case 2: return &kernels_avx512();
        case 3: return &kernels_avx512_bf16();
#endif
        default: return nullptr;
    }
}

bool level_runs(int level) { return level >= 0 && level < kLevels && runs(level); }

int best_level() {
    int best = 0;
    for (int level = 1; level < kLevels; level++)
        if (runs(level)) best = level;
    return best;
}
