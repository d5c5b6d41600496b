// One pass over M tokens of B rows: a step is M = B, a block of a prefill M = 256. What every generation does
// alike is here; its time mixer is a function of its own.
#pragma once
#include "engine.h"

struct Pass {
    Pass(Engine& e, const rwkv_model& m, const rwkv_state& s, int n_rows, const int32_t* lengths);

    int prepare();  // work space; an error code
    int run(const int32_t* ids, const int32_t* n_logits, float* logits);

    // ---- for the time mixers ----

    // ln, token shift and mixes of a mixer whose shift state of layer 0, row 0 is at `shift`. `readers` are the
    // matrices that read the mixes, in order; one behind the last mix reads the third.
    void mix(const MixJob& job, const float* shift, const rwkv_matrix* const* readers, int n_readers);
    // The mixes again, now that the token has chosen how much is added to each.
    void choose(const MixJob& job, const rwkv_matrix* const* readers, int n_readers);
    // The h of each row's last token becomes the shift state, once nobody reads the old one any more.
    void keep_shift(float* shift) const;

    struct Ready {  // activations that the next phase reads, and a matrix that reads each
        const Pass* pass;
        const Activations* x[5];
        const rwkv_matrix* reader[5];
        int n, n_tokens;
    };
    void make_ready(const Ready& ready) const;
    void make_ready(const Activations& x, const rwkv_matrix& reader, int n_tokens) const;
    // `run` over all heads, in blocks of whole tiles. Before, the worker computes the tiles of these products that
    // belong to its heads.
    typedef void (*Heads)(const Kernels& kernels, const void* job, int head0, int head1);
    void each_head(const Products& second, const void* job, Heads run) const;
    float* const* wkv_rows(int layer) const;  // the matrices of each row
    void output(const rwkv_layer& w) const;   // y through the output matrix, added to x

    float* att_shift(int layer) const { return state.att_shift + layer * state.vector_layer_stride; }
    float* ffn_shift(int layer) const { return state.ffn_shift + layer * state.vector_layer_stride; }

    Engine& engine;
    const Kernels& kernels;
    const rwkv_model& model;
    const rwkv_state& state;
    Workspace& space;
    const int n_rows;
    const int32_t* lengths;
    int n_tokens = 0;
    bool is_wide = false;  // more tokens than the narrow product takes

private:
    typedef void (*Mix)(const MixJob& job, int token0, int token1, float* scratch);
    void run_mix(Mix mix, const MixJob& job, const rwkv_matrix* const* readers, int n_readers);
    void embed(const int32_t* ids) const;
    void ffn(const rwkv_layer& w, int layer);
    void find_active(const rwkv_matrix& w) const;
    void head(const int32_t* n_logits, float* logits) const;
};

void attention4(Pass& pass, const rwkv_layer& w, int layer);
void attention6(Pass& pass, const rwkv_layer& w, int layer);  // 5 too
void attention7(Pass& pass, const rwkv_layer& w, int layer);
