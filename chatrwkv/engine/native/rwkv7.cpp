// One pass of RWKV-7 over M tokens of B rows: a step is M = B, a block of a prefill M = 256. The phases of a
// layer, each shared by all threads:
//
//   1  ln1, token shift, six mixes        a block = a token (or a block of tokens)
//   2  R K V and the first LoRA matrices  a block = tiles
//   3  the second LoRA matrices, gates, recurrence, group norm: a block = a head
//   4  output, added to x
//   5  ln2, token shift, mix
//   6  ffn.key, squared ReLU
//   7  ffn.value, added to x
#include <string.h>

#include "engine.h"

namespace {

constexpr int kMaxRank = 4096;

class Pass7 {
public:
    Pass7(Engine& e, const rwkv7_model& m, const rwkv7_state& s, int n_rows, const int32_t* lengths)
        : engine_(e), kernels_(e.kernels), model_(m), state_(s), space_(e.space), n_rows_(n_rows), lengths_(lengths) {
        n_tokens_ = 0;
        for (int b = 0; b < n_rows; b++) n_tokens_ += lengths[b];
        is_wide_ = n_tokens_ > kernels_.narrow_tokens;
    }

    int prepare();
    int run(const int32_t* ids, const int32_t* n_logits, float* logits);

private:
    struct Ready {  // activations that the next phase reads, and a matrix that reads each
        const Pass7* pass;
        const Activations* x[4];
        const rwkv_matrix* reader[4];
        int n, n_tokens;
    };

    void embed(const int32_t* ids);
    void attention(const rwkv7_layer& layer, int index);
    void ffn(const rwkv7_layer& layer, int index);
    void find_active(const rwkv_matrix& w) const;
    void head(const int32_t* n_logits, float* logits);

    void mix(const MixJob& job, float* shift, const rwkv_matrix* const* readers, int n_readers);
    void heads(const rwkv7_layer& layer, int index);
    void make_ready(const Activations& x, const rwkv_matrix& reader, int n_tokens) const;
    void make_ready(const Ready& ready) const;

