// The functions of abi.h: they check what Python hands over.
#include <new>

#include "cpu.h"
#include "engine.h"
#include "head.h"
#include "pack.h"

namespace {

bool is_source(int format) { return format == RWKV_FP32 || format == RWKV_BF16 || format == RWKV_FP16; }
bool is_packed(int format) { return format >= RWKV_FP32 && format <= RWKV_INT4; }

bool is_good(const rwkv_matrix& w, int rows, int cols) {
    return w.data && reinterpret_cast<uintptr_t>(w.data) % kLine == 0 && is_packed(w.format) && w.rows == rows && w.cols == cols;
}

// A pair of LoRA matrices: D is free, formats are those of floating point.
bool is_good_lora(const rwkv_matrix& down, const rwkv_matrix& up, int n) {
    return is_good(down, down.rows, n) && is_good(up, n, down.rows) && !is_quantised(down.format) &&
           !is_quantised(up.format) && (down.format == RWKV_FP32) == (up.format == RWKV_FP32);
}

// One prepared input serves all matrices that read it: those of R K V are of one kind, and so is what reads beside.
bool is_good7(const rwkv_layer& w, int C, bool is_first) {
    if (!is_good_lora(w.w1, w.w2, C) || !is_good_lora(w.a1, w.a2, C) || !is_good_lora(w.g1, w.g2, C)) return false;
    if (!is_first && !is_good_lora(w.v1, w.v2, C)) return false;
    const bool is_fp32 = w.receptance.format == RWKV_FP32;
    for (const rwkv_matrix* x : {&w.key, &w.value, &w.w1, &w.a1, &w.g1})
        if ((x->format == RWKV_FP32) != is_fp32) return false;
    return is_quantised(w.key.format) == is_quantised(w.receptance.format) &&
           is_quantised(w.value.format) == is_quantised(w.receptance.format);
}

bool is_good6(const rwkv_layer& w, int C) {
    if (!w.ln_x_weight || !w.ln_x_bias || !is_good(w.gate, C, C) || !is_good_lora(w.w1, w.w2, C)) return false;
    const rwkv_matrix* down[] = {&w.xr1, &w.xk1, &w.xv1, &w.xg1, &w.xw1};
    const rwkv_matrix* up[] = {&w.xr2, &w.xk2, &w.xv2, &w.xg2, &w.xw2};
    for (int i = 0; i < 5; i++)
        if (!is_good_lora(*down[i], *up[i], C) || down[i]->format != down[0]->format) return false;
    return true;
}

bool is_good(const rwkv_layer& w, const rwkv_model& m, bool is_first) {
    const int C = m.n_embd, F = m.n_ffn;
    for (const rwkv_matrix* x : {&w.receptance, &w.key, &w.value, &w.output})
        if (!is_good(*x, C, C)) return false;
    if (!is_good(w.ffn_key, F, C) || !is_good(w.ffn_value, C, F) || !w.mixes || !w.ffn_mixes) return false;
    if (m.generation == 7) return !w.ffn_receptance.data && is_good7(w, C, is_first);
    if (!is_good(w.ffn_receptance, C, C) || !w.decay || !w.bonus) return false;
    if (m.generation == 6) return is_good6(w, C);
    return m.generation == 4 || (w.ln_x_weight && w.ln_x_bias && (!w.gate.data || is_good(w.gate, C, C)));
}

bool is_good(const rwkv_model& m) {
    const int C = m.n_embd, V = m.n_vocab;
    if (m.struct_bytes != sizeof(rwkv_model) || m.layer_bytes != sizeof(rwkv_layer)) return false;
    if (m.generation < 4 || m.generation > 7 || m.n_layer < 1 || C < 1 || m.n_ffn < 1 || V < 1) return false;
    if (m.head_size < 1 || m.head_size > kMaxHead || m.n_head * m.head_size != C) return false;
    if (!m.emb || !m.layers || (m.emb_format != RWKV_FP32 && m.emb_format != RWKV_BF16)) return false;
    if (!is_good(m.head, V, C)) return false;
    for (int l = 0; l < m.n_layer; l++)
        if (!is_good(m.layers[l], m, l == 0)) return false;
    return true;
}

bool is_good(const rwkv_state& s, int generation) {
    return s.att_shift && s.ffn_shift && (generation == 4 ? s.aa && s.bb && s.pp : s.wkv != nullptr);
}

}  // namespace

