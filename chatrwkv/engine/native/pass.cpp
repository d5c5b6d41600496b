#include "pass.h"

#include <string.h>

namespace {

constexpr int kMaxRank = 4096;

}  // namespace

Pass::Pass(Engine& e, const rwkv_model& m, const rwkv_state& s, int rows, const int32_t* row_lengths)
    : engine(e), kernels(e.kernels), model(m), state(s), space(e.space), n_rows(rows), lengths(row_lengths) {
    for (int b = 0; b < n_rows; b++) n_tokens += lengths[b];
    is_wide = n_tokens > kernels.narrow_tokens;
}

int Pass::prepare() {
    if (n_tokens < 1 || n_tokens > kMaxTokens || n_rows > kMaxTokens) return RWKV_BAD_ARGUMENT;
    int64_t rank = 0;
    for (int l = 0; l < model.n_layer; l++) {
        const rwkv_layer& w = model.layers[l];
        for (const rwkv_matrix* m : {&w.w1, &w.a1, &w.v1, &w.g1, &w.xr1, &w.xk1, &w.xv1, &w.xg1, &w.xw1})
            if (m->rows > rank) rank = m->rows;
    }
    if (rank > kMaxRank) return RWKV_BAD_ARGUMENT;
    if (!engine.ready()) return RWKV_NO_MEMORY;
    Workspace& s = space;
    const int64_t M = is_wide || n_rows > kernels.narrow_tokens ? kMaxTokens : kernels.narrow_tokens, C = model.n_embd, F = model.n_ffn;
    if (s.max_tokens >= M && s.n_embd == C && s.n_ffn == F && s.max_rank >= rank) return RWKV_OK;
    s.max_tokens = 0;  // nothing usable until all of it is there
    const int64_t ld = round_up(C, kGroup);
    for (const bool is_counting : {true, false}) {
        if (!s.arena.reset(is_counting)) return RWKV_NO_MEMORY;
        for (float** p : {&s.x, &s.h, &s.r, &s.k, &s.v, &s.v_first, &s.w, &s.a, &s.v_mix, &s.g}) s.arena.take(*p, M * ld);
        auto slot = [&](Activations& x, int64_t columns) { take_activations(s.arena, x, M, columns, kernels); };
        for (Activations& x : s.mixes) slot(x, C);
        for (Activations& x : s.hidden) slot(x, rank);
        for (Activations& x : s.ffn_in) slot(x, C);
        slot(s.y, C), slot(s.ffn, F), slot(s.out, C);
        s.arena.take(s.active.offset, round_up(F, kGroup) / 2 + 1 + kActiveAhead);
        s.arena.take(s.active.group, round_up(F, kGroup) / kGroup + 1);
        s.arena.take(s.before, M);
        s.arena.take(s.wkv, M);
        s.arena.take(s.row_start, M + 1);
    }
    s.max_tokens = M, s.n_embd = C, s.n_ffn = F, s.max_rank = rank;
    return RWKV_OK;
}

int Pass::run(const int32_t* ids, const int32_t* n_logits, float* logits) {
    for (int b = 0; b < n_rows; b++)
        if (lengths[b] < 0 || n_logits[b] < 0 || n_logits[b] > lengths[b]) return RWKV_BAD_ARGUMENT;
    for (int m = 0; m < n_tokens; m++)
        if (ids[m] < 0 || ids[m] >= model.n_vocab) return RWKV_BAD_ARGUMENT;
    space.row_start[0] = 0;
    for (int b = 0; b < n_rows; b++) space.row_start[b + 1] = space.row_start[b] + lengths[b];
    embed(ids);
    for (int l = 0; l < model.n_layer; l++) {
        if (model.generation == 7) attention7(*this, model.layers[l], l);
        else if (model.generation == 4) attention4(*this, model.layers[l], l);
        else attention6(*this, model.layers[l], l);
        ffn(model.layers[l], l);
    }
    head(n_logits, logits);
    return RWKV_OK;
}

