// RWKV-4 between the projections and the output matrix: every channel for itself, one lane each.
//
//   y = (sum of decayed exp(k) v + exp(bonus + k) v now) / (the same without v);  sums are kept times exp(-pp)

void channels4(const Channels4& job, int channel0, int channel1) {
    for (int row = 0; row < job.n_rows; row++) {
        for (int c = channel0; c < channel1; c += 16) {
            const int n = channel1 - c;
            const F decay = f_sub(f_zero(), f_exp(f_load_n(job.layer->decay + c, n)));
            const F bonus = f_load_n(job.layer->bonus + c, n);
            const int64_t at = row * job.row_stride + c;
            F aa = f_load_n(job.aa + at, n), bb = f_load_n(job.bb + at, n), pp = f_load_n(job.pp + at, n);
            for (int m = job.row_start[row]; m < job.row_start[row + 1]; m++) {
                const int64_t x = m * job.ld + c;
                const F k = f_load_n(job.k + x, n), v = f_load_n(job.v + x, n), now = f_add(bonus, k);
                F top = f_max(pp, now);
                F old = f_exp(f_sub(pp, top)), own = f_exp(f_sub(now, top));
                const F wkv = f_div(f_fma(old, aa, f_mul(own, v)), f_fma(old, bb, own));
                f_store_n(job.y + x, f_mul(f_load_n(job.r + x, n), wkv), n);
                const F later = f_add(pp, decay);
                top = f_max(later, k);
                old = f_exp(f_sub(later, top)), own = f_exp(f_sub(k, top));
                aa = f_fma(old, aa, f_mul(own, v)), bb = f_fma(old, bb, own), pp = top;
            }
            f_store_n(job.aa + at, aa, n), f_store_n(job.bb + at, bb, n), f_store_n(job.pp + at, pp, n);
        }
    }
}
