// The kernels of a step of RWKV-7, compiled together.
#pragma once

#include "mix7.cuh"
#include "products7.cuh"
#include "token7.cuh"
#include "values7.cuh"
