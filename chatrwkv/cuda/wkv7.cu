// Launcher of RWKV-7.
#include "wkv7.cuh"

#include "launch_heads.cuh"

RWKV_HEAD_LAUNCHER(wkv7)
