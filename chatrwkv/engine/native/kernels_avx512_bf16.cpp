#define CHATRWKV_VNNI_BF16 1
#include "simd_avx512.h"
#define LEVEL_NAME "avx512_bf16"
#define LEVEL_FUNCTION kernels_avx512_bf16
#include "kernels.inl"
