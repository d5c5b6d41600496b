// The sixteen values of INT4, as true value + 128 so that they are unsigned bytes. Made for bell-shaped
// weights: dense near zero, coarse in the tails (see quant.py for the measured error).
#pragma once
#include <stdint.h>

static constexpr uint8_t kInt4Table[16] = {1, 27, 48, 65, 80, 94, 107, 119, 131, 143, 155, 168, 183, 200, 221, 248};
