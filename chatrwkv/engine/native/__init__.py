"""C++ of the CPU path, shipped as source; `abi.py` mirrors `abi.h`, `engine/kernels.py` builds and opens it."""
