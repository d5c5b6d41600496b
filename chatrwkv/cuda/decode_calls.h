// What the kernels of a step of RWKV-7 are given. `decode_abi.py` is the mirror; sizes are compared when the
// library is opened.
//
// B rows of one token each, 1 to 16; C channels, F width of ffn, H heads of N, V vocabulary. Arrays are contiguous and
// start at 16 bytes; C and F are multiples of 16, n_in of 8 (16 in int8). "16-bit" is fp16 or bf16, as the kernel says.
#pragma once

// Norm, shift and the mixed views of a token; with `emb` the stream begins there.
struct rwkv_mix_call {
  const long long* ids;  // (B)
  const void* emb;       // (V, C) 16-bit; null: the stream is in x
  float* x;              // (B, C), written if there is emb
  const float* weight;   // (C)
  const float* bias;     // (C)
  const float* mix;      // (n_views, C), how much of the token before enters
  float* shift;          // (B, C), the token before, overwritten; null: the view is the norm alone
  void* y;               // (n_views, B, C) 16-bit
  int n_rows, n_channels, n_views;
};

// One matrix of a `rwkv_products_call`:  y = act(weight x + bias)
struct rwkv_product {
  const void* weight;           // (n_out, n_in) 16-bit, or signed bytes q
  const unsigned short* scale;  // of bytes: bf16 (n_out, columns / 64 rounded up), a weight is scale * q; else null
  const void* x;                // (B, n_in) 16-bit
  const float* bias;            // (n_out) or null
  void* y;                      // (B, n_out), 16-bit, or float if is_wide
  int n_out, n_in, act, is_wide;
};

enum rwkv_act {
  RWKV_ACT_NONE = 0,
  RWKV_ACT_TANH = 1,
  RWKV_ACT_SIGMOID = 2,
  RWKV_ACT_DECAY = 3,          // exp(-0.606531 sigmoid)
  RWKV_ACT_SQUARED_RELU = 4,
  RWKV_ACT_ADD = 5             // y += , wide
};

enum { RWKV_MOST_PRODUCTS = 7 };

struct rwkv_products_call {
  struct rwkv_product matrix[RWKV_MOST_PRODUCTS];
  int n_matrices, n_rows;
};

// From the products to the input of the output matrix: keys, recurrence, norm of the heads, bonus, gate.
struct rwkv_token_call {
  const float *r, *k, *v, *decay, *a, *g;  // (B, C)
  const float* v_gate;                     // (B, C), how much of v_first enters; null in the first layer, which writes it
  float* v_first;                          // (B, C)
  const float *k_k, *k_a, *r_k, *ln_weight, *ln_bias;  // (C)
  float* state;                            // (B, H, N value, N key), read and written
  void* y;                                 // (B, C) 16-bit
  int n_rows, n_heads, head_size;
};

// x += k value, the matrix lying so that one number of k has one row of it, which is not read where all rows have 0.
struct rwkv_values_call {
  const void* weight;           // (F, C) 16-bit, or signed bytes q
  const unsigned short* scale;  // of bytes: bf16 (F / 64 rounded up, C); else null
  const float* k;               // (B, F), >= 0
  float* x;                     // (B, C)
  float* parts;                 // (F / range rounded up, B, C), work space
  int* counters;                // (C / 64 rounded up), zero before and after
  int n_rows, n_wide, n_channels;
  int range;                    // of F a block; a multiple of 512
  int is_skipping;
};
