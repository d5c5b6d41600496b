// What a kernel is given: plain C, passed by value to the kernels and by address to the launchers.
// `abi.py` is the mirror; sizes are compared when the library is opened.
#pragma once

// Recurrences with one (N value, N key) matrix a head: RWKV-5, 6 and 7.
// B rows, T tokens, H heads, N head size; vectors are (B, T, H, N), contiguous.
struct rwkv_heads_call {
  const void* r;
  const void* k;
  const void* v;
  const void* a;           // RWKV-7: what is read of the old state (-kk); else unused
  const void* b;           // RWKV-7: where it is written (kk * a); else unused
  const float* log_decay;  // (B, T, H, N), RWKV-5 (H, N); <= 0
  const float* u;          // RWKV-5 and 6: (H, N), bonus of the token itself; else unused
  const int* lengths;      // (B), real tokens of each row, 0 to T; null: all T
  float* state;            // (B, H, N value, N key), read and written
  void* y;                 // (B, T, H, N), zero behind a row's length
  int n_rows, n_tokens, n_heads, head_size;
};

// RWKV-4, also 2 and 3: C independent channels.
struct rwkv_channels_call {
  const void* k;        // (B, T, C), an exponent
  const void* v;        // (B, T, C)
  const float* w;       // (C), log of the decay, <= 0
  const float* u;       // (C), bonus of the token itself
  const int* lengths;   // (B), real tokens of each row, 0 to T; null: all T
  float *aa, *bb, *pp;  // (B, C) each, read and written; true sums are aa*exp(pp), bb*exp(pp)
  void* y;              // (B, T, C), zero behind a row's length
  float log_eps;        // log of what RWKV-2 and 3 add to the denominator
  int has_eps;
  int n_rows, n_tokens, n_channels;
};

enum rwkv_cuda_type { RWKV_CUDA_FP32 = 0, RWKV_CUDA_FP16 = 1, RWKV_CUDA_BF16 = 2 };
