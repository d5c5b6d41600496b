// Launcher of RWKV-6.
#include "wkv6.cuh"

#include "launch_heads.cuh"

RWKV_HEAD_LAUNCHER(wkv6)
