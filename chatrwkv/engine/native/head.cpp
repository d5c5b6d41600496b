// The likeliest logits, found in two passes: the maxima of at most 1,024 blocks, of which the `wanted` largest
// give a logit that at least `wanted` tokens reach; only the blocks that hold them are looked at again.
#include "head.h"

#include <math.h>
#include <string.h>

namespace {

constexpr int kMostBlocks = 1024;

// The k-th largest (k from 1) of n numbers, which are put into another order.
float kth_largest(float* x, int n, int k) {
    for (int low = 0, high = n - 1;;) {
        const float pivot = x[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            const float swapped = x[i];
            x[i++] = x[j];
            x[j--] = swapped;
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else return x[k - 1];
    }
}

}  // namespace

int head(const Kernels& kernels, const float* x, int n, int wanted, int room, int32_t* ids, rwkv_head_sums& sums) {
    const int width = static_cast<int>(round_up(n, 16 * kMostBlocks) / kMostBlocks);
    const int n_blocks = n / width, n_whole = n_blocks * width;
    float maxima[kMostBlocks], sorted[kMostBlocks];
    kernels.maxima(x, n_blocks, width, maxima);
    float top = -INFINITY;
    for (int i = 0; i < n_blocks; i++) top = maxima[i] > top ? maxima[i] : top;
    for (int i = n_whole; i < n; i++) top = x[i] > top ? x[i] : top;
    float rest[16];
    double sum = 0.0;
    for (int i = n_whole; i < n; i += 16) {
        const int count = n - i < 16 ? n - i : 16;
        for (int j = 0; j < 16; j++) rest[j] = j < count ? x[i + j] : -INFINITY;
        sum += kernels.exp_sum(rest, 16, top);
    }
    sums = {static_cast<double>(top), sum + kernels.exp_sum(x, n_whole, top)};
    if (!(sums.total > 0.0 && sums.total < INFINITY) || n_blocks < wanted) return -1;  // NaN fails every comparison

    memcpy(sorted, maxima, sizeof(float) * static_cast<size_t>(n_blocks));
    const float least = kth_largest(sorted, n_blocks, wanted);
    int found = 0;
    for (int block = 0; block <= n_blocks; block++) {
        if (block < n_blocks && maxima[block] < least) continue;
        const int end = block < n_blocks ? (block + 1) * width : n;
        for (int i = block * width; i < end; i++) {
            if (x[i] < least) continue;
            if (found == room) return -1;
            ids[found++] = i;
        }
    }
    return found;
}
