#include "engine.h"

#include <string.h>

namespace {

// Blocks of weights that one claim covers: small enough that the last ones end together, large enough that
// the claims (0.1 microseconds each, between cores) stay below 2 %.
constexpr int64_t kBlockBytes = 48 << 10;
constexpr int kBlocksPerThread = 8;

}  // namespace

bool Arena::reset(bool is_counting) {
    if (!is_counting) {
        free(base_);
        base_ = static_cast<uint8_t*>(aligned_alloc(64, static_cast<size_t>(round_up(used_ + 64, 64))));
        if (!base_) return false;
        memset(base_, 0, static_cast<size_t>(used_));
    }
    is_counting_ = is_counting;
    used_ = 0;
    return true;
}

Engine::Engine(const Kernels& level, int n_threads) : kernels(level), pool(n_threads) {
    for (uint8_t*& room : scratch) room = nullptr;
}

Engine::~Engine() {
    for (uint8_t* room : scratch) free(room);
}

bool Engine::ready() {
    for (int i = 0; i < pool.threads(); i++) {
        if (!scratch[i]) scratch[i] = static_cast<uint8_t*>(aligned_alloc(64, round_up(kWideScratchBytes, 64)));
        if (!scratch[i]) return false;
    }
    return true;
}

void Products::add(const rwkv_matrix& w, const Activations& x, int n_tokens, float* out, int64_t ld_out, After after) {
    jobs[n_jobs++] = {&w, &x, n_tokens, out, ld_out, after};
}

void Products::run_tiles(int job, int tile0, int tile1, int worker) const {
    const Matmul& product = jobs[job];
    if (product.n_tokens > engine->kernels.narrow_tokens)
        engine->kernels.wide(product, tile0, tile1, engine->scratch[worker]);
    else
        engine->kernels.narrow(product, tile0, tile1);
}

void Products::run() {
    int64_t total = 0;
    for (int i = 0; i < n_jobs; i++) total += tile_count(*jobs[i].w) * tile_bytes(jobs[i].w->format, jobs[i].w->cols);
    int64_t target = total / (engine->pool.threads() * kBlocksPerThread);
    if (target > kBlockBytes) target = kBlockBytes;
    for (int i = 0; i < n_jobs; i++) {
        const int count = tile_count(*jobs[i].w);
        tiles[i] = static_cast<int>(target / tile_bytes(jobs[i].w->format, jobs[i].w->cols));
        if (tiles[i] < 1) tiles[i] = 1;
        if (jobs[i].n_tokens > engine->kernels.narrow_tokens) tiles[i] = 2;
        while ((count + tiles[i] - 1) / tiles[i] > 100000) tiles[i] *= 2;  // of the 20 bits that count blocks
        first_block[i + 1] = first_block[i] + (count + tiles[i] - 1) / tiles[i];
    }
    engine->pool.run(
        first_block[n_jobs],
        [](void* context, int block, int worker) {
            const Products& self = *static_cast<const Products*>(context);
            int i = 0;
            while (block >= self.first_block[i + 1]) i++;
            const int tile0 = (block - self.first_block[i]) * self.tiles[i], count = tile_count(*self.jobs[i].w);
            self.run_tiles(i, tile0, tile0 + self.tiles[i] < count ? tile0 + self.tiles[i] : count, worker);
        },
        this);
}

int matmul_once(Engine& engine, const rwkv_matrix& w, const float* x, int n, float* y) {
    if (n < 1 || n > kMaxTokens) return RWKV_BAD_ARGUMENT;
    const int64_t ld = round_up(w.cols, kGroup);
    Arena arena;
    Activations in = {};
    in.ld = ld;
    for (const bool is_counting : {true, false}) {
        if (!arena.reset(is_counting)) return RWKV_NO_MEMORY;
        arena.take(in.f, n * ld);
        arena.take(in.q, n * ld);
        arena.take(in.scale, n * ld / kGroup);
        arena.take(in.zero, n * ld / kGroup);
        arena.take(in.wide, (n + 32) * ld);
    }
    for (int i = 0; i < n; i++) memcpy(in.f + i * ld, x + static_cast<int64_t>(i) * w.cols, sizeof(float) * static_cast<size_t>(w.cols));
    const Kernels& k = engine.kernels;
    if (n > k.narrow_tokens)
        k.widen(in, w.cols, n, 0, (n + k.wide_tokens - 1) / k.wide_tokens, !k.has_bf16 || w.format == RWKV_FP32);
    else if (is_quantised(w.format))
        k.quantise(in, w.cols, 0, n);
    Products product(engine);
    product.add(w, in, n, y, w.rows);
    product.run();
    return RWKV_OK;
}
