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
