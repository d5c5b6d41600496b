// What only the tests ask: conversions, and the shape of the last launch.
#include "portable.cuh"

extern "C" float shim_load_fp16(unsigned short bits) {
  const rwkv::fp16 x{bits};
  return rwkv::load(&x);
}
extern "C" unsigned short shim_store_fp16(float x) {
  rwkv::fp16 to{};
  rwkv::store(&to, x);
  return to.bits;
}
extern "C" float shim_load_bf16(unsigned short bits) {
  const rwkv::bf16 x{bits};
  return rwkv::load(&x);
}
extern "C" unsigned short shim_store_bf16(float x) {
  rwkv::bf16 to{};
  rwkv::store(&to, x);
  return to.bits;
}
extern "C" int shim_last_blocks() { return host_shim::last_launch()[0]; }
extern "C" int shim_last_threads() { return host_shim::last_launch()[1]; }
extern "C" void shim_backwards(int is_backwards) { host_shim::is_backwards() = is_backwards != 0; }

namespace {
// A kernel with a fault: each thread reads what its neighbour writes, without a barrier.
void race(int* out) {
  float* shared = host_shim::shared(64);
  const int me = host_shim::thread_index();
  shared[me] = static_cast<float>(me);
  out[me] = shared[(me + 1) % 64] == static_cast<float>((me + 1) % 64);
}
// Half a warp waits at a barrier that the other half never reaches.
void part() {
  if (host_shim::thread_index() < 16) host_shim::sync_block();
}
void overrun() {
  float* shared = host_shim::shared(8);
  host_shim::shared(8);
  shared[8 + host_shim::thread_index() % 2] = 1.0f;
}
}  // namespace

extern "C" int shim_race(int* out) {
  return host_shim::run([out] { race(out); }, 1, 64);
}
extern "C" int shim_part() { return host_shim::run(part, 1, 32); }
extern "C" int shim_overrun() { return host_shim::run(overrun, 1, 32); }

// A CUDA driver that runs kernels on the host: a "function" is the kernel of that name in this library.
#include <dlfcn.h>

#include "calls.h"
#include "decode_calls.h"

namespace {
using Run = int (*)(void* kernel, const void* call, int n_blocks, int n_threads);
template <class Call>
int run(void* kernel, const void* given, int n_blocks, int n_threads) {
  const auto call = *static_cast<const Call*>(given);
  const auto typed = reinterpret_cast<void (*)(Call)>(kernel);
  return host_shim::run([typed, call] { typed(call); }, n_blocks, n_threads);
}
Run run_of(const char* name) {
  const auto has = [name](const char* part) { return std::strstr(name, part) != nullptr; };
  return has("wkv4")        ? run<rwkv_channels_call>
         : has("draw")      ? run<rwkv_draw_call>
         : has("mix7")      ? run<rwkv_mix_call>
         : has("products7") ? run<rwkv_products_call>
         : has("token7")    ? run<rwkv_token_call>
         : has("values7")   ? run<rwkv_values_call>
                            : run<rwkv_heads_call>;
}
struct Function {
  void* kernel;
  Run run;
};
std::vector<std::unique_ptr<Function>> functions;
}  // namespace

extern "C" int cuModuleLoadData(void** module, const void* image) {
  *module = const_cast<void*>(image);
  return image ? 0 : 1;
}
extern "C" int cuModuleGetFunction(void** function, void*, const char* name) {
  void* kernel = dlsym(RTLD_DEFAULT, name);
  Dl_info here;
  if (!kernel && dladdr(reinterpret_cast<void*>(&run_of), &here))
    kernel = dlsym(dlopen(here.dli_fname, RTLD_NOW), name);
  if (!kernel) return 500;  // CUDA_ERROR_NOT_FOUND
  functions.push_back(std::make_unique<Function>(Function{kernel, run_of(name)}));
  *function = functions.back().get();
  return 0;
}
extern "C" int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty,
                              unsigned tz, unsigned, void*, void** parameters, void**) {
  if (y != 1 || z != 1 || ty != 1 || tz != 1) return 1;
  const Function& f = *static_cast<Function*>(function);
  return f.run(f.kernel, parameters[0], static_cast<int>(x), static_cast<int>(threads));
}
