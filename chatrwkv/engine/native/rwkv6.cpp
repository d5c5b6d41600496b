// The time mixer of RWKV-5 (5.0, 5.1, 5.2) and RWKV-6. Beside those of RWKV-7 the phases of 6 are:
//
//   1  ln1, token shift, the mix x; then the two LoRA matrices of each of the five mixes, and those mixes
//   2  R K V G and the first LoRA matrix of the decay
//   3  its second one, decay, recurrence, group norm: a block = a head
//   6  ffn.receptance beside ffn.key; 7 adds ffn.value times its sigmoid
//
// 5 has neither a choice of the mixes nor one of the decay.
#include "pass.h"

namespace {

constexpr int kMixes = 5;  // r k v g w, and x behind them

void mixes5(Pass& pass, const rwkv_layer& w, int layer, const rwkv_matrix* const* readers) {
    const Workspace& s = pass.space;
    const int n_mixes = w.gate.data ? 4 : 3;
    pass.mix({s.x, s.h, s.y.ld, pass.model.n_embd, n_mixes, w.ln1_weight, w.ln1_bias, w.mixes, s.before, s.mixes, true},
             pass.att_shift(layer), readers, n_mixes);
}

void mixes6(Pass& pass, const rwkv_layer& w, int layer, const rwkv_matrix* const* readers) {
    Workspace& s = pass.space;
    const int n_tokens = pass.n_tokens, C = pass.model.n_embd;
    const rwkv_matrix* down[] = {&w.xr1, &w.xk1, &w.xv1, &w.xg1, &w.xw1};
    const rwkv_matrix* up[] = {&w.xr2, &w.xk2, &w.xv2, &w.xg2, &w.xw2};
    pass.mix({s.x, s.h, s.y.ld, C, 1, w.ln1_weight, w.ln1_bias, w.mixes + kMixes * C, s.before, s.mixes + kMixes, false},
             pass.att_shift(layer), down, 1);
    Products first(pass.engine), second(pass.engine);
    for (int i = 0; i < kMixes; i++) {
        first.add(*down[i], s.mixes[kMixes], n_tokens, s.hidden[i].f, s.hidden[i].ld, After::kTanh);
        second.add(*up[i], s.hidden[i], n_tokens, s.mixes[i].f, s.mixes[i].ld);
    }
    first.run();
    pass.make_ready({&pass,
                     {&s.hidden[0], &s.hidden[1], &s.hidden[2], &s.hidden[3], &s.hidden[4]},
                     {up[0], up[1], up[2], up[3], up[4]},
                     kMixes,
                     n_tokens});
    second.run();
    pass.choose({s.x, s.h, s.y.ld, C, kMixes, w.ln1_weight, w.ln1_bias, w.mixes, s.before, s.mixes, false}, readers,
                kMixes);
}

}  // namespace

void attention6(Pass& pass, const rwkv_layer& w, int layer) {
    Workspace& s = pass.space;
    const int n_tokens = pass.n_tokens;
    const int64_t ld = s.y.ld;
    const bool is_6 = pass.model.generation == 6;
    const rwkv_matrix* readers[kMixes] = {&w.receptance, &w.key, &w.value, &w.gate, &w.w1};
    if (is_6) mixes6(pass, w, layer, readers);
    else mixes5(pass, w, layer, readers);
    pass.keep_shift(pass.att_shift(layer));

    Activations& hidden = s.hidden[kMixes];
    Products first(pass.engine), second(pass.engine);  // the second not as a whole: each head takes its own rows
    first.add(w.receptance, s.mixes[0], n_tokens, s.r, ld);
    first.add(w.key, s.mixes[1], n_tokens, s.k, ld);
    first.add(w.value, s.mixes[2], n_tokens, s.v, ld);
    if (w.gate.data) first.add(w.gate, s.mixes[3], n_tokens, s.g, ld, After::kSilu);
    if (is_6) first.add(w.w1, s.mixes[4], n_tokens, hidden.f, hidden.ld, After::kTanh);
    first.run();

    if (is_6) {
        pass.make_ready(hidden, w.w2, n_tokens);
        second.add(w.w2, hidden, n_tokens, s.w, ld);
    }
    const Heads6 job = {&w,  pass.model.head_size,     pass.n_rows,                    s.row_start, ld,
                        s.r, s.k,                      s.v,                            is_6 ? s.w : nullptr,
                        w.gate.data ? s.g : nullptr, s.y.f, pass.wkv_rows(layer)};
    pass.each_head(second, &job, [](const Kernels& kernels, const void* heads, int head0, int head1) {
        kernels.heads6(*static_cast<const Heads6*>(heads), head0, head1);
    });
    pass.output(w);
}
