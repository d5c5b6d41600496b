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

namespace {
enum class Kind { heads, channels, draw };
struct Function {
  void* kernel;
  Kind kind;
};
std::vector<std::unique_ptr<Function>> functions;

Kind kind_of(const char* name) {
  if (std::strcmp(name, "rwkv_draw") == 0) return Kind::draw;
  return std::strstr(name, "wkv4") ? Kind::channels : Kind::heads;
}

template <class Call>
int run_on_host(void* function, void* parameter, int n_blocks, int n_threads) {
  const auto call = *static_cast<Call*>(parameter);
  const auto kernel = reinterpret_cast<void (*)(Call)>(function);
  return host_shim::run([kernel, call] { kernel(call); }, n_blocks, n_threads);
}
}  // namespace

extern "C" int cuModuleLoadData(void** module, const void* image) {
  *module = const_cast<void*>(image);
  return image ? 0 : 1;
}
extern "C" int cuModuleGetFunction(void** function, void*, const char* name) {
  void* kernel = dlsym(RTLD_DEFAULT, name);
  Dl_info here;
  if (!kernel && dladdr(reinterpret_cast<void*>(&kind_of), &here))
    kernel = dlsym(dlopen(here.dli_fname, RTLD_NOW), name);
  if (!kernel) return 500;  // CUDA_ERROR_NOT_FOUND
  functions.push_back(std::make_unique<Function>(Function{kernel, kind_of(name)}));
  *function = functions.back().get();
  return 0;
}
extern "C" int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty,
                              unsigned tz, unsigned, void*, void** parameters, void**) {
  if (y != 1 || z != 1 || ty != 1 || tz != 1) return 1;
  const Function& f = *static_cast<Function*>(function);
  const int n_blocks = static_cast<int>(x), n_threads = static_cast<int>(threads);
  switch (f.kind) {
    case Kind::channels: return run_on_host<rwkv_channels_call>(f.kernel, parameters[0], n_blocks, n_threads);
    case Kind::draw: return run_on_host<rwkv_draw_call>(f.kernel, parameters[0], n_blocks, n_threads);
    default: return run_on_host<rwkv_heads_call>(f.kernel, parameters[0], n_blocks, n_threads);
  }
}
