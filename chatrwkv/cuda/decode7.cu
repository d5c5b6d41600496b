// Launchers of a step of RWKV-7: each queues its kernel on `stream` of the current device and returns the CUDA error code,
// 0 for none.
#include "decode7.cuh"
#include "launch.cuh"

namespace {

constexpr int MOST_ROWS = 16;

bool is_refused(int type, int n_rows) {
  return (type != RWKV_CUDA_FP16 && type != RWKV_CUDA_BF16) || n_rows < 1 || n_rows > MOST_ROWS;
}

// Of kernels for 8 and 16 rows in fp16, then the same in bf16.
int variant(int type, int n_rows) { return (type == RWKV_CUDA_BF16 ? 2 : 0) + (n_rows > 8 ? 1 : 0); }

long long parts_of(long long n, long long each) { return (n + each - 1) / each; }

void (*const PRODUCTS[])(rwkv_products_call) = {rwkv_products7_fp16_1, rwkv_products7_fp16_2, rwkv_products7_bf16_1,
                                                rwkv_products7_bf16_2};
void (*const VALUES[])(rwkv_values_call) = {rwkv_values7_fp16_1, rwkv_values7_fp16_2, rwkv_values7_bf16_1,
                                            rwkv_values7_bf16_2};
void (*const INT8_VALUES[])(rwkv_values_call) = {rwkv_values7_int8_fp16_1, rwkv_values7_int8_fp16_2,
                                                 rwkv_values7_int8_bf16_1, rwkv_values7_int8_bf16_2};

}  // namespace

RWKV_EXPORT int rwkv_cuda_mix7(const rwkv_mix_call* call, int type, void* stream) {
  if (is_refused(type, call->n_rows) || call->n_channels < 16 || call->n_channels % 16) return rwkv::INVALID_VALUE;
  const long long n_blocks = call->n_rows * parts_of(call->n_channels, rwkv::MIX_SLICE);
  return rwkv::launch(type == RWKV_CUDA_FP16 ? rwkv_mix7_fp16 : rwkv_mix7_bf16, n_blocks, rwkv::MIX_THREADS, *call,
                      stream);
}

RWKV_EXPORT int rwkv_cuda_products7(const rwkv_products_call* call, int type, void* stream) {
  if (is_refused(type, call->n_rows) || call->n_matrices < 1 || call->n_matrices > RWKV_MOST_PRODUCTS)
    return rwkv::INVALID_VALUE;
  long long n_blocks = 0;
  for (int i = 0; i < call->n_matrices; ++i) {
    const rwkv_product& matrix = call->matrix[i];
    if (matrix.n_out < 1 || matrix.n_in < 1 || matrix.n_in % (matrix.scale ? 16 : 8)) return rwkv::INVALID_VALUE;
    n_blocks += parts_of(matrix.n_out, rwkv::PRODUCT_OUTPUTS);
  }
  return rwkv::launch(PRODUCTS[variant(type, call->n_rows)], n_blocks, rwkv::PRODUCT_THREADS, *call, stream);
}

RWKV_EXPORT int rwkv_cuda_token7(const rwkv_token_call* call, int type, void* stream) {
  if (is_refused(type, call->n_rows) || call->n_heads < 1) return rwkv::INVALID_VALUE;
  if (call->head_size < 4 || call->head_size > rwkv::TOKEN_HEAD || call->head_size % 4) return rwkv::INVALID_VALUE;
  const long long n_blocks = static_cast<long long>(call->n_rows) * call->n_heads;
  return rwkv::launch(type == RWKV_CUDA_FP16 ? rwkv_token7_fp16 : rwkv_token7_bf16, n_blocks, rwkv::TOKEN_THREADS, *call,
                      stream);
}

RWKV_EXPORT int rwkv_cuda_values7(const rwkv_values_call* call, int type, void* stream) {
  if (is_refused(type, call->n_rows) || call->n_channels < 16 || call->n_channels % 16) return rwkv::INVALID_VALUE;
  if (call->n_wide < 1 || call->range < 1 || call->range % (rwkv::VALUE_WARPS * rwkv::GROUP)) return rwkv::INVALID_VALUE;
  const int outputs = call->scale ? 128 : 64;
  const long long n_blocks = parts_of(call->n_channels, outputs) * parts_of(call->n_wide, call->range);
  return rwkv::launch((call->scale ? INT8_VALUES : VALUES)[variant(type, call->n_rows)], n_blocks,
                      rwkv::VALUE_THREADS, *call, stream);
}

RWKV_EXPORT int rwkv_cuda_decode_sizes(int which) {
  const std::size_t sizes[] = {sizeof(rwkv_mix_call), sizeof(rwkv_products_call), sizeof(rwkv_token_call),
                               sizeof(rwkv_values_call)};
  return which < 0 || which > 3 ? 0 : static_cast<int>(sizes[which]);
}
