// The C ABI of the native CPU path: what Python sees through ctypes, and nothing else. No torch, no C++
// types, so that the library compiles in seconds and fits every version of torch.
//
// Letters:  L layers   B rows (conversations)   M tokens of one call, over all rows   C n_embd   H heads
//           N head size   F width of ffn   V vocabulary   D rank of a LoRA
// Names of weights are those of the checkpoint (k_k, r_k, ln_x ...), see models/rwkv7.py and its neighbours.
//
// A packed matrix is cut into tiles of 16 output rows, one SIMD lane a row, columns inside in reading order:
// one stream of 64-byte lines from the first to the last byte, no sum across lanes, one layout for all CPUs.
//
//   format   a line holds              before the lines of a tile
//   FP32     16 rows x 1 column
//   BF16     16 rows x 2 columns       (a lane is the pair that vdpbf16ps wants)
//   INT8     16 rows x 4 columns       scales: bf16, 16 rows a group of 64 columns
//   INT4     16 rows x 8 columns       the same; a nibble indexes the table in tables.h
//
// Bytes of a lane are columns 0 2 1 3, so that `lane & 0x00ff00ff` is the pair (0, 1) and `lane >> 8` the
// pair (2, 3) for 16-bit multiply-add. INT4 has columns 0-3 in the low and 4-7 in the high nibbles.
#pragma once
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define RWKV_ABI 2
#define RWKV_EXPORT __attribute__((visibility("default")))

enum { RWKV_FP32 = 0, RWKV_BF16 = 1, RWKV_INT8 = 2, RWKV_INT4 = 3, RWKV_FP16 = 4 };  // FP16: sources only

enum { RWKV_OK = 0, RWKV_BAD_ARGUMENT = 1, RWKV_NO_MEMORY = 2 };

typedef struct {
    const uint8_t* data;
    int32_t rows, cols;  // as in the model; the packed form is padded
    int32_t format;
    int32_t reserved;
} rwkv_matrix;

// One layer of any generation. What it has not is NULL, or a matrix without data.
typedef struct {
    const float *ln1_weight, *ln1_bias, *ln2_weight, *ln2_bias;
    const float* mixes;      // (n, C): 4, 5.0 r k v   5.1, 5.2 r k v g   6 r k v g w x   7 r k v w a g
    const float* ffn_mixes;  // (n, C): 7 k, before k r
    const float *ln_x_weight, *ln_x_bias;         // from 5 on
    const float *decay, *bonus;                   // 4 to 6: raw time_decay and u, (C) each
    const float* k_clamp;                         // 6: not NULL if keys shrink where the decay is strong
    const float *w0, *a0, *v0, *k_k, *k_a, *r_k;  // 7; v0 is not read in layer 0
    rwkv_matrix receptance, key, value, output;
    rwkv_matrix gate;            // 5.1, 5.2, 6
    rwkv_matrix w1, w2;          // 6, 7; [out, in] as all matrices: w1 (D, C), w2 (C, D)
    rwkv_matrix a1, a2, v1, v2, g1, g2;            // 7
    rwkv_matrix xr1, xk1, xv1, xg1, xw1, xr2, xk2, xv2, xg2, xw2;  // 6: what chooses the mixes
    rwkv_matrix ffn_key, ffn_value;
    rwkv_matrix ffn_receptance;  // 4 to 6
} rwkv_layer;

typedef struct {
    int32_t struct_bytes, layer_bytes;  // sizeof as the caller sees it: a wrong mirror is refused
    int32_t generation;                 // 4 to 7; 5 is 5.0 without gate, 5.1 and 5.2
    int32_t n_layer, n_embd, n_head, head_size, n_ffn, n_vocab;
    int32_t emb_format;  // FP32 or BF16, plain rows
    const void* emb;     // (V, C)
    const float *ln0_weight, *ln0_bias;  // NULL if already applied to emb
    const float *ln_out_weight, *ln_out_bias;
    rwkv_matrix head;
    const rwkv_layer* layers;
} rwkv_model;

