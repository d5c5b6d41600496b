// Which level of instruction sets runs here. The only place that looks; everything compiled with more than
// the base instructions of the architecture is reached through the table this chooses.
#include "cpu.h"

static const int kLevels =
#if defined(__x86_64__)
    4;
#else
    1;
#endif

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

// The builtin asks CPUID and whether the system saves the registers (XGETBV).
static bool runs(int level) {
    if (level == 0) return true;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (level == 1) return avx2;
    if (level == 2) return avx512;
    if (level == 3) return avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
#endif
    return false;
}

bool level_runs(int level) { return level >= 0 && level < kLevels && runs(level); }

int best_level() {
    int best = 0;
    for (int level = 1; level < kLevels; level++)
        if (runs(level)) best = level;
    return best;
}
