// The passes over all logits that the sampler needs. Included by kernels.inl.

// The largest of every `width` logits (a multiple of 16). NaN may or may not be seen here; exp_sum shows it.
void maxima(const float* x, int n_blocks, int width, float* out) {
    for (int block = 0; block < n_blocks; block++, x += width) {
        F top = f_load(x);
        for (int j = 16; j < width; j += 16) top = f_max(top, f_load(x + j));
        out[block] = f_top(top);
    }
}

// exp(x) for x <= 0, relative error 1e-7 (1 + |x|): enough for a sum, and two thirds of the time of f_exp. NaN
// stays NaN.
LANES_INLINE F f_exp_falling(F x) {
    const F t = f_max(f_set(-126.0f), f_mul(x, f_set(1.44269504f)));
    const I n = i_round(t);
    const F r = f_sub(t, f_from(n));
    F p = f_set(1.32765e-3f);  // minimax for 2^r on |r| <= 1/2
    p = f_fma(p, r, f_set(9.67554e-3f));
    p = f_fma(p, r, f_set(5.550713e-2f));
    p = f_fma(p, r, f_set(2.402212e-1f));
    p = f_fma(p, r, f_set(6.9314694e-1f));
    p = f_fma(p, r, f_set(1.0000001f));
    return f_bits(i_add(i_bits(p), i_sll<23>(n)));  // p is 0.7 to 1.4, so the exponent stays in its range
}

// The sum of exp(x - best) over n logits, a multiple of 16. A lane adds up 32 numbers in float32, the rest is
// float64: the error is below 5e-6 of the sum. NaN where a logit or `best` is none or both are infinite.
double exp_sum(const float* x, int n, float best) {
    double sum = 0.0;
    for (int j = 0; j < n;) {
        F lanes = f_zero();
        for (const int end = smaller(n, j + 512); j < end; j += 16)
            lanes = f_add(lanes, f_exp_falling(f_sub(f_load(x + j), f_set(best))));
        sum += (double)f_sum(lanes);
    }
    return sum;
}
