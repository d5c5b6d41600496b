// Least-error scales for 16 rows at a time, a row in each lane. Included by kernels.inl.
//
// For each group of 64 weights of a row the scale is searched, not taken from the largest value: a few starts,
// each refined by the scale that fits its own integers best.

// The least byte that is nearest to each entry of the INT4 table. One in the middle between two entries goes to
// the one nearer to zero: of the weights that were rounded to it most lie on that side.
struct Int4Borders {
    uint8_t first[16] = {0};
    constexpr Int4Borders() {
        for (int i = 1; i < 16; i++) {
            const int sum = kInt4Table[i - 1] + kInt4Table[i];
            first[i] = (uint8_t)(sum < 256 ? (sum + 1) / 2 : sum / 2 + 1);
        }
    }
};
constexpr Int4Borders kInt4Borders;

// float32 rounded to bfloat16, as float32
LANES_INLINE F f_rounded_to_bf16(F x) {
    const I bits = i_bits(x);
    const I half = i_add(i_and(i_srl<16>(bits), i_set(1)), i_set(0x7fff));
    return f_bits(i_and(i_add(bits, half), i_set((int32_t)0xffff0000)));
}

// Four columns as stored bytes, true + 128, before the INT4 table: bytes of a lane are columns 0 2 1 3.
LANES_INLINE I four_bytes(const float* x, F inverse) {
    I bytes[4];
    for (int j = 0; j < 4; j++) {
        const F y = f_mul(f_load(x + j * kTileRows), inverse);  // NaN becomes -127: 0 times an infinite inverse
        bytes[j] = i_add(i_round(f_min(f_max(y, f_set(-127.0f)), f_set(127.0f))), i_set(128));
    }
    return i_or(i_or(bytes[0], i_sll<8>(bytes[2])), i_or(i_sll<16>(bytes[1]), i_sll<24>(bytes[3])));
}

LANES_INLINE I nearest_int4(I bytes, Table borders) {
    I index = i_set(0);
    for (int step = 8; step; step /= 2) {
        const I steps = i_set(step * 0x01010101), higher = i_or(index, steps);
        index = i_or(index, i_and(b_reaches(bytes, look_up(borders, higher)), steps));
    }
    return index;
}

// How well the integers of one scale fit n columns: the error less the sum of squares, and the best scale for them.
struct Fit {
    F error, better_scale;
};

template <bool is_int4> LANES_INLINE Fit fit_of(const float* x, int n, F scale, Table borders, Table values) {
    const F inverse = f_div(f_set(1.0f), scale);
    F xv = f_zero(), vv = f_zero();
    for (int c = 0; c < n; c += 4, x += 4 * kTileRows) {
        I bytes = four_bytes(x, inverse);
        if (is_int4) bytes = look_up(values, nearest_int4(bytes, borders));
        const I of_column[4] = {i_and(bytes, i_set(255)), i_and(i_srl<16>(bytes), i_set(255)),
                                i_and(i_srl<8>(bytes), i_set(255)), i_srl<24>(bytes)};
        for (int j = 0; j < 4 && c + j < n; j++) {
            const F v = f_sub(f_from(of_column[j]), f_set(128.0f));
            xv = f_fma(f_load(x + j * kTileRows), v, xv);
            vv = f_fma(v, v, vv);
        }
    }
    const F twice = f_add(xv, xv);
    return {f_mul(scale, f_sub(f_mul(scale, vv), twice)), f_div(xv, f_max(vv, f_set(1e-30f)))};
}

template <bool is_int4> void pack_group_as(const float* x, int n, uint16_t* scales, uint8_t* lines) {
    // The INT4 table is not symmetric, so negative scales are tried too.
    constexpr int n_starts = is_int4 ? 8 : 2, n_rounds = is_int4 ? 3 : 2;
    constexpr float starts4[] = {1 / 122.0f, -1 / 122.0f, 1 / 105.0f, -1 / 105.0f,
                                 1 / 140.0f, -1 / 140.0f, 1 / 113.0f, -1 / 113.0f};
    constexpr float starts8[] = {1 / 127.0f, 1 / 131.0f};
    const Table borders = table(kInt4Borders.first), values = table(kInt4Table);
    F top = f_zero(), least = f_set(3e38f), best = f_zero();
    for (int c = 0; c < n; c++) top = f_max(top, f_abs(f_load(x + c * kTileRows)));
    for (int s = 0; s < n_starts; s++) {
        F scale = f_mul(top, f_set(is_int4 ? starts4[s] : starts8[s % 2]));
        for (int round = 0; round < n_rounds; round++) {
            scale = f_rounded_to_bf16(scale);
            const Fit fit = fit_of<is_int4>(x, n, scale, borders, values);
            best = f_where_less(fit.error, least, scale, best);
            least = f_where_less(fit.error, least, fit.error, least);
            scale = fit.better_scale;
        }
    }
    w_store((int16_t*)scales, i_srl<16>(i_bits(best)));
    const F inverse = f_div(f_set(1.0f), best);
    for (int c = 0; c < n; c += is_int4 ? 8 : 4, lines += kLine) {
        I bytes = four_bytes(x + c * kTileRows, inverse);
        if (is_int4) {
            const I behind = four_bytes(x + (c + 4) * kTileRows, inverse);
            bytes = i_or(nearest_int4(bytes, borders), i_sll<4>(nearest_int4(behind, borders)));
        }
        i_store(lines, bytes);
    }
}

void pack_group(int format, const float* x, int n, uint16_t* scales, uint8_t* lines) {
    if (format == RWKV_INT4) pack_group_as<true>(x, n, scales, lines);
    else pack_group_as<false>(x, n, scales, lines);
}
