// Launcher of RWKV-7 in chunks.
#include "wkv7_chunked.cuh"

#include "launch_heads.cuh"

RWKV_CUT_LAUNCHER(wkv7_chunked, Sixteens, RWKV_ROW_TO_64)