extern "C" {

int32_t rwkv_abi(void) { return RWKV_ABI; }

const char* rwkv_isa(int32_t level) {
    const Kernels* kernels = kernels_at(level);
    return kernels ? kernels->name : nullptr;
}

int32_t rwkv_best_isa(void) { return best_level(); }

void* rwkv_engine_new(int32_t isa, int32_t n_threads) {
    if (!level_runs(isa)) return nullptr;
    // not operator new: nothing here needs the C++ library at run time, of which torch may bring its own
    void* room = aligned_alloc(64, static_cast<size_t>(round_up(sizeof(Engine), 64)));
    return room ? new (room) Engine(*kernels_at(isa), n_threads) : nullptr;
}

void rwkv_engine_free(void* engine) {
    static_cast<Engine*>(engine)->~Engine();
    free(engine);
}

void rwkv_engine_threads(void* engine, int32_t n_threads) { static_cast<Engine*>(engine)->pool.set_threads(n_threads); }

void rwkv_engine_skip(void* engine, int32_t mode) {
    static_cast<Engine*>(engine)->skipping.mode = static_cast<Skipping::Mode>(mode);
}

void rwkv_engine_stats(void* engine, rwkv_pool_stats* out) {
    const Engine& e = *static_cast<Engine*>(engine);
    *out = {e.pool.passes, e.pool.alone, e.pool.probes, e.prefetch, e.skipping.is_on};
}

int64_t rwkv_packed_bytes(int32_t format, int32_t rows, int32_t cols) {
    if (!is_packed(format) || rows < 1 || cols < 1) return -1;
    return (rows + kTileRows - 1) / kTileRows * tile_bytes(format, cols);
}

int32_t rwkv_pack(void* engine, int32_t format, const void* src, int32_t src_format, int32_t rows, int32_t cols,
                  int64_t row_stride, int64_t col_stride, uint8_t* dst) {
    if (!is_packed(format) || !is_source(src_format) || rows < 1 || cols < 1 || !src || !dst) return RWKV_BAD_ARGUMENT;
    Engine& e = *static_cast<Engine*>(engine);
    const PackJob job = {format, src, src_format, rows, cols, row_stride, col_stride, dst};
    const int tiles = (rows + kTileRows - 1) / kTileRows, most = 100000;
    for (int first = 0; first < tiles; first += most) {
        struct Part {
            const Kernels* kernels;
            const PackJob* job;
            int first;
        } part = {&e.kernels, &job, first};
        e.pool.run(
            tiles - first < most ? tiles - first : most,
            [](void* argument, int block, int) {
                const Part& p = *static_cast<const Part*>(argument);
                pack_tile(*p.kernels, *p.job, p.first + block);
            },
            &part);
    }
    return RWKV_OK;
}

void rwkv_watch(const double* all_s, const double* alone_s, int32_t n, uint8_t* ways) {
    Watch watch;
    for (int i = 0; i < n; i++) {
        ways[i] = watch.way() == Watch::kAlone;
        watch.add(ways[i] ? alone_s[i] : all_s[i], 1.0);
    }
}

int32_t rwkv_head(int32_t isa, const float* logits, int32_t n, int32_t wanted, int32_t room, int32_t* ids,
                  rwkv_head_sums* sums) {
    if (!kernels_at(isa) || n < 1 || wanted < 1 || room < wanted) return -1;
    return head(*kernels_at(isa), logits, n, wanted, room, ids, *sums);
}

int32_t rwkv_unpack(const rwkv_matrix* matrix, float* dst) {
    if (!is_good(*matrix, matrix->rows, matrix->cols)) return RWKV_BAD_ARGUMENT;
    unpack(*matrix, dst);
    return RWKV_OK;
}

int32_t rwkv_forward(void* engine, const rwkv_model* model, const rwkv_state* state, int32_t n_rows,
                      const int32_t* lengths, const int32_t* ids, const int32_t* n_logits, float* logits) {
    if (!engine || !is_good(*model) || !is_good(*state, model->generation) || n_rows < 1) return RWKV_BAD_ARGUMENT;
    Engine& e = *static_cast<Engine*>(engine);
    int64_t n_tokens = 0;
    for (int b = 0; b < n_rows; b++) n_tokens += lengths[b];
    const int kind = n_tokens <= e.kernels.narrow_tokens ? static_cast<int>(n_tokens) : 0;
    e.pool.pass_begins(kind);
    Tuner* tuner = kind ? &e.tuners[kind - 1] : nullptr;  // many tokens are not short of memory
    if (tuner) e.prefetch = tuner->pass_begins();
    e.skipping.pass_begins(n_tokens == 1 && !e.tuners[0].is_measuring());
    const int error = forward(e, *model, *state, n_rows, lengths, ids, n_logits, logits);
    if (tuner) tuner->pass_ends();
    if (!error) e.skipping.pass_ends();
    e.pool.pass_ends(kind, kind ? 1.0 : static_cast<double>(n_tokens));
    return error;
}

int32_t rwkv_matmul(void* engine, const rwkv_matrix* matrix, const float* x, int32_t n, float* y) {
    if (!engine || !is_good(*matrix, matrix->rows, matrix->cols)) return RWKV_BAD_ARGUMENT;
    Engine& e = *static_cast<Engine*>(engine);
    return e.ready() ? matmul_once(e, *matrix, x, n, y) : RWKV_NO_MEMORY;
}

int32_t rwkv_read(void* engine, const void* data, int64_t n_bytes) {
    constexpr int64_t kBlock = 1 << 18;
    struct Context {
        const Kernels* kernels;
        const uint8_t* data;
        std::atomic<int32_t> sum;
    } context = {&static_cast<Engine*>(engine)->kernels, static_cast<const uint8_t*>(data), {0}};
    static_cast<Engine*>(engine)->pool.run(
        static_cast<int>(n_bytes / kBlock),
        [](void* argument, int block, int) {
            Context& c = *static_cast<Context*>(argument);
            c.sum.fetch_add(c.kernels->read(c.data + block * kBlock, kBlock));
        },
        &context);
    return context.sum.load();
}

}  // extern "C"
