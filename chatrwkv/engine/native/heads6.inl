// RWKV-5 and 6 between the projections and the output matrix, one head at a time: decay, the recurrence, group
// norm, gate. The state of a head (N 64: 16 KiB) stays in L1 for all tokens of a row.
//
//   y = S r + (r . bonus k) v ;  S = S diag(decay) + v k^T        S rows values, columns keys

struct Head6 {
    float r[kMaxHead], decay[kMaxHead], k[kMaxHead], v[kMaxHead], y[kMaxHead];
};

// J registers cover a row of S, as in heads7.inl
template <int J> LANES_INLINE void recurrence6(float* S, Head6& in, float bonus, int n) {
    F r[J], decay[J], k[J];
    for (int j = 0; j < J; j++)
        r[j] = f_load(in.r + 16 * j), decay[j] = f_load(in.decay + 16 * j), k[j] = f_load(in.k + 16 * j);
    for (int i0 = 0; i0 < n; i0 += 16, S += 16 * n) {
        const int n_rows = smaller(16, n - i0);
        F part[16];
        for (int i = 0; i < n_rows; i++) {
            const F vi = f_set(in.v[i0 + i]);
            F sum = f_zero();
            for (int j = 0; j < J; j++) {
                float* at = S + i * n + 16 * j;
                const F s = f_load_n(at, n - 16 * j);
                sum = f_fma(s, r[j], sum);
                f_store_n(at, f_fma(vi, k[j], f_mul(s, decay[j])), n - 16 * j);
            }
            part[i] = sum;
        }
        for (int i = n_rows; i < 16; i++) part[i] = f_zero();
        f_store(in.y + i0, f_fma(f_set(bonus), f_load(in.v + i0), f_sums(part)));
    }
}

void step_state6(float* S, Head6& in, float bonus, int n) {
    if (n == 64) return recurrence6<4>(S, in, bonus, 64);  // the size of every published model
    switch ((n + 15) / 16) {
        case 1: return recurrence6<1>(S, in, bonus, n);
        case 2: return recurrence6<2>(S, in, bonus, n);
        case 3: return recurrence6<3>(S, in, bonus, n);
        case 4: return recurrence6<4>(S, in, bonus, n);
        case 5: return recurrence6<5>(S, in, bonus, n);
        case 6: return recurrence6<6>(S, in, bonus, n);
        case 7: return recurrence6<7>(S, in, bonus, n);
        default: return recurrence6<8>(S, in, bonus, n);
    }
}

// One token of one head: from the outputs of the products to `in`; returns the weight of the token's own v.
LANES_INLINE float prepare_head6(const Heads6& job, int64_t at, int c, Head6& in) {
    const rwkv_layer& w = *job.layer;
    F bonus = f_zero();
    for (int j = 0; j < job.head_size; j += 16) {
        const int n = job.head_size - j;
        F raw = f_load_n(w.decay + c + j, n);
        if (job.w) raw = f_add(raw, f_load_n(job.w + at + j, n));
        const F r = f_load_n(job.r + at + j, n);
        F k = f_load_n(job.k + at + j, n);
        if (w.k_clamp) k = f_mul(k, f_exp(f_min(f_zero(), raw)));
        bonus = f_fma(f_mul(r, k), f_load_n(w.bonus + c + j, n), bonus);
        f_store(in.r + j, r);
        f_store(in.k + j, k);
        f_store(in.v + j, f_load_n(job.v + at + j, n));
        f_store(in.decay + j, f_exp(f_sub(f_zero(), f_exp(raw))));
    }
    return f_sum(bonus);
}

LANES_INLINE void finish_head6(const Heads6& job, int64_t at, int c, const Head6& in) {
    const Moments of = group_moments(in.y, job.head_size);
    for (int j = 0; j < job.head_size; j += 16) {
        const int n = job.head_size - j;
        F y = f_mul(f_sub(f_load(in.y + j), f_set(of.mean)), f_set(of.scale));
        y = f_fma(y, f_load_n(job.layer->ln_x_weight + c + j, n), f_load_n(job.layer->ln_x_bias + c + j, n));
        if (job.g) y = f_mul(y, f_load_n(job.g + at + j, n));
        f_store_n(job.y + at + j, y, n);
    }
}

void heads6(const Heads6& job, int head0, int head1) {
    const int N = job.head_size;
    Head6 in;
    for (int row = 0; row < job.n_rows; row++) {
        for (int head = head0; head < head1; head++) {
            float* S = job.wkv[row] + (int64_t)head * N * N;
            for (int m = job.row_start[row]; m < job.row_start[row + 1]; m++) {
                const int64_t at = m * job.ld + head * N;
                const float bonus = prepare_head6(job, at, head * N, in);
                step_state6(S, in, bonus, N);
                finish_head6(job, at, head * N, in);
            }
        }
    }
}
