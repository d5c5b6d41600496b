#include "simd_avx512.h"
#define LEVEL_NAME "avx512"
#define LEVEL_FUNCTION kernels_avx512
#include "kernels.inl"
