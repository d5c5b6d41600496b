// RWKV-7 between the projections and the output matrix, one head at a time: gates, key norm, the recurrence,
// group norm, bonus. The state of a head (N 64: 16 KiB) stays in L1 for all tokens of a row.
//
//   S = S diag(decay) + (S a) b^T + v k^T ;  y = S r        a = -kk, b = kk * gate; S rows value, columns key

struct Head {
    float r[kMaxHead], decay[kMaxHead], k[kMaxHead], v[kMaxHead], a[kMaxHead], b[kMaxHead], y[kMaxHead];
};

// J registers cover a row of S; n columns, of which the last register may hold fewer than 16
template <int J> LANES_INLINE void recurrence(float* S, const Head& in, float* out, int n) {
    F r[J], decay[J], k[J], a[J], b[J];
    for (int j = 0; j < J; j++) {
        r[j] = f_load(in.r + 16 * j), decay[j] = f_load(in.decay + 16 * j), k[j] = f_load(in.k + 16 * j);
        a[j] = f_load(in.a + 16 * j), b[j] = f_load(in.b + 16 * j);
    }
    for (int i0 = 0; i0 < n; i0 += 16, S += 16 * n) {
        const int n_rows = smaller(16, n - i0);
        F part[16];
        for (int i = 0; i < n_rows; i++) {
            F sum = f_zero();
            for (int j = 0; j < J; j++) sum = f_fma(f_load_n(S + i * n + 16 * j, n - 16 * j), a[j], sum);
            part[i] = sum;
        }
        for (int i = n_rows; i < 16; i++) part[i] = f_zero();
        float sa[16];
        f_store(sa, f_sums(part));
        for (int i = 0; i < n_rows; i++) {
            const F sai = f_set(sa[i]), vi = f_set(in.v[i0 + i]);
            F sum = f_zero();
            for (int j = 0; j < J; j++) {
                float* at = S + i * n + 16 * j;
                F s = f_mul(f_load_n(at, n - 16 * j), decay[j]);
                s = f_fma(sai, b[j], s);
                s = f_fma(vi, k[j], s);
                f_store_n(at, s, n - 16 * j);
                sum = f_fma(s, r[j], sum);
            }
            part[i] = sum;
        }
        f_store(out + i0, f_sums(part));
    }
}

void step_state(float* S, const Head& in, float* out, int n) {
    if (n == 64) return recurrence<4>(S, in, out, 64);  // the size of every published model
    switch ((n + 15) / 16) {
        case 1: return recurrence<1>(S, in, out, n);
        case 2: return recurrence<2>(S, in, out, n);
        case 3: return recurrence<3>(S, in, out, n);
        case 4: return recurrence<4>(S, in, out, n);
        case 5: return recurrence<5>(S, in, out, n);
        case 6: return recurrence<6>(S, in, out, n);
        case 7: return recurrence<7>(S, in, out, n);
        default: return recurrence<8>(S, in, out, n);
    }
}

// One token of one head: from the outputs of the first products to `in`; returns the weight of the bonus.
LANES_INLINE float prepare_head(const Heads7& job, int64_t at, int c, Head& in) {
    const rwkv_layer& w = *job.layer;
    const int N = job.head_size;
    F squares = f_zero(), bonus = f_zero();
    for (int j = 0; j < N; j += 16) {
        const int n = N - j;
        const F k = f_load_n(job.k + at + j, n);
        const F raw = f_mul(k, f_load_n(w.k_k + c + j, n));  // the key norm uses k before k_a changes it
        squares = f_fma(raw, raw, squares);
        const F gate = f_sigmoid(f_add(f_load_n(w.a0 + c + j, n), f_load_n(job.a + at + j, n)));
        const F one = f_set(1.0f);
        const F k_new = f_mul(k, f_fma(f_sub(gate, one), f_load_n(w.k_a + c + j, n), one));
        const F speed = f_sigmoid(f_add(f_load_n(w.w0 + c + j, n), f_load_n(job.w + at + j, n)));
        F v = f_load_n(job.v + at + j, n);
        if (job.is_first_layer) {
            f_store_n(job.v_first + at + j, v, n);
        } else {
            const F to_first = f_sigmoid(f_add(f_load_n(w.v0 + c + j, n), f_load_n(job.v_mix + at + j, n)));
            v = f_fma(f_sub(f_load_n(job.v_first + at + j, n), v), to_first, v);
        }
        const F r = f_load_n(job.r + at + j, n);
        bonus = f_fma(f_mul(r, k_new), f_load_n(w.r_k + c + j, n), bonus);
        f_store(in.r + j, r);
        f_store(in.k + j, k_new);
        f_store(in.v + j, v);
        f_store(in.decay + j, f_exp(f_mul(f_set(-kMaxLogDecay), speed)));
        f_store(in.a + j, raw);
        f_store(in.b + j, gate);
    }
    const float length = __builtin_sqrtf(f_sum(squares));
    const F inverse = f_set(1.0f / (length < kMinKeyNorm ? kMinKeyNorm : length));
    for (int j = 0; j < N; j += 16) {
        const F kk = f_mul(f_load(in.a + j), inverse);
        f_store(in.a + j, f_sub(f_zero(), kk));
        f_store(in.b + j, f_mul(kk, f_load(in.b + j)));
    }
    return f_sum(bonus);
}

LANES_INLINE void finish_head(const Heads7& job, int64_t at, int c, const Head& in, float bonus) {
    const int N = job.head_size;
    const Moments of = group_moments(in.y, N);
    for (int j = 0; j < N; j += 16) {
        const int n = N - j;
        F y = f_mul(f_sub(f_load(in.y + j), f_set(of.mean)), f_set(of.scale));
        y = f_fma(y, f_load_n(job.layer->ln_x_weight + c + j, n), f_load_n(job.layer->ln_x_bias + c + j, n));
        y = f_fma(f_set(bonus), f_load(in.v + j), y);
        f_store_n(job.y + at + j, f_mul(y, f_load_n(job.g + at + j, n)), n);
    }
}

void heads7(const Heads7& job, int head0, int head1) {
    const int N = job.head_size;
    Head in;
    for (int row = 0; row < job.n_rows; row++) {
        for (int head = head0; head < head1; head++) {
            float* S = job.wkv[row] + (int64_t)head * N * N;
            for (int m = job.row_start[row]; m < job.row_start[row + 1]; m++) {
                const int64_t at = m * job.ld + head * N;
                const float bonus = prepare_head(job, at, head * N, in);
                step_state(S, in, in.y, N);
                finish_head(job, at, head * N, in, bonus);
            }
        }
    }
}
