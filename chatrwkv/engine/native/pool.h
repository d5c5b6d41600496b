// Threads that share one phase of work at a time. No barrier waits for a thread: blocks are claimed one by
// one, so a thread that the system has put aside holds up one small block at most, and a thread that sleeps
// none. The caller works too.
//
// An idle thread spins for microseconds (the next phase of a token comes at once), yields for a fraction of a
// millisecond (sampling between tokens), then sleeps.
//
// When tokens take three times their best, somebody else wants our cores: the pool falls to the caller alone
// for a while, then tries all threads again, ever more rarely while it fails.
#pragma once
#include <pthread.h>
#include <stdint.h>

#include <atomic>

double now_s();  // of a clock that never goes back

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

    // Around a token, to notice neighbours. `kind` tells apart what takes different times (rows, tokens).
    void token_begins();
    void token_ends(int64_t kind);

    static constexpr int max_workers = 64;

    int64_t tokens = 0, blocks = 0, slow_tokens = 0, one_thread_tokens = 0;
    double best_token_s = 0.0;

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

    // the watch over neighbours
    double began_s_ = 0.0, retry_at_s_ = 0.0, pause_s_ = 0.0;
    int64_t kind_ = -1;
    int n_slow_ = 0;
};
