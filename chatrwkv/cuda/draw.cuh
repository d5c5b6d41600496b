// Draws a token from each row of logits, as engine/sampling.py does, so that 65,536 numbers need not leave the
// GPU for each token: a block a row, in three passes over it, which is then in the cache of the GPU.
//
//     1  logits, guidance, newline rule, penalties, bans -> scratch
//     2  the likeliest of each of 256 columns; the 200th of them is a limit that 200 tokens reach at least,
//        and of 65,536 about 400 do: a complete beginning of the order, found without sorting
//     3  the sum of the softmax; what reaches the limit is put into shared memory
//
// The beginning is ordered by counting, and the filters, which all keep a beginning of the order, and the draw
// happen there. What they cannot tell from it is left to the CPU: `is_drawn` is 0. A sort of all
// 65,536 would take longer than all of this.
#pragma once

#include "calls.h"
#include "portable.cuh"

namespace rwkv {

constexpr int DRAW_THREADS = 1024;
constexpr int DRAW_COLUMNS = 256, DRAW_RANK = 200;
constexpr int DRAW_ROOM = DRAW_THREADS;  // tokens that are ordered: one a thread
constexpr int DRAW_WARP = 32;

// The beginning of the order, and what is known of the whole row.
struct DrawDesk {
  float *chance, *sorted;  // of the tokens found, relative to the likeliest; ordered, as probabilities
  int *id, *sorted_id;
  double *mass, *weight;   // cumulated over the ordered ones: probabilities, and what the draw goes by
  float* threads;          // a number a thread
  double* warps;           // a number a warp of those
  float *best, *limit;     // one each
  int *n_found, *n_bad;
};

// The sum over all threads' numbers, in the same order every time; in every thread.
RWKV_DEVICE double draw_total(const DrawDesk& desk, float mine) {
  const int me = thread_index();
  sync_block();
  desk.threads[me] = mine;
  sync_block();
  if (me < DRAW_WARP) {
    double sum = 0.0;
    for (int i = me; i < DRAW_THREADS; i += DRAW_WARP) sum += desk.threads[i];
    desk.warps[me] = sum;
  }
  sync_block();
  double total = 0.0;
  for (int i = 0; i < DRAW_WARP; ++i) total += desk.warps[i];
  return total;
}

RWKV_DEVICE bool draw_is_cut(const rwkv_draw_row& row) {
  return row.top_k || row.top_p < 1.0 || row.top_a > 0.0 || row.min_p > 0.0 || row.floor > 0.0;
}

// Pass 1.
RWKV_DEVICE void draw_mix(const rwkv_draw_call& call, const rwkv_draw_row& row, float* x, const DrawDesk& desk) {
  const int me = thread_index();
  RWKV_UNROLL_8
  for (int i = me; i < call.n_vocab; i += DRAW_THREADS) {
    float mixed = row.logits[i];
    if (row.beside) mixed = row.cfg * mixed + row.beside_cfg * row.beside[i];
    if (!(mixed < infinity())) *desk.n_bad = 1;  // NaN too; whoever writes, it is the same
    x[i] = mixed;
  }
  sync_block();
  if (me == 0 && row.newline >= 0) x[row.newline] += row.newline_bias;
  sync_block();
  for (int i = me; i < row.n_penalties; i += DRAW_THREADS)
    x[call.ids[row.first_penalty + i]] -= call.penalties[row.first_penalty + i];
  sync_block();
  for (int i = me; i < row.n_bans; i += DRAW_THREADS) x[call.ids[row.first_ban + i]] = -infinity();
  sync_block();
}

// Pass 2.
RWKV_DEVICE void draw_find_limit(const rwkv_draw_call& call, const float* x, const DrawDesk& desk) {
  const int me = thread_index();
  float mine = -infinity();
  RWKV_UNROLL_8
  for (int i = me; i < call.n_vocab; i += DRAW_THREADS) mine = larger(mine, x[i]);
  desk.threads[me] = mine;
  sync_block();
  if (me < DRAW_COLUMNS) {
    for (int i = me; i < DRAW_THREADS; i += DRAW_COLUMNS) mine = larger(mine, desk.threads[i]);
    desk.sorted[me] = mine;
  }
  sync_block();
  if (me < DRAW_COLUMNS) {
    int n_before = 0;
    for (int i = 0; i < DRAW_COLUMNS; ++i) {
      const float other = desk.sorted[i];
      n_before += other > mine || (other == mine && i < me);
    }
    if (n_before == 0) *desk.best = mine;
    if (n_before == DRAW_RANK - 1) *desk.limit = call.n_vocab > DRAW_ROOM ? mine : -infinity();
  }
  sync_block();
}

// Orders what was found by chance, then by id; each thread has one.
RWKV_DEVICE void draw_order(const DrawDesk& desk, int n, float sum) {
  const int me = thread_index();
  if (me < n) {
    const float mine = desk.chance[me];
    const int id = desk.id[me];
    int n_before = 0;
    RWKV_UNROLL_8
    for (int i = 0; i < n; ++i) n_before += desk.chance[i] > mine || (desk.chance[i] == mine && desk.id[i] < id);
    desk.sorted[n_before] = mine / sum;
    desk.sorted_id[n_before] = id;
  }
  sync_block();
}

// Cumulates, for the first warp: a lane has an odd number of neighbours, so that no two lanes meet in a bank.
RWKV_DEVICE void draw_cumulate(const DrawDesk& desk, int n, float power) {
  const int lane = thread_index(), each = (n + DRAW_WARP - 1) / DRAW_WARP | 1;
  const int first = lane * each < n ? lane * each : n, end = first + each < n ? first + each : n;
  const float best = desk.sorted[0];
  double mass = 0.0, weight = 0.0;
  for (int i = first; i < end; ++i) {
    const float p = desk.sorted[i];
    desk.mass[i] = mass += p;
    desk.weight[i] = weight += power == 1.0f ? p : raised(p / best, power);
  }
  sync_warp();
  double mass_before = 0.0, weight_before = 0.0;
  for (int i = each - 1; i < first; i += each) mass_before += desk.mass[i], weight_before += desk.weight[i];
  sync_warp();
  for (int i = first; i < end; ++i) desk.mass[i] += mass_before, desk.weight[i] += weight_before;
  sync_warp();
}

// How many of n ordered probabilities are at least `least`.
RWKV_DEVICE int draw_count(const float* p, int n, double least) {
  int low = 0;
  for (int high = n; low < high;) {
    const int middle = (low + high) / 2;
    if (p[middle] >= least)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The first of n rising sums that reaches `goal`, or, if it is not enough to reach it, passes it; n if none does.
RWKV_DEVICE int draw_first(const double* sums, int n, double goal, bool must_pass) {
  int low = 0;
  for (int high = n; low < high;) {
    const int middle = (low + high) / 2;
    if (sums[middle] > goal || (!must_pass && sums[middle] == goal))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// The beginning of the order as the filters see it.
struct DrawOrder {
  const float* p;
  const double* mass;
  int n;
  bool is_complete;  // nothing behind has any probability

  // Lowers `kept` to the number of tokens of at least this probability, if that is known.
  RWKV_DEVICE void keep(int& kept, double least) const {
    const int found = draw_count(p, n, least);
    if ((found < n || is_complete) && found < kept) kept = found;
  }

  // How many tokens survive; more than n: more than there are here. As `filters.surviving` and `unsurprising`.
  RWKV_DEVICE int kept(const rwkv_draw_row& row) const {
    const int beyond = n + 1;
    int kept = beyond;
    if (row.floor > 0.0) {  // mirostat, in place of all filters
      const int found = draw_count(p, n, row.floor);
      if (is_complete) return found < n ? found + 1 : n;
      return found < n ? found + 1 : beyond;
    }
    if (row.top_k && (row.top_k <= n || is_complete)) kept = row.top_k < n ? row.top_k : n;
    if (row.top_p < 1.0) {
      const int last = draw_first(mass, n, row.top_p, false);
      if (last < n) keep(kept, p[last] < row.top_p_x ? p[last] : row.top_p_x);
    }
    if (row.top_a > 0.0) keep(kept, row.top_a * raised(static_cast<double>(p[0]), row.top_a_power));
    if (row.min_p > 0.0) keep(kept, row.min_p * p[0]);
    if (kept == beyond && is_complete) return n;
    return kept < 1 ? 1 : kept;
  }
};

// The softmax of a row.
struct DrawSoftmax {
  const float* x;
  float best, divisor, sum;

  RWKV_DEVICE float below(int id) const { return (x[id] - best) / divisor; }
  RWKV_DEVICE float logprob(int id) const { return below(id) - logarithm(sum); }
};

// For one thread: the filters, the draw and the report. `total`: of all weights, where nothing is cut.
RWKV_DEVICE void draw_report(const rwkv_draw_row& row, const DrawDesk& desk, DrawOrder order, double total,
                             const DrawSoftmax& softmax, rwkv_drawn& drawn) {
  const int with_chance = draw_count(order.p, order.n, 1e-300);
  order.is_complete = order.is_complete || with_chance < order.n;
  order.n = with_chance;
  const bool is_cut = draw_is_cut(row);
  const int kept = order.kept(row);
  bool is_drawn = kept <= order.n || !is_cut;
  int at = 0;
  if (row.is_greedy || row.forced >= 0) {
    is_drawn = is_drawn || row.floor <= 0.0;  // only mirostat asks what was kept
  } else if (is_drawn) {
    const bool is_whole = kept > order.n;
    const int n = is_whole ? order.n : kept;
    at = draw_first(desk.weight, n, row.chance * (is_whole ? total : desk.weight[n - 1]), true);
    if (at == n) {
      is_drawn = !is_whole;
      at = n - 1;
    }
  }
  drawn.is_drawn = is_drawn;
  drawn.id = row.forced >= 0 ? row.forced : desk.sorted_id[at];
  drawn.logprob = softmax.logprob(drawn.id);
  drawn.kept = static_cast<float>(desk.mass[(kept < order.n ? kept : order.n) - 1]);
  drawn.n_top = order.n < RWKV_DRAW_TOP ? order.n : RWKV_DRAW_TOP;
  for (int i = 0; i < drawn.n_top; ++i) {
    drawn.top_ids[i] = desk.sorted_id[i];
    drawn.top_logprobs[i] = softmax.logprob(desk.sorted_id[i]);
  }
}

RWKV_DEVICE void draw_row(const rwkv_draw_call& call, const DrawDesk& desk) {
  const int me = thread_index();
  const rwkv_draw_row row = call.rows[block_index()];
  rwkv_drawn& drawn = call.drawn[block_index()];
  float* const x = call.scratch + static_cast<long long>(block_index()) * call.n_vocab;
  if (me == 0) *desk.n_found = *desk.n_bad = drawn.is_drawn = 0;
  sync_block();
  draw_mix(call, row, x, desk);
  draw_find_limit(call, x, desk);
  const float best = *desk.best, limit = *desk.limit;
  if (*desk.n_bad || best == -infinity()) return;  // the CPU says what is wrong
  const bool is_cut = draw_is_cut(row);
  DrawSoftmax softmax{x, best, row.divisor, 0.0f};
  float sum = 0.0f, weights = 0.0f;
  RWKV_UNROLL_8
  for (int i = me; i < call.n_vocab; i += DRAW_THREADS) {
    const float below = softmax.below(i), chance = exponential(below);
    sum += chance;
    if (!is_cut) weights += exponential(below * row.power);
    if (x[i] >= limit && chance > 0.0f) {
      const int place = next_place(desk.n_found);
      if (place < DRAW_ROOM) {
        desk.chance[place] = chance;
        desk.id[place] = i;
      }
    }
  }
  softmax.sum = static_cast<float>(draw_total(desk, sum));
  const double all_weights = is_cut ? 0.0 : draw_total(desk, weights);
  const int n = *desk.n_found;
  if (n > DRAW_ROOM) return;  // many equal ones
  draw_order(desk, n, softmax.sum);
  if (me >= DRAW_WARP) return;
  draw_cumulate(desk, n, row.power);
  if (me != 0) return;
  const DrawOrder order{desk.sorted, desk.mass, n, exponential((limit - best) / row.divisor) == 0.0f};
  draw_report(row, desk, order, row.power == 1.0f ? 1.0 : all_weights, softmax, drawn);
}

}  // namespace rwkv

RWKV_KERNEL(rwkv_draw, rwkv::DRAW_THREADS)(const rwkv_draw_call call) {
  RWKV_SHARED_OF(float, chance, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(float, sorted, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(int, id, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(int, sorted_id, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(double, mass, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(double, weight, rwkv::DRAW_ROOM);
  RWKV_SHARED_OF(float, threads, rwkv::DRAW_THREADS);
  RWKV_SHARED_OF(double, warps, rwkv::DRAW_WARP);
  RWKV_SHARED_OF(float, borders, 2);
  RWKV_SHARED_OF(int, counts, 2);
  rwkv::draw_row(call, {chance, sorted, id, sorted_id, mass, weight, threads, warps, borders, borders + 1, counts,
                        counts + 1});
}
