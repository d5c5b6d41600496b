// An engine: the kernels of this CPU, the threads, and the work space that calls reuse.
#pragma once
#include <stdlib.h>

#include <initializer_list>

#include "kernels.h"
#include "pool.h"

// Zeroed, aligned memory that only grows. Everything in it is handed out once per layout.
class Arena {
public:
    Arena() = default;
    ~Arena() { free(base_); }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Call twice with the same requests: first counts, then hands out. False when there is no memory.
    bool reset(bool is_counting);
    template <typename T> void take(T*& pointer, int64_t count) {
        const int64_t bytes = round_up(count * static_cast<int64_t>(sizeof(T)), 64) + 64;  // lanes may read past the end
        if (base_ && !is_counting_) pointer = reinterpret_cast<T*>(base_ + used_);
        used_ += bytes;
    }

private:
    uint8_t* base_ = nullptr;
    int64_t used_ = 0;
    bool is_counting_ = true;
};

struct Workspace {
    Arena arena;
    int64_t max_tokens = 0, n_embd = 0, n_ffn = 0, max_rank = 0;
    float *x, *h, *r, *k, *v, *v_first, *w, *a, *v_mix, *g;  // (M, ld)
    Activations mixes[6];                                     // in the order of rwkv_layer
    Activations hidden[6];                                    // LoRA, between its matrices: 7 w a v g, 6 r k v g w, decay
    Activations ffn_in[2];                                    // inputs of ffn.key, ffn.receptance
    Activations y, ffn, out;                                  // inputs of output, ffn.value, head
    ActiveLines active;                                       // of ffn
    const float** before;
    float** wkv;
    int32_t* row_start;
};

// How far ahead to prefetch into L2, measured on the first passes with so many tokens. On a Zen 4 core, GB/s
// of one thread: one token, int8: none 22, 1 KiB 26, 4 KiB 16 (into L1 1 KiB 17, 4 KiB 12); eight tokens,
// bf16, where a line is in use for longer: 1 KiB 9, 2 KiB 11, 8 KiB 14. A Xeon gains a tenth from 2 KiB.
class Tuner {
public:
    int pass_begins();  // the distance for this pass
    void pass_ends();
    bool is_measuring() const { return is_measuring_; }

private:
    static constexpr int kChoices = 4, kRounds = 12;
    static constexpr double kClearly = 0.95;
    static constexpr int kBytes[kChoices] = {1024, 0, 2048, 8192};
    double best_s_[kChoices] = {1e9, 1e9, 1e9, 1e9}, began_s_ = 0.0;
    int n_measured_ = 0, bytes_ = kBytes[0];
    bool is_measuring_ = false;
};

// Whether lines of ffn.value that meet zeros are skipped when there is one token. Jumping over lines costs
// more than reading on unless enough are skipped, so pairs of passes, one each way, decide which it shall be.
class Skipping {
public:
    enum Mode : int32_t { kNever, kAlways, kMeasured };

    bool is_on = false, is_measuring = false;  // in this pass
    Mode mode = kMeasured;

    void pass_begins(bool may_measure);
    void add(double seconds) { sum_s_ += seconds; }
    void pass_ends();

private:
    static constexpr int kPairs = 16, kEnough = 13;  // by chance 13 of 16 are won once in a hundred times
    static constexpr double kClearly = 0.98;
    double sum_s_ = 0.0, dense_s_ = 0.0;
    int n_measured_ = 0, n_won_ = 0;
    bool is_better_ = false;
};

struct Engine {
    Engine(const Kernels& level, int n_threads);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const Kernels& kernels;
    Pool pool;
    Tuner tuners[kMaxNarrowTokens];  // of passes with 1, 2, ... tokens
    Workspace space;
    Skipping skipping;
    int prefetch = 1024;                  // bytes ahead of the line in use, in this pass
    uint8_t* scratch[Pool::max_workers];  // of each worker, made when it is first needed
    bool ready();                         // scratch for all threads; false when there is no memory
};

// Room for the inputs of a matrix with so many columns.
void take_activations(Arena& arena, Activations& x, int64_t max_tokens, int64_t columns, const Kernels& kernels);

// Into how many pieces `arrange` is cut.
inline int unit_count(const Kernels& k, int n_tokens) {
    return n_tokens > k.narrow_tokens ? (n_tokens + block_of(k, n_tokens) - 1) / block_of(k, n_tokens) : n_tokens;
}

// Products that may run at the same time, cut into blocks.
struct Products {
    static constexpr int kMost = 8;
    Matmul jobs[kMost];
    int n_jobs = 0, first_block[kMost + 1] = {0}, tiles[kMost];
    Engine* engine;

    explicit Products(Engine& e) : engine(&e) {}
    Matmul& add(const rwkv_matrix& w, const Activations& x, int n_tokens, float* out, int64_t ld_out,
                After after = After::kStore);
    void run();
    void run_tiles(int job, int tile0, int tile1, int worker) const;
};

int forward(Engine& engine, const rwkv_model& model, const rwkv_state& state, int n_rows, const int32_t* lengths,
            const int32_t* ids, const int32_t* n_logits, float* logits);
int matmul_once(Engine& engine, const rwkv_matrix& w, const float* x, int n, float* y);