    Engine& engine_;
    const Kernels& kernels_;
    const rwkv7_model& model_;
    const rwkv7_state& state_;
    Workspace& space_;
    int n_rows_, n_tokens_;
    const int32_t* lengths_;
    bool is_wide_;
};

int Pass7::prepare() {
    if (n_tokens_ < 1 || n_tokens_ > kMaxTokens) return RWKV_BAD_ARGUMENT;
    int64_t rank = 0;
    for (int l = 0; l < model_.n_layer; l++) {
        const rwkv7_layer& w = model_.layers[l];
        for (const rwkv_matrix* m : {&w.w1, &w.a1, &w.v1, &w.g1})
            if (m->rows > rank) rank = m->rows;
    }
    if (rank > kMaxRank) return RWKV_BAD_ARGUMENT;
    if (!engine_.ready()) return RWKV_NO_MEMORY;
    Workspace& s = space_;
    const int64_t M = is_wide_ ? kMaxTokens : kernels_.narrow_tokens, C = model_.n_embd, F = model_.n_ffn;
    if (s.max_tokens >= M && s.n_embd == C && s.n_ffn == F && s.max_rank >= rank) return RWKV_OK;
    s.max_tokens = 0;  // nothing usable until all of it is there
    const int64_t ld = round_up(C, kGroup);
    for (const bool is_counting : {true, false}) {
        if (!s.arena.reset(is_counting)) return RWKV_NO_MEMORY;
        for (float** p : {&s.x, &s.h, &s.r, &s.k, &s.v, &s.v_first, &s.w, &s.a, &s.v_mix, &s.g}) s.arena.take(*p, M * ld);
        auto slot = [&](Activations& x, int64_t columns) { take_activations(s.arena, x, M, columns, kernels_); };
        for (Activations& x : s.mixes) slot(x, C);
        for (Activations& x : s.hidden) slot(x, rank);
        slot(s.y, C), slot(s.ffn_in, C), slot(s.ffn, F), slot(s.out, C);
        s.arena.take(s.active.offset, round_up(F, kGroup) / 2 + 1 + kActiveAhead);
        s.arena.take(s.active.group, round_up(F, kGroup) / kGroup + 1);
        s.arena.take(s.before, M);
        s.arena.take(s.wkv, M);
        s.arena.take(s.row_start, M + 1);
    }
    s.max_tokens = M, s.n_embd = C, s.n_ffn = F, s.max_rank = rank;
    return RWKV_OK;
}

int Pass7::run(const int32_t* ids, const int32_t* n_logits, float* logits) {
    for (int b = 0; b < n_rows_; b++)
        if (lengths_[b] < 0 || n_logits[b] < 0 || n_logits[b] > lengths_[b]) return RWKV_BAD_ARGUMENT;
    for (int m = 0; m < n_tokens_; m++)
        if (ids[m] < 0 || ids[m] >= model_.n_vocab) return RWKV_BAD_ARGUMENT;
    space_.row_start[0] = 0;
    for (int b = 0; b < n_rows_; b++) space_.row_start[b + 1] = space_.row_start[b] + lengths_[b];
    embed(ids);
    for (int l = 0; l < model_.n_layer; l++) {
        attention(model_.layers[l], l);
        ffn(model_.layers[l], l);
    }
    head(n_logits, logits);
    return RWKV_OK;
}

void Pass7::embed(const int32_t* ids) {
    const int C = model_.n_embd;
    for (int m = 0; m < n_tokens_; m++) {
        float* x = space_.x + m * space_.y.ld;
        const int64_t at = static_cast<int64_t>(ids[m]) * C;
        if (model_.emb_format == RWKV_FP32) {
            memcpy(x, static_cast<const float*>(model_.emb) + at, sizeof(float) * static_cast<size_t>(C));
        } else {
            const uint16_t* row = static_cast<const uint16_t*>(model_.emb) + at;
            for (int j = 0; j < C; j++) {
                const uint32_t bits = static_cast<uint32_t>(row[j]) << 16;
                memcpy(x + j, &bits, 4);
            }
        }
        if (model_.ln0_weight) kernels_.norm(x, model_.ln0_weight, model_.ln0_bias, C, x);
    }
}

void Pass7::make_ready(const Ready& ready) const {
    engine_.pool.run(
        unit_count(kernels_, ready.n_tokens),
        [](void* context, int unit, int) {
            const Ready& r = *static_cast<const Ready*>(context);
            for (int i = 0; i < r.n; i++)
                r.pass->kernels_.arrange(*r.x[i], r.reader[i]->cols, r.n_tokens, unit, r.reader[i]->format);
        },
        const_cast<Ready*>(&ready));
}

void Pass7::make_ready(const Activations& x, const rwkv_matrix& reader, int n_tokens) const {
    make_ready({this, {&x}, {&reader}, 1, n_tokens});
}

// `readers` are matrices that read the mixes, in order; one behind the last mix reads the third (v1).
void Pass7::mix(const MixJob& job, float* shift, const rwkv_matrix* const* readers, int n_readers) {
    for (int b = 0; b < n_rows_; b++) {
        for (int m = space_.row_start[b]; m < space_.row_start[b + 1]; m++) space_.before[m] = nullptr;
        if (lengths_[b]) space_.before[space_.row_start[b]] = shift + b * state_.shift_row_stride;
    }
    struct Context {
        const Pass7* pass;
        const MixJob* job;
        const rwkv_matrix* const* readers;
        int n_readers;
    } context = {this, &job, readers, n_readers};
    engine_.pool.run(
        unit_count(kernels_, n_tokens_),
        [](void* argument, int unit, int worker) {
            const Context& c = *static_cast<const Context*>(argument);
            const Pass7& pass = *c.pass;
            const int step = pass.is_wide_ ? block_of(pass.kernels_, pass.n_tokens_) : 1;
            const int m0 = unit * step, m1 = m0 + step < pass.n_tokens_ ? m0 + step : pass.n_tokens_;
            pass.kernels_.mix(*c.job, m0, m1, reinterpret_cast<float*>(pass.engine_.scratch[worker]));
            for (int i = 0; i < c.n_readers; i++) {
                const Activations& x = c.job->out[i < c.job->n_mixes ? i : 2];
                pass.kernels_.arrange(x, c.job->n_channels, pass.n_tokens_, unit, c.readers[i]->format);
            }
        },
        &context);
    for (int b = 0; b < n_rows_; b++) {  // only now: the first token of a row has read the old one
        if (!lengths_[b]) continue;
        memcpy(shift + b * state_.shift_row_stride, job.h + (space_.row_start[b + 1] - 1) * job.ld,
               sizeof(float) * static_cast<size_t>(job.n_channels));
    }
}

void Pass7::attention(const rwkv7_layer& w, int index) {
    Workspace& s = space_;
    const int C = model_.n_embd;
    const int64_t ld = s.y.ld;
    const rwkv_matrix* readers[] = {&w.receptance, &w.key, &w.value, &w.w1, &w.a1, &w.g1, &w.v1};
    const bool has_other_reader = index && !is_wide_ && is_quantised(w.value.format);  // v1 is not quantised
    mix({s.x, s.h, ld, C, 6, w.ln1_weight, w.ln1_bias, w.mixes, s.before, s.mixes},
        state_.att_shift + index * state_.shift_layer_stride, readers, has_other_reader ? 7 : 6);

    Products first(engine_);
    first.add(w.receptance, s.mixes[0], n_tokens_, s.r, ld);
    first.add(w.key, s.mixes[1], n_tokens_, s.k, ld);
    first.add(w.value, s.mixes[2], n_tokens_, s.v, ld);
    first.add(w.w1, s.mixes[3], n_tokens_, s.hidden[0].f, s.hidden[0].ld, After::kTanh);
    first.add(w.a1, s.mixes[4], n_tokens_, s.hidden[1].f, s.hidden[1].ld);
    if (index) first.add(w.v1, s.mixes[2], n_tokens_, s.hidden[2].f, s.hidden[2].ld);
    first.add(w.g1, s.mixes[5], n_tokens_, s.hidden[3].f, s.hidden[3].ld, After::kSigmoid);
    first.run();

    make_ready({this,
                {&s.hidden[0], &s.hidden[1], &s.hidden[3], &s.hidden[2]},
                {&w.w2, &w.a2, &w.g2, &w.v2},
                index ? 4 : 3,
                n_tokens_});
    heads(w, index);

    make_ready(s.y, w.output, n_tokens_);
    Products last(engine_);
    last.add(w.output, s.y, n_tokens_, s.x, ld, After::kAdd);
    last.run();
}

void Pass7::heads(const rwkv7_layer& w, int index) {
    Workspace& s = space_;
    const int64_t ld = s.y.ld;
    const int N = model_.head_size, H = model_.n_head;
    Products second(engine_);  // not run as a whole: each head takes the tiles of its own rows
    second.add(w.w2, s.hidden[0], n_tokens_, s.w, ld);
    second.add(w.a2, s.hidden[1], n_tokens_, s.a, ld);
    second.add(w.g2, s.hidden[3], n_tokens_, s.g, ld);
    if (index) second.add(w.v2, s.hidden[2], n_tokens_, s.v_mix, ld);
    for (int b = 0; b < n_rows_; b++)
        s.wkv[b] = state_.wkv + index * state_.wkv_layer_stride + b * state_.wkv_row_stride;
    int heads_per_block = 1;  // whole tiles: two heads of 8 rows, one of 64
    while (heads_per_block * N % kTileRows) heads_per_block++;
    struct Context {
        const Products* second;
        Heads7 job;
        int n_head, heads_per_block;
    } context = {&second,
                 {&w, index == 0, model_.n_embd, N, n_rows_, s.row_start, ld, s.r, s.k, s.v, s.v_first, s.w, s.a,
                  s.v_mix, s.g, s.y.f, s.wkv},
                 H,
                 heads_per_block};
    engine_.pool.run(
        (H + heads_per_block - 1) / heads_per_block,
        [](void* argument, int block, int worker) {
            const Context& c = *static_cast<const Context*>(argument);
            const int head0 = block * c.heads_per_block;
            const int head1 = head0 + c.heads_per_block < c.n_head ? head0 + c.heads_per_block : c.n_head;
            const int row0 = head0 * c.job.head_size, row1 = head1 * c.job.head_size;
            for (int i = 0; i < c.second->n_jobs; i++)
                c.second->run_tiles(i, row0 / kTileRows, (row1 + kTileRows - 1) / kTileRows, worker);
            c.second->engine->kernels.heads7(c.job, head0, head1);
        },
        &context);
}

void Pass7::ffn(const rwkv7_layer& w, int index) {
    Workspace& s = space_;
    const rwkv_matrix* reader = &w.ffn_key;
    mix({s.x, s.h, s.y.ld, model_.n_embd, 1, w.ln2_weight, w.ln2_bias, w.ffn_x_k, s.before, &s.ffn_in},
        state_.ffn_shift + index * state_.shift_layer_stride, &reader, 1);
    Products key(engine_);
    key.add(w.ffn_key, s.ffn_in, n_tokens_, s.ffn.f, s.ffn.ld, After::kRelu2);
    key.run();
    make_ready(s.ffn, w.ffn_value, n_tokens_);
    Skipping& skipping = engine_.skipping;
    const double start = skipping.is_measuring ? thread_s() : 0.0;
    const bool skips = skipping.is_on && n_tokens_ == 1;
    if (skips) find_active(w.ffn_value);
    Products value(engine_);
    value.add(w.ffn_value, s.ffn, n_tokens_, s.x, s.y.ld, After::kAdd, skips ? &s.active : nullptr);
    value.run();
    if (skipping.is_measuring) skipping.add(thread_s() - start);
}

// Which lines of ffn.value meet something else than zeros.
void Pass7::find_active(const rwkv_matrix& w) const {
    ActiveLines& active = space_.active;
    const float* x = space_.ffn.f;  // padding is zero
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

void Pass7::head(const int32_t* n_logits, float* logits) {
    Workspace& s = space_;
    const int C = model_.n_embd;
    int n_out = 0;
    for (int b = 0; b < n_rows_; b++)
        for (int m = s.row_start[b + 1] - n_logits[b]; m < s.row_start[b + 1]; m++, n_out++)
            kernels_.norm(s.x + m * s.y.ld, model_.ln_out_weight, model_.ln_out_bias, C, s.out.f + n_out * s.out.ld);
    if (!n_out) return;
    make_ready(s.out, model_.head, n_out);
    Products product(engine_);
    product.add(model_.head, s.out, n_out, logits, model_.n_vocab);
    product.run();
}

}  // namespace

int forward7(Engine& engine, const rwkv7_model& model, const rwkv7_state& state, int n_rows, const int32_t* lengths,
             const int32_t* ids, const int32_t* n_logits, float* logits) {
    Pass7 pass(engine, model, state, n_rows, lengths);
    if (const int error = pass.prepare()) return error;
    return pass.run(ids, n_logits, logits);
}
