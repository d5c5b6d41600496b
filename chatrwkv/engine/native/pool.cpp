#include "pool.h"

#include <sched.h>
#include <time.h>

namespace {

constexpr int kSpins = 2000;             // about 20 microseconds of pauses
constexpr double kYieldS = 0.0005;       // then yields, for as long as a sampler takes
constexpr uint64_t kMask20 = (1u << 20) - 1;

inline void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double now_s() { return seconds_of(CLOCK_MONOTONIC); }
double thread_s() { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }

Pool::Pool(int n_threads) { set_threads(n_threads); }

Pool::~Pool() {
    is_closing_.store(true);
    wake();
    for (int i = 1; i < n_started_; i++) pthread_join(workers_[i].thread, nullptr);
}

void Pool::set_threads(int n) {
    n = n < 1 ? 1 : n > max_workers ? max_workers : n;
    while (n_started_ < n) {
        Worker& worker = workers_[n_started_];
        worker.pool = this;
        worker.index = n_started_;
        if (pthread_create(&worker.thread, nullptr, enter, &worker) != 0) break;  // fewer threads work too
        n_started_++;
    }
    n_threads_ = n < n_started_ ? n : n_started_;
    n_active_.store(n_threads_);
    for (Watch& watch : watches_) watch = Watch();
}

void* Pool::enter(void* argument) {
    const Worker* worker = static_cast<const Worker*>(argument);
    worker->pool->live(worker->index);
    return nullptr;
}

void Pool::take_blocks(int worker) {
    for (;;) {
        const uint64_t seen = ticket_.load(std::memory_order_acquire);
        if ((seen & kMask20) >= (seen >> 20 & kMask20)) return;
        const uint64_t mine = ticket_.fetch_add(1, std::memory_order_acq_rel);
        const uint64_t block = mine & kMask20;
        if (block >= (mine >> 20 & kMask20)) return;
        work_(context_, static_cast<int>(block), worker);  // stays as it is until this block is done
        n_done_.fetch_add(1, std::memory_order_release);
    }
}

void Pool::run(int n_blocks, Work work, void* context) {
    if (n_blocks <= 0) return;
    if (n_blocks == 1 || n_active_.load(std::memory_order_relaxed) == 1) {
        for (int i = 0; i < n_blocks; i++) work(context, i, 0);
        return;
    }
    work_ = work;
    context_ = context;
    n_done_.store(0, std::memory_order_relaxed);
    epoch_ = (epoch_ + 1) & 0xffffff;
    ticket_.store(epoch_ << 40 | static_cast<uint64_t>(n_blocks) << 20, std::memory_order_seq_cst);
    if (n_sleeping_.load(std::memory_order_seq_cst)) wake();
    take_blocks(0);
    for (int spins = 0; n_done_.load(std::memory_order_acquire) != n_blocks; spins++) {
        if (spins < kSpins) pause();
        else sched_yield();  // whoever holds the last block may need this very core
    }
}

void Pool::wake() {
    pthread_mutex_lock(&mutex_);
    pthread_cond_broadcast(&wake_up_);
    pthread_mutex_unlock(&mutex_);
}

void Pool::live(int index) {
    int spins = 0;
    double idle_since = 0.0;
    while (!is_closing_.load(std::memory_order_relaxed)) {
        const uint64_t seen = ticket_.load(std::memory_order_acquire);
        const bool may = index < n_active_.load(std::memory_order_relaxed);
        if (may && (seen & kMask20) < (seen >> 20 & kMask20)) {
            take_blocks(index);
            spins = 0;
            continue;
        }
        if (may && spins < kSpins) {
            if (spins++ == 0) idle_since = now_s();
            pause();
            continue;
        }
        if (may && now_s() - idle_since < kYieldS) {
            sched_yield();
            continue;
        }
        pthread_mutex_lock(&mutex_);
        n_sleeping_.fetch_add(1, std::memory_order_seq_cst);
        const uint64_t again = ticket_.load(std::memory_order_seq_cst);
        // a phase posted since `seen` was not announced to us
        const bool has_work = index < n_active_.load() && (again & kMask20) < (again >> 20 & kMask20);
        if (!has_work && !is_closing_.load()) pthread_cond_wait(&wake_up_, &mutex_);
        n_sleeping_.fetch_sub(1, std::memory_order_seq_cst);
        pthread_mutex_unlock(&mutex_);
        spins = 0;
    }
}

void Pool::pass_begins(int kind) {
    const bool is_alone = watches_[kind].way() == Watch::kAlone;
    n_active_.store(is_alone ? 1 : n_threads_);
    passes++;
    alone += is_alone;
    began_s_ = now_s();
}

void Pool::pass_ends(int kind, double size) {
    if (n_threads_ == 1) return;
    Watch& watch = watches_[kind];
    const bool was_probing = watch.is_probing();
    watch.add(now_s() - began_s_, size);
    probes += watch.is_probing() && !was_probing;
}