void Pass::embed(const int32_t* ids) const {
    const int C = model.n_embd;
    for (int m = 0; m < n_tokens; m++) {
        float* x = space.x + m * space.y.ld;
        const int64_t at = static_cast<int64_t>(ids[m]) * C;
        if (model.emb_format == RWKV_FP32) {
            memcpy(x, static_cast<const float*>(model.emb) + at, sizeof(float) * static_cast<size_t>(C));
        } else {
            const uint16_t* row = static_cast<const uint16_t*>(model.emb) + at;
            for (int j = 0; j < C; j++) {
                const uint32_t bits = static_cast<uint32_t>(row[j]) << 16;
                memcpy(x + j, &bits, 4);
            }
        }
        if (model.ln0_weight) kernels.norm(x, model.ln0_weight, model.ln0_bias, C, x);
    }
}

void Pass::make_ready(const Ready& ready) const {
    engine.pool.run(
        unit_count(kernels, ready.n_tokens),
        [](void* context, int unit, int) {
            const Ready& r = *static_cast<const Ready*>(context);
            for (int i = 0; i < r.n; i++)
                r.pass->kernels.arrange(*r.x[i], r.reader[i]->cols, r.n_tokens, unit, r.reader[i]->format);
        },
        const_cast<Ready*>(&ready));
}

void Pass::make_ready(const Activations& x, const rwkv_matrix& reader, int n_tokens) const {
    make_ready({this, {&x}, {&reader}, 1, n_tokens});
}

void Pass::mix(const MixJob& job, const float* shift, const rwkv_matrix* const* readers, int n_readers) {
    for (int b = 0; b < n_rows; b++) {
        for (int m = space.row_start[b]; m < space.row_start[b + 1]; m++) space.before[m] = nullptr;
        if (lengths[b]) space.before[space.row_start[b]] = shift + b * state.vector_row_stride;
    }
    run_mix(kernels.mix, job, readers, n_readers);
}

void Pass::choose(const MixJob& job, const rwkv_matrix* const* readers, int n_readers) {
    run_mix(kernels.choose, job, readers, n_readers);
}

void Pass::run_mix(Mix mix, const MixJob& job, const rwkv_matrix* const* readers, int n_readers) {
    struct Context {
        const Pass* pass;
        Mix mix;
        const MixJob* job;
        const rwkv_matrix* const* readers;
        int n_readers;
    } context = {this, mix, &job, readers, n_readers};
    engine.pool.run(
        unit_count(kernels, n_tokens),
        [](void* argument, int unit, int worker) {
            const Context& c = *static_cast<const Context*>(argument);
            const Pass& pass = *c.pass;
            const int step = pass.is_wide ? block_of(pass.kernels, pass.n_tokens) : 1;
            const int m0 = unit * step, m1 = m0 + step < pass.n_tokens ? m0 + step : pass.n_tokens;
            c.mix(*c.job, m0, m1, reinterpret_cast<float*>(pass.engine.scratch[worker]));
            for (int i = 0; i < c.n_readers; i++) {
                const Activations& x = c.job->out[i < c.job->n_mixes ? i : 2];
                pass.kernels.arrange(x, c.job->n_channels, pass.n_tokens, unit, c.readers[i]->format);
            }
        },
        &context);
}

void Pass::keep_shift(float* shift) const {
    for (int b = 0; b < n_rows; b++) {
        if (!lengths[b]) continue;
        memcpy(shift + b * state.vector_row_stride, space.h + (space.row_start[b + 1] - 1) * space.y.ld,
               sizeof(float) * static_cast<size_t>(model.n_embd));
    }
}

float* const* Pass::wkv_rows(int layer) const {
    for (int b = 0; b < n_rows; b++)
        space.wkv[b] = state.wkv + layer * state.wkv_layer_stride + b * state.wkv_row_stride;
    return space.wkv;
}

void Pass::each_head(const Products& second, const void* job, Heads run) const {
    const int N = model.head_size;
    int heads_per_block = 1;  // whole tiles: two heads of 8 rows, one of 64
    while (heads_per_block * N % kTileRows) heads_per_block++;
    struct Context {
        const Pass* pass;
        const Products* second;
        const void* job;
        Heads run;
        int heads_per_block;
    } context = {this, &second, job, run, heads_per_block};
    engine.pool.run(
        (model.n_head + heads_per_block - 1) / heads_per_block,
        [](void* argument, int block, int worker) {
            const Context& c = *static_cast<const Context*>(argument);
            const rwkv_model& m = c.pass->model;
            const int head0 = block * c.heads_per_block;
            const int head1 = head0 + c.heads_per_block < m.n_head ? head0 + c.heads_per_block : m.n_head;
            const int row0 = head0 * m.head_size, row1 = head1 * m.head_size;
            for (int i = 0; i < c.second->n_jobs; i++)
                c.second->run_tiles(i, row0 / kTileRows, (row1 + kTileRows - 1) / kTileRows, worker);
            c.run(c.pass->kernels, c.job, head0, head1);
        },
        &context);
}

