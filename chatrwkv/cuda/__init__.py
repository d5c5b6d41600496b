"""CUDA kernels: torch-free device code (`.cuh`), C launchers (`.cu`), and what it takes to compile and call them.

Knows neither torch nor the engine. `engine.cuda_kernels` builds, tests and registers what is here.
"""
