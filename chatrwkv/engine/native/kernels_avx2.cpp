#include "simd_avx2.h"
#define LEVEL_NAME "avx2"
#define LEVEL_FUNCTION kernels_avx2
#include "kernels.inl"
