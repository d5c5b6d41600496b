// The time mixer of RWKV-4: no heads, so a block of its third phase is 64 channels.
#include "pass.h"

namespace {

constexpr int kBlockChannels = 64;

}  // namespace

void attention4(Pass& pass, const rwkv_layer& w, int layer) {
    Workspace& s = pass.space;
    const int n_tokens = pass.n_tokens, C = pass.model.n_embd;
    const int64_t ld = s.y.ld;
    const rwkv_matrix* readers[] = {&w.receptance, &w.key, &w.value};
    pass.mix({s.x, s.h, ld, C, 3, w.ln1_weight, w.ln1_bias, w.mixes, s.before, s.mixes, true}, pass.att_shift(layer),
             readers, 3);
    pass.keep_shift(pass.att_shift(layer));

    Products first(pass.engine);
    first.add(w.receptance, s.mixes[0], n_tokens, s.r, ld, After::kSigmoid);
    first.add(w.key, s.mixes[1], n_tokens, s.k, ld);
    first.add(w.value, s.mixes[2], n_tokens, s.v, ld);
    first.run();

    const rwkv_state& state = pass.state;
    const int64_t at = layer * state.vector_layer_stride;
    struct Context {
        Channels4 job;
        const Kernels* kernels;
        int n_channels;
    } context = {{&w, pass.n_rows, s.row_start, ld, s.r, s.k, s.v, s.y.f, state.aa + at, state.bb + at, state.pp + at,
                  state.vector_row_stride},
                 &pass.kernels,
                 C};
    pass.engine.pool.run(
        (C + kBlockChannels - 1) / kBlockChannels,
        [](void* argument, int block, int) {
            const Context& c = *static_cast<const Context*>(argument);
            const int channel0 = block * kBlockChannels, channel1 = channel0 + kBlockChannels;
            c.kernels->channels4(c.job, channel0, channel1 < c.n_channels ? channel1 : c.n_channels);
        },
        &context);
    pass.output(w);
}