// The state of B conversations: element (l, b) of a tensor starts at base + l * layer_stride + b * row_stride.
typedef struct {
    float *att_shift, *ffn_shift;  // (L, B, C)
    float *aa, *bb, *pp;           // (L, B, C): 4
    float* wkv;                    // (L, B, H, N, N): from 5 on
    int64_t vector_layer_stride, vector_row_stride;  // of all that are (L, B, C)
    int64_t wkv_layer_stride, wkv_row_stride;
} rwkv_state;

typedef struct {
    int64_t passes, alone, probes;  // alone: by the caller only, though there are more threads
    int64_t prefetch;               // bytes ahead, as measured
    int64_t is_skipping;            // whether the last pass could skip lines of ffn.value
} rwkv_pool_stats;

RWKV_EXPORT int32_t rwkv_abi(void);
RWKV_EXPORT const char* rwkv_isa(int32_t level);  // name of an instruction set level; NULL behind the last
RWKV_EXPORT int32_t rwkv_best_isa(void);          // the highest level this CPU and system run

// An engine: instruction set, threads, work space. One caller at a time.
RWKV_EXPORT void* rwkv_engine_new(int32_t isa, int32_t n_threads);
RWKV_EXPORT void rwkv_engine_free(void* engine);
RWKV_EXPORT void rwkv_engine_threads(void* engine, int32_t n_threads);  // takes effect at the next call
// Zeros of the squared ReLU: 0 never skipped, 1 always, 2 if it is measured to be faster (from the start).
RWKV_EXPORT void rwkv_engine_skip(void* engine, int32_t mode);
RWKV_EXPORT void rwkv_engine_stats(void* engine, rwkv_pool_stats* out);

RWKV_EXPORT int64_t rwkv_packed_bytes(int32_t format, int32_t rows, int32_t cols);
// Packs rows x cols numbers at src (element (i, j) at i * row_stride + j * col_stride) into dst.
RWKV_EXPORT int32_t rwkv_pack(void* engine, int32_t format, const void* src, int32_t src_format, int32_t rows,
                              int32_t cols, int64_t row_stride, int64_t col_stride, uint8_t* dst);
// The inverse, to float32 (rows, cols): what the matrix means.
RWKV_EXPORT int32_t rwkv_unpack(const rwkv_matrix* matrix, float* dst);

// Reads lengths[b] >= 0 tokens into row b, one row's ids behind the other's, RWKV_MAX_TOKENS in all. Logits:
// those of the last n_logits[b] tokens of each row, one (V) behind the other.
#define RWKV_MAX_TOKENS 256
RWKV_EXPORT int32_t rwkv_forward(void* engine, const rwkv_model* model, const rwkv_state* state, int32_t n_rows,
                                 const int32_t* lengths, const int32_t* ids, const int32_t* n_logits, float* logits);

// The head of a distribution over n logits, on the caller's thread: a complete beginning of the order, that is
// the ids (ascending) of all logits that reach some threshold, at least `wanted` of them. Returns how many; -1
// if they do not fit into `room`, are too few to choose from, or if `total` is not a number.
#define RWKV_HEAD_ERROR 5e-6  // of `total`, relative
typedef struct {
    double best;   // the largest logit
    double total;  // the sum of exp(logit - best); NaN if a logit is NaN, one is +inf or all are -inf
} rwkv_head_sums;
RWKV_EXPORT int32_t rwkv_head(int32_t isa, const float* logits, int32_t n, int32_t wanted, int32_t room, int32_t* ids,
                              rwkv_head_sums* sums);

// y (n, rows) = x (n, cols) times the matrix: for tests and measurements; x has no padding.
RWKV_EXPORT int32_t rwkv_matmul(void* engine, const rwkv_matrix* matrix, const float* x, int32_t n, float* y);

// What the threads would do in n passes that take all_s[i] with all of them and alone_s[i] with the caller alone:
// ways[i] is 1 where the caller is alone. For tests: no clock is asked.
RWKV_EXPORT void rwkv_watch(const double* all_s, const double* alone_s, int32_t n, uint8_t* ways);

// Reads n_bytes (a multiple of 256 KiB) with all threads: the speed that decoding is measured against. The result only keeps the compiler from leaving it out.
RWKV_EXPORT int32_t rwkv_read(void* engine, const void* data, int64_t n_bytes);

#if defined(__cplusplus)
}
#endif
