// Products for many tokens: a pair of tiles stays in L1, one block of columns at a time, while all tokens
// pass. With vdpbf16ps weights and activations enter as bf16, sums are float32; without it both are float32.
// Quantised weights enter as exact whole numbers and the scale follows the sum of a group.

constexpr int kChunkLines = 128;  // 2 tiles x 128 lines x 64 B = 16 KiB, half of the smallest L1

LANES_INLINE I bf16_pair(I first, I second) {  // of two small whole numbers: exact, so nothing is rounded
    return i_or(i_srl<16>(i_bits(f_from(first))), i_and(i_bits(f_from(second)), i_set((int32_t)0xffff0000u)));
}

// four columns of bytes, true value + 128, as two bf16 lines or four float32 lines
LANES_INLINE uint8_t* spread4(I w, uint8_t* out) {
    const I zero = i_set(-128), low = i_set(0xff);
    const I c0 = i_add(i_and(w, low), zero), c2 = i_add(i_and(i_srl<8>(w), low), zero);
    const I c1 = i_add(i_and(i_srl<16>(w), low), zero), c3 = i_add(i_srl<24>(w), zero);
    if (kHasBf16) {
        i_store(out, bf16_pair(c0, c1));
        i_store(out + kLine, bf16_pair(c2, c3));
        return out + 2 * kLine;
    }
    f_store((float*)out, f_from(c0));
    f_store((float*)(out + kLine), f_from(c1));
    f_store((float*)(out + 2 * kLine), f_from(c2));
    f_store((float*)(out + 3 * kLine), f_from(c3));
    return out + 4 * kLine;
}

// packed lines -> lines of the multiplication; returns how many
LANES_INLINE int spread(int format, const uint8_t* line, int n_lines, uint8_t* out) {
    const uint8_t* start = out;
    const Table values = table(kInt4Table);
    const I nibble = i_set(0x0f0f0f0f);
    for (int i = 0; i < n_lines; i++, line += kLine) {
        const I w = i_load(line);
        if (format == RWKV_INT8) {
            out = spread4(w, out);
        } else if (format == RWKV_INT4) {
            out = spread4(look_up(values, i_and(w, nibble)), out);
            out = spread4(look_up(values, i_and(i_srl<4>(w), nibble)), out);
        } else {  // bf16 where there is no bf16 multiplication
            f_store((float*)out, f_bits(i_sll<16>(w)));
            f_store((float*)(out + kLine), f_bits(i_and(w, i_set((int32_t)0xffff0000u))));
            out += 2 * kLine;
        }
    }
    return (int)((out - start) / kLine);
}

template <int R, int T, bool is_bf16>
LANES_INLINE void block_product(const uint8_t* const* lines, int n_lines, const uint32_t* x, F (*sum)[T]) {
    for (int r = 0; r < R; r++)
        for (int t = 0; t < T; t++) sum[r][t] = f_zero();
    for (int i = 0; i < n_lines; i++, x += T) {
        I w[R];
        for (int r = 0; r < R; r++) w[r] = i_load(lines[r] + i * kLine);
#pragma GCC unroll 16
        for (int t = 0; t < T; t++) {
            if (is_bf16) {
                const I xt = i_set((int32_t)x[t]);
                for (int r = 0; r < R; r++) sum[r][t] = f_dot_bf16(sum[r][t], w[r], xt);
            } else {
                const F xt = f_bits(i_set((int32_t)x[t]));
                for (int r = 0; r < R; r++) sum[r][t] = f_fma(f_bits(w[r]), xt, sum[r][t]);
            }
        }
    }
}

template <int R, int T, bool is_bf16> void wide_tiles(const Matmul& job, int tile, uint8_t* scratch) {
    const rwkv_matrix& w = *job.w;
    const int format = w.format, step = is_bf16 ? 2 : 1;
    const bool is_spread = is_quantised(format) || (format == RWKV_BF16 && !is_bf16);
    const int n_lines = (int)tile_lines(format, w.cols), per_line = line_columns(format);
    const int chunk = is_quantised(format) ? kGroup / per_line : is_spread ? 32 : kChunkLines;
    const int n_blocks = (job.n_tokens + T - 1) / T;
    const int64_t block_words = (int64_t)T * (job.x->ld / step);

    float* sums = (float*)scratch;  // [block][tile][token][16 rows]
    uint8_t* room[2] = {scratch + kWideScratchBytes - 2 * 64 * kLine - 128, nullptr};
    room[1] = room[0] + 64 * kLine;
    const uint8_t* data[R];
    for (int r = 0; r < R; r++) data[r] = w.data + (tile + r) * tile_bytes(format, w.cols);

    for (int line = 0, g = 0; line < n_lines; line += chunk, g++) {
        const int n = smaller(chunk, n_lines - line);
        const uint8_t* lines[R];
        int n_products = n;
        F scale[R];
        for (int r = 0; r < R; r++) {
            lines[r] = data[r] + tile_scale_bytes(format, w.cols) + (int64_t)line * kLine;
            scale[r] = f_set(1.0f);
            if (is_spread) {
                n_products = spread(format, lines[r], n, room[r]);
                lines[r] = room[r];
            }
            if (is_quantised(format)) scale[r] = f_load_bf16((const uint16_t*)data[r] + g * kTileRows);
        }
        for (int block = 0; block < n_blocks; block++) {
            const uint32_t* x = job.x->lanes + block * block_words + (int64_t)line * per_line / step * T;
            F sum[R][T];
            block_product<R, T, is_bf16>(lines, n_products, x, sum);
            float* to = sums + (int64_t)block * R * T * kTileRows;
            for (int r = 0; r < R; r++)
                for (int t = 0; t < T; t++, to += kTileRows)
                    f_store(to, line ? f_fma(sum[r][t], scale[r], f_load(to)) : f_mul(sum[r][t], scale[r]));
        }
    }
    for (int m = 0; m < job.n_tokens; m++) {
        const float* from = sums + ((int64_t)(m / T) * R * T + m % T) * kTileRows;
        for (int r = 0; r < R; r++, from += T * kTileRows) {
            const int row = (tile + r) * kTileRows;
            store_after(job, m * job.ld_out + row, f_load(from), smaller(kTileRows, w.rows - row));
        }
    }
}

template <int R> void wide_tiles(const Matmul& job, int tile, uint8_t* scratch) {
    const bool is_bf16 = kHasBf16 && job.w->format != RWKV_FP32;
    const bool is_few = block_of(kLevel, job.n_tokens) == kFewTokens;
    if (is_bf16 && is_few) wide_tiles<R, kFewTokens, kHasBf16>(job, tile, scratch);
    else if (is_bf16) wide_tiles<R, kWideTokens, kHasBf16>(job, tile, scratch);
    else if (is_few) wide_tiles<R, kFewTokens, false>(job, tile, scratch);
    else wide_tiles<R, kWideTokens, false>(job, tile, scratch);
}

void wide(const Matmul& job, int tile0, int tile1, void* scratch) {
    int tile = tile0;
    for (; tile + kWideTiles <= tile1; tile += kWideTiles) wide_tiles<kWideTiles>(job, tile, (uint8_t*)scratch);
    for (; tile < tile1; tile++) wide_tiles<1>(job, tile, (uint8_t*)scratch);
}
