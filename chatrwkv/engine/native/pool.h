// Threads that share one phase of work at a time. No barrier waits for a thread: blocks are claimed one by
// one, so a thread that the system has put aside holds up one small block at most, and a thread that sleeps
// none. The caller works too.
//
// An idle thread spins for microseconds (the next phase of a token comes at once), yields for a fraction of a
// millisecond (sampling between tokens), then sleeps.
#pragma once
#include <pthread.h>
#include <stdint.h>

#include <atomic>

#include "watch.h"

double now_s();     // of a clock that never goes back
double thread_s();  // of this thread's time on a processor

class Pool {
public:
    typedef void (*Work)(void* context, int block, int worker);

    explicit Pool(int n_threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    // All blocks, each once, in any order; returns when they are done. `worker` is below max_workers.
    void run(int n_blocks, Work work, void* context);

    void set_threads(int n);   // from the thread that calls run
    int threads() const { return n_threads_; }

    // Around a pass. `kind` (below n_kinds) tells apart what takes different times: how many rows. Passes of
    // one kind are compared by their time for each unit of `size`.
    void pass_begins(int kind);
    void pass_ends(int kind, double size);

    static constexpr int max_workers = 64, n_kinds = 16;

    int64_t passes = 0, alone = 0, probes = 0;  // alone: by the caller only, though there are more threads

private:
    struct Worker {
        Pool* pool;
        int index;
        pthread_t thread;
    };

    void live(int index);
    void take_blocks(int worker);
    void wake();
    static void* enter(void* worker);

    // epoch (24 bits) | number of blocks (20) | next block (20): one atomic, so that a claim made with an old
    // phase in mind either fails or is a valid claim in the new one
    alignas(64) std::atomic<uint64_t> ticket_{0};
    alignas(64) std::atomic<int> n_done_{0};
    alignas(64) std::atomic<int> n_sleeping_{0};
    std::atomic<int> n_active_{1};  // workers with a higher index keep out
    std::atomic<bool> is_closing_{false};
    Work work_ = nullptr;
    void* context_ = nullptr;
    uint64_t epoch_ = 0;

    Worker workers_[max_workers];
    int n_threads_ = 1, n_started_ = 1;  // worker 0 is the caller
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t wake_up_ = PTHREAD_COND_INITIALIZER;

    Watch watches_[n_kinds];
    double began_s_ = 0.0;
};
