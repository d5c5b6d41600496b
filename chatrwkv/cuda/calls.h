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

// What one draw depends on; engine/sampling.py says what each setting means. V n_vocab.
struct rwkv_draw_row {
  const float* logits;  // (V)
  const float* beside;  // (V) of the mind that guidance leads away from, or null
  double chance;        // in [0, 1)
  double top_p, top_p_x, top_a, top_a_power, min_p;  // 1 or, for the last two, 0 where a filter is off
  double floor;          // mirostat, in place of all filters: up to and with the first less likely; 0 is off
  float cfg, beside_cfg;  // factors of the two minds
  float divisor;          // of the logits before the softmax
  float power;            // weights of the draw are probabilities to this power
  float newline_bias;
  int newline;  // id whose logit gets it, or -1
  int first_penalty, n_penalties;  // of call.ids and call.penalties, each id once
  int first_ban, n_bans;           // of call.ids
  int top_k;                       // 0 is off
  int is_greedy;
  int forced;  // the token whose chance is asked for in place of a draw, or -1
};

#define RWKV_DRAW_TOP 8

struct rwkv_drawn {
  int is_drawn;  // 0: only the CPU can tell
  int id;
  float logprob;  // before any cut
  float kept;     // probability of all tokens that survived the filters
  int n_top;
  int top_ids[RWKV_DRAW_TOP];
  float top_logprobs[RWKV_DRAW_TOP];
};

struct rwkv_draw_call {
  const rwkv_draw_row* rows;  // (B)
  const int* ids;
  const float* penalties;
  float* scratch;  // (B, V)
  rwkv_drawn* drawn;  // (B)
  int n_rows, n_vocab;
};

enum rwkv_cuda_type { RWKV_CUDA_FP32 = 0, RWKV_CUDA_FP16 = 1, RWKV_CUDA_BF16 = 2 };
