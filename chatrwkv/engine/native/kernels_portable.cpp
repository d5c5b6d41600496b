#include "simd_portable.h"
#define LEVEL_NAME "portable"
#define LEVEL_FUNCTION kernels_portable
#include "kernels.inl"
