// The time mixer of RWKV-7. The phases of a layer, each shared by all threads:
//
//   1  ln1, token shift, six mixes        a block = a token (or a block of tokens)
//   2  R K V and the first LoRA matrices  a block = tiles
//   3  the second LoRA matrices, gates, recurrence, group norm: a block = a head
//   4  output, added to x
//   5  ln2, token shift, mix
//   6  ffn.key, squared ReLU
//   7  ffn.value, added to x
#include "pass.h"

namespace {

void heads(const Pass& pass, const rwkv_layer& w, int layer) {
    const Workspace& s = pass.space;
    const int64_t ld = s.y.ld;
    Products second(pass.engine);  // not run as a whole: each head takes the tiles of its own rows
    second.add(w.w2, s.hidden[0], pass.n_tokens, s.w, ld);
    second.add(w.a2, s.hidden[1], pass.n_tokens, s.a, ld);
    second.add(w.g2, s.hidden[3], pass.n_tokens, s.g, ld);
    if (layer) second.add(w.v2, s.hidden[2], pass.n_tokens, s.v_mix, ld);
    const Heads7 job = {&w,  layer == 0, pass.model.n_embd, pass.model.head_size, pass.n_rows, s.row_start, ld, s.r, s.k,
                        s.v, s.v_first,  s.w,               s.a,                  s.v_mix,     s.g,         s.y.f,
                        pass.wkv_rows(layer)};
    pass.each_head(second, &job, [](const Kernels& kernels, const void* heads, int head0, int head1) {
        kernels.heads7(*static_cast<const Heads7*>(heads), head0, head1);
    });
}

}  // namespace

void attention7(Pass& pass, const rwkv_layer& w, int layer) {
    Workspace& s = pass.space;
    const int n_tokens = pass.n_tokens;
    const int64_t ld = s.y.ld;
    const rwkv_matrix* readers[] = {&w.receptance, &w.key, &w.value, &w.w1, &w.a1, &w.g1, &w.v1};
    const bool has_other_reader = layer && !pass.is_wide && is_quantised(w.value.format);  // v1 is not quantised
    pass.mix({s.x, s.h, ld, pass.model.n_embd, 6, w.ln1_weight, w.ln1_bias, w.mixes, s.before, s.mixes, false},
             pass.att_shift(layer), readers, has_other_reader ? 7 : 6);
    pass.keep_shift(pass.att_shift(layer));

    Products first(pass.engine);
    first.add(w.receptance, s.mixes[0], n_tokens, s.r, ld);
    first.add(w.key, s.mixes[1], n_tokens, s.k, ld);
    first.add(w.value, s.mixes[2], n_tokens, s.v, ld);
    first.add(w.w1, s.mixes[3], n_tokens, s.hidden[0].f, s.hidden[0].ld, After::kTanh);
    first.add(w.a1, s.mixes[4], n_tokens, s.hidden[1].f, s.hidden[1].ld);
    if (layer) first.add(w.v1, s.mixes[2], n_tokens, s.hidden[2].f, s.hidden[2].ld);
    first.add(w.g1, s.mixes[5], n_tokens, s.hidden[3].f, s.hidden[3].ld, After::kSigmoid);
    first.run();

    pass.make_ready({&pass,
                     {&s.hidden[0], &s.hidden[1], &s.hidden[3], &s.hidden[2]},
                     {&w.w2, &w.a2, &w.g2, &w.v2},
                     layer ? 4 : 3,
                     n_tokens});
    heads(pass, w, layer);
    pass.output(w);
}