void Pass::output(const rwkv_layer& w) const {
    make_ready(space.y, w.output, n_tokens);
    Products last(engine);
    last.add(w.output, space.y, n_tokens, space.x, space.y.ld, After::kAdd);
    last.run();
}

void Pass::ffn(const rwkv_layer& w, int layer) {
    Workspace& s = space;
    const bool has_gate = w.ffn_receptance.data;
    const rwkv_matrix* readers[] = {&w.ffn_key, &w.ffn_receptance};
    mix({s.x, s.h, s.y.ld, model.n_embd, has_gate ? 2 : 1, w.ln2_weight, w.ln2_bias, w.ffn_mixes, s.before, s.ffn_in,
         model.generation < 6},
        ffn_shift(layer), readers, has_gate ? 2 : 1);
    keep_shift(ffn_shift(layer));
    Products key(engine);
    key.add(w.ffn_key, s.ffn_in[0], n_tokens, s.ffn.f, s.ffn.ld, After::kRelu2);
    if (has_gate) key.add(w.ffn_receptance, s.ffn_in[1], n_tokens, s.r, s.y.ld, After::kSigmoid);
    key.run();
    make_ready(s.ffn, w.ffn_value, n_tokens);
    Skipping& skipping = engine.skipping;
    const double start = skipping.is_measuring ? thread_s() : 0.0;
    const bool skips = skipping.is_on && n_tokens == 1;
    if (skips) find_active(w.ffn_value);
    Products value(engine);
    Matmul& job = value.add(w.ffn_value, s.ffn, n_tokens, s.x, s.y.ld, has_gate ? After::kAddGated : After::kAdd);
    job.gate = s.r;
    job.active = skips ? &s.active : nullptr;
    value.run();
    if (skipping.is_measuring) skipping.add(thread_s() - start);
}

// Which lines of ffn.value meet something else than zeros.
void Pass::find_active(const rwkv_matrix& w) const {
    ActiveLines& active = space.active;
    const float* x = space.ffn.f;  // padding is zero
    const bool is_fp32 = w.format == RWKV_FP32;
    const int columns = is_fp32 ? 2 : line_columns(w.format), bytes = is_fp32 ? 2 * kLine : kLine;
    const int groups = static_cast<int>(round_up(w.cols, kGroup)) / kGroup;
    int n = 0;
    uint32_t offset = 0;
    for (int g = 0; g < groups; g++) {
        active.group[g] = n;
        for (int c = 0; c < kGroup; c += columns, x += columns, offset += static_cast<uint32_t>(bytes)) {
            active.offset[n] = offset;  // overwritten by the next one unless it counts
            bool counts = false;
            for (int i = 0; i < columns; i++) counts |= x[i] != 0.0f;  // NaN counts
            n += counts;
        }
    }
    active.group[groups] = active.n = n;
    const uint32_t next = static_cast<uint32_t>(tile_bytes(w.format, w.cols));
    for (int i = 0; i < kActiveAhead; i++) active.offset[n + i] = i < n ? next + active.offset[i] : next;
}

void Pass::head(const int32_t* n_logits, float* logits) const {
    Workspace& s = space;
    const int C = model.n_embd;
    int n_out = 0;
    for (int b = 0; b < n_rows; b++)
        for (int m = s.row_start[b + 1] - n_logits[b]; m < s.row_start[b + 1]; m++, n_out++)
            kernels.norm(s.x + m * s.y.ld, model.ln_out_weight, model.ln_out_bias, C, s.out.f + n_out * s.out.ld);
    if (!n_out) return;
    make_ready(s.out, model.head, n_out);
    Products product(engine);
    product.add(model.head, s.out, n_out, logits, model.n_vocab);
    product.run();
}

int forward(Engine& engine, const rwkv_model& model, const rwkv_state& state, int n_rows, const int32_t* lengths,
            const int32_t* ids, const int32_t* n_logits, float* logits) {
    Pass pass(engine, model, state, n_rows, lengths);
    if (const int error = pass.prepare()) return error;
    return pass.run(ids, n_logits, logits);
}
