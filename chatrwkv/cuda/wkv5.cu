// Launcher of RWKV-5.
#include "wkv5.cuh"

#include "launch_heads.cuh"

RWKV_HEAD_LAUNCHER(wkv5)
