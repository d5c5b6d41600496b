#pragma once
#include "kernels.h"

const Kernels* kernels_at(int level);  // NULL behind the last
bool level_runs(int level);            // on this CPU, under this system
int best_level();
