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

constexpr int Tuner::kBytes[];

int Tuner::pass_begins() {
    is_measuring_ = n_measured_ < kChoices * kRounds;
    if (is_measuring_) bytes_ = kBytes[n_measured_ % kChoices], began_s_ = thread_s();
    return bytes_;
}

void Tuner::pass_ends() {
    if (!is_measuring_) return;
    double& best = best_s_[n_measured_ % kChoices];
    const double took = thread_s() - began_s_;
    if (took < best) best = took;
    if (++n_measured_ < kChoices * kRounds) return;
    int choice = 0;  // the first, unless another is clearly better: a neighbour's load may favour any of them
    for (int i = 1; i < kChoices; i++)
        if (best_s_[i] < kClearly * best_s_[0] && best_s_[i] < best_s_[choice]) choice = i;
    bytes_ = kBytes[choice];
}

void Skipping::pass_begins(bool may_measure) {
    is_measuring = may_measure && mode == kMeasured && n_measured_ < 2 * kPairs;
    is_on = mode == kAlways || (mode == kMeasured && (is_measuring ? n_measured_ % 2 == 1 : is_better_));
    sum_s_ = 0.0;
}

void Skipping::pass_ends() {
    if (!is_measuring) return;
    if (!is_on) dense_s_ = sum_s_;
    else if (sum_s_ < kClearly * dense_s_) n_won_++;
    if (++n_measured_ == 2 * kPairs) is_better_ = n_won_ >= kEnough;
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

Matmul& Products::add(const rwkv_matrix& w, const Activations& x, int n_tokens, float* out, int64_t ld_out, After after) {
    return jobs[n_jobs++] = {&w, &x, n_tokens, out, ld_out, after, engine->prefetch, nullptr, nullptr};
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
    Arena arena;
    Activations in = {};
    for (const bool is_counting : {true, false}) {
        if (!arena.reset(is_counting)) return RWKV_NO_MEMORY;
        take_activations(arena, in, n, w.cols, engine.kernels);
    }
    for (int i = 0; i < n; i++)
        memcpy(in.f + i * in.ld, x + static_cast<int64_t>(i) * w.cols, sizeof(float) * static_cast<size_t>(w.cols));
    const int n_units = unit_count(engine.kernels, n);
    for (int unit = 0; unit < n_units; unit++) engine.kernels.arrange(in, w.cols, n, unit, w.format);
    Products product(engine);
    product.add(w, in, n, y, w.rows);
    product.run();
    return RWKV_OK;
}

void take_activations(Arena& arena, Activations& x, int64_t max_tokens, int64_t columns, const Kernels& kernels) {
    x.ld = round_up(columns, kGroup);
    arena.take(x.f, max_tokens * x.ld);
    const bool has_many = max_tokens > kernels.narrow_tokens;
    arena.take(x.lanes, (has_many ? max_tokens + kernels.wide_tokens : 8) * x.ld);
    arena.take(x.pairs, 8 * x.ld / 2);
    arena.take(x.scale, 8 * x.ld / kGroup);
    arena.take(x.zero, 8 * x.ld / kGroup);
}
