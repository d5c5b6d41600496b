// One token times a matrix of which only some columns count: behind a squared ReLU most activations are zero,
// and lines that meet nothing else are not read. Sums are those of the dense product, in the same order.

LANES_INLINE F sparse_floats(const uint8_t* lines, const ActiveLines& active, const float* x, bool is_fp32) {
    const I high = i_set((int32_t)0xffff0000u);
    F even = f_zero(), odd = f_zero();
    for (int i = 0; i < active.n; i++) {
        const uint8_t* line = lines + active.offset[i];
        prefetch(lines + active.offset[i + kActiveAhead]);
        const float* at = x + active.offset[i] / (is_fp32 ? 64 : 32);  // bytes of a column
        const I w = i_load(line);
        const F w0 = is_fp32 ? f_bits(w) : f_bits(i_sll<16>(w));
        const F w1 = is_fp32 ? f_load((const float*)(line + kLine)) : f_bits(i_and(w, high));
        even = f_fma(w0, f_set(at[0]), even);
        odd = f_fma(w1, f_set(at[1]), odd);
    }
    return f_add(even, odd);
}

template <bool is_int4>
LANES_INLINE F sparse_quantised(const uint8_t* tile, int columns, const ActiveLines& active, const Activations& x) {
    constexpr int kFormat = is_int4 ? RWKV_INT4 : RWKV_INT8, kPairs = is_int4 ? 4 : 2;
    const uint8_t* lines = tile + tile_scale_bytes(kFormat, columns);
    const Table values = table(kInt4Table);
    F y = f_zero();
    for (int g = 0; g * kGroup < columns; g++) {
        if (active.group[g] == active.group[g + 1]) continue;
        I one = i_set(0), other = i_set(x.zero[g]);
        for (int i = active.group[g]; i < active.group[g + 1]; i++) {
            prefetch(lines + active.offset[i + kActiveAhead]);
            const uint32_t at = active.offset[i];
            quantised_line<1, 1, is_int4>(lines + at, values, x.pairs + at / kLine * kPairs, &one, &other);
        }
        const F scale = f_mul(f_load_bf16((const uint16_t*)tile + g * kTileRows), f_set(x.scale[g]));
        y = f_fma(f_from(total(one, other)), scale, y);
    }
    return y;
}

void sparse_tiles(const Matmul& job, int tile0, int tile1) {
    const rwkv_matrix& w = *job.w;
    for (int tile = tile0; tile < tile1; tile++) {
        const uint8_t* data = w.data + tile * tile_bytes(w.format, w.cols);
        F y;
        switch (w.format) {
            case RWKV_INT8: y = sparse_quantised<false>(data, w.cols, *job.active, *job.x); break;
            case RWKV_INT4: y = sparse_quantised<true>(data, w.cols, *job.active, *job.x); break;
            default: y = sparse_floats(data, *job.active, job.x->f, w.format == RWKV_FP32);
        }
        store_after(job, tile * kTileRows, y, smaller(kTileRows, w.rows - tile * kTileRows));
    }
}
