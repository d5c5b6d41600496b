// Whether passes shall use all threads or the caller alone. Knows no clock: it is told how long passes took.
//
// Beside a busy neighbour two threads can be slower than one: whoever is put aside in the middle of a block
// holds up the other for a slice of the scheduler. So now and then some passes go the other way, at once when
// they have become slower than they were, ever more rarely while nothing changes; the faster way is kept.
#pragma once

class Watch {
public:
    enum Way { kAll, kAlone };

    Way way() const { return is_probing_ ? other() : way_; }  // of the next pass
    bool is_probing() const { return is_probing_; }
    // A pass that went `way()` took so long; passes are compared by their time for each unit of `size`.
    void add(double seconds, double size);

private:
    static constexpr int kWindow = 8;  // passes that are judged together, after one that wakes threads
    static constexpr double kWindowS = 0.05;  // or that long, for large models
    static constexpr int kLeast = 2;          // passes before a window ends early, but for a probe that is far off
    static constexpr int kFirstWait = 4, kLongestWait = 128;  // windows between two probes; at 128 they cost 0.4 %
    static constexpr double kBetter = 0.95;  // of the time: the other way must win clearly
    static constexpr double kLosing = 1.5;   // times as long: a probe ends at once, a slower window starts one
    static constexpr double kFar = 3.0;      // times the best: starts one before the window is full

    Way other() const { return way_ == kAll ? kAlone : kAll; }
    void judge_probe(double mean);
    void judge_window(double mean);

    Way way_ = kAll;
    bool is_probing_ = false;
    int n_ = 0, wait_ = 0, until_probe_ = 0;
    double sum_s_ = 0.0;   // of the passes of this window but the first
    double mean_s_ = 0.0;  // of the last whole window that went `way_`; 0 before the first
    double best_s_ = 0.0;  // the least of them since the last probe
};
