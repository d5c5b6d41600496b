// The RWKV-7 recurrence and its gradient for one CPU core, float32, head size 64, packed documents.
//
//   S_t = S_{t-1} (diag(w_t) + a_t b_t^T) + v_t k_t^T      y_t = S_t r_t      S blank where a document starts
//
// Why not the chunked matrix form: its small batched products reached 20 GFLOP/s and took half of a training
// step; this holds a head's state (16 KB) in the first-level cache. The state is kept transposed, [key][value],
// so that S a and S r are sums down the rows and need no horizontal additions.
// Arrays are (B, T, H, 64) unless stated.

#include <cstdint>
#include <cstring>

namespace {

constexpr int N = 64, LANES = 16, VECTORS = N / LANES;
constexpr int EVERY = 16;  // tokens between two saved states; 16 states of 16 KB fit the second-level cache
typedef float Vector __attribute__((vector_size(64), aligned(4)));

struct Row {
    Vector p[VECTORS];
};

inline Row load(const float* from) {
    Row row;
    for (int q = 0; q < VECTORS; q++) row.p[q] = *reinterpret_cast<const Vector*>(from + q * LANES);
    return row;
}

inline void store(float* to, const Row& row) {
    for (int q = 0; q < VECTORS; q++) *reinterpret_cast<Vector*>(to + q * LANES) = row.p[q];
}

inline float sum(Vector x) {
    float s[LANES];
    std::memcpy(s, &x, sizeof s);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) s[i] += s[i + width];
    return s[0];
}

inline float dot(const Row& x, const Row& y) {
    Vector s = x.p[0] * y.p[0];
    for (int q = 1; q < VECTORS; q++) s += x.p[q] * y.p[q];
    return sum(s);
}

inline void add(Row& to, const Row& x, float factor) {
    for (int q = 0; q < VECTORS; q++) to.p[q] += x.p[q] * factor;
}

// One token: `after` may be `before`. Returns S a in `sa`.
inline void advance(const float* before, float* after, const float* w, const float* k, const float* v,
                    const float* a, const float* b, Row& sa) {
    sa = Row{};
    for (int j = 0; j < N; j++) add(sa, load(before + j * N), a[j]);
    const Row value = load(v);
    for (int j = 0; j < N; j++) {
        Row s = load(before + j * N);
        for (int q = 0; q < VECTORS; q++) s.p[q] = s.p[q] * w[j] + sa.p[q] * b[j] + value.p[q] * k[j];
        store(after + j * N, s);
    }
}

}  // namespace

extern "C" {

// saved: (B, H, ceil(T/16), 64, 64), the state before every 16th token. starts: (B, T), 1 = a document starts.
void wkv7_forward(int64_t B, int64_t T, int64_t H, const float* r, const float* w, const float* k, const float* v,
                  const float* a, const float* b, const int64_t* starts, float* y, float* saved) {
    const int64_t n_saved = (T + EVERY - 1) / EVERY;
    for (int64_t bh = 0; bh < B * H; bh++) {
        float state[N * N] = {};
        for (int64_t t = 0; t < T; t++) {
            const int64_t at = (((bh / H) * T + t) * H + bh % H) * N;
            if (starts[(bh / H) * T + t]) std::memset(state, 0, sizeof state);
            if (t % EVERY == 0) std::memcpy(saved + (bh * n_saved + t / EVERY) * N * N, state, sizeof state);
            Row sa, out{};
            advance(state, state, w + at, k + at, v + at, a + at, b + at, sa);
            for (int j = 0; j < N; j++) add(out, load(state + j * N), r[at + j]);
            store(y + at, out);
        }
    }
}

void wkv7_backward(int64_t B, int64_t T, int64_t H, const float* r, const float* w, const float* k, const float* v,
                   const float* a, const float* b, const int64_t* starts, const float* saved, const float* dy,
                   float* dr, float* dw, float* dk, float* dv, float* da, float* db) {
    const int64_t n_saved = (T + EVERY - 1) / EVERY;
    float* states = new float[(EVERY + 1) * N * N];  // before each token of the piece, and after its last
    for (int64_t bh = 0; bh < B * H; bh++) {
        const int64_t* start = starts + (bh / H) * T;
        float grad[N * N] = {};
        for (int64_t piece = n_saved - 1; piece >= 0; piece--) {
            const int64_t first = piece * EVERY, end = first + EVERY < T ? first + EVERY : T;
            Row all_sa[EVERY];
            std::memcpy(states, saved + (bh * n_saved + piece) * N * N, sizeof(float) * N * N);
            for (int64_t t = first; t < end; t++) {
                const int64_t at = (((bh / H) * T + t) * H + bh % H) * N;
                float* before = states + (t - first) * N * N;
                if (start[t]) std::memset(before, 0, sizeof(float) * N * N);
                advance(before, before + N * N, w + at, k + at, v + at, a + at, b + at, all_sa[t - first]);
            }
            for (int64_t t = end - 1; t >= first; t--) {
                const int64_t at = (((bh / H) * T + t) * H + bh % H) * N;
                const float *before = states + (t - first) * N * N, *after = before + N * N;
                const Row out = load(dy + at), value = load(v + at), sa = all_sa[t - first];
                float own[N * N];  // the state after this token, unless the next one starts a document
                if (t + 1 < T && start[t + 1] && t + 1 < end) {
                    Row again;
                    advance(before, own, w + at, k + at, v + at, a + at, b + at, again);
                    after = own;
                }
                Row d_value{}, d_sa{};
                for (int j = 0; j < N; j++) {
                    Row g = load(grad + j * N);
                    add(g, out, r[at + j]);
                    store(grad + j * N, g);
                    dr[at + j] = dot(load(after + j * N), out);
                    dk[at + j] = dot(g, value);
                    db[at + j] = dot(g, sa);
                    dw[at + j] = dot(g, load(before + j * N));
                    add(d_value, g, k[at + j]);
                    add(d_sa, g, b[at + j]);
                }
                store(dv + at, d_value);
                for (int j = 0; j < N; j++) {
                    da[at + j] = dot(load(before + j * N), d_sa);
                    Row g = load(grad + j * N);
                    for (int q = 0; q < VECTORS; q++) g.p[q] = g.p[q] * w[at + j] + d_sa.p[q] * a[at + j];
                    store(grad + j * N, g);
                }
                if (start[t]) std::memset(grad, 0, sizeof grad);
            }
        }
    }
    delete[] states;
}

}  // extern "C"
