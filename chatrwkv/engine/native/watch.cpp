#include "watch.h"

void Watch::add(double seconds, double size) {
    if (n_++ > 0) sum_s_ += seconds / size;
    const int counted = n_ - 1;
    if (counted < 1) return;
    const double mean = sum_s_ / counted;
    const double too_slow = is_probing_ ? kLosing * mean_s_ : kFar * best_s_;
    const bool is_sure = counted >= kLeast || (is_probing_ && mean > kFar * mean_s_);
    const bool is_clear = is_sure && too_slow > 0.0 && mean > too_slow;
    if (counted < kWindow && sum_s_ * size < kWindowS && !is_clear) return;
    n_ = 0;
    sum_s_ = 0.0;
    if (is_probing_) judge_probe(mean);
    else judge_window(mean);
}

void Watch::judge_probe(double mean) {
    is_probing_ = false;
    const bool is_better = mean < kBetter * mean_s_;
    if (is_better) {
        way_ = other();
        mean_s_ = mean;
    }
    best_s_ = mean_s_;
    wait_ = is_better || wait_ == 0 ? kFirstWait : wait_ * 2 < kLongestWait ? wait_ * 2 : kLongestWait;
    until_probe_ = wait_;
}

void Watch::judge_window(double mean) {
    const bool is_worse = best_s_ > 0.0 && mean > kLosing * best_s_ && until_probe_ < wait_;
    mean_s_ = mean;
    if (best_s_ == 0.0 || mean < best_s_) best_s_ = mean;
    if (--until_probe_ <= 0 || is_worse) is_probing_ = true;
}
