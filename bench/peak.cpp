// The peak loops, in assembly.
#include "peak.h"

#include <algorithm>
#include <cstdint>

#include "each_thread.h"
#include "timing.h"

namespace attend::bench {
namespace {

// Every loop: registers set to 0 or 1, then independent chains, enough to hide the latency of all units.
struct PeakLoop {
  void (*run)(std::int64_t iterations);
  double flops;  // an iteration
};

#if defined(__x86_64__)

#define ATTEND_TWELVE(line) \
  line("0") line("1") line("2") line("3") line("4") line("5") line("6") line("7") line("8") line("9") line("10") line("11")
#define ATTEND_CLOBBERED \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm15"
#define ATTEND_PEAK_LOOP(name, start, body, end)                      \
  void name(std::int64_t iterations) {                                \
    const float one = 1.0f;                                           \
    asm volatile(start "1:\n" body "dec %0\n jnz 1b\n" end            \
                 : "+r"(iterations) : "m"(one) : ATTEND_CLOBBERED);   \
  }

#define ATTEND_CLEAR(n) "vpxor %%xmm" n ", %%xmm" n ", %%xmm" n "\n"
#define ATTEND_FMA_ZMM(n) "vfmadd231ps %%zmm15, %%zmm15, %%zmm" n "\n"
#define ATTEND_FMA_YMM(n) "vfmadd231ps %%ymm15, %%ymm15, %%ymm" n "\n"
#define ATTEND_SET(n) "movaps %%xmm15, %%xmm" n "\n"
#define ATTEND_MULTIPLY(n) "mulps %%xmm15, %%xmm" n "\n"
#define ATTEND_ADD(n) "addps %%xmm15, %%xmm" n "\n"
#define ATTEND_MIXED                                                                      \
  ATTEND_MULTIPLY("0") ATTEND_ADD("1") ATTEND_MULTIPLY("2") ATTEND_ADD("3")               \
  ATTEND_MULTIPLY("4") ATTEND_ADD("5") ATTEND_MULTIPLY("6") ATTEND_ADD("7")               \
  ATTEND_MULTIPLY("8") ATTEND_ADD("9") ATTEND_MULTIPLY("10") ATTEND_ADD("11")

ATTEND_PEAK_LOOP(fma_zmm, ATTEND_TWELVE(ATTEND_CLEAR) "vbroadcastss %1, %%zmm15\n", ATTEND_TWELVE(ATTEND_FMA_ZMM), "vzeroupper\n")
ATTEND_PEAK_LOOP(fma_ymm, ATTEND_TWELVE(ATTEND_CLEAR) "vbroadcastss %1, %%ymm15\n", ATTEND_TWELVE(ATTEND_FMA_YMM), "vzeroupper\n")
ATTEND_PEAK_LOOP(multiply_add_xmm, "movss %1, %%xmm15\n shufps $0, %%xmm15, %%xmm15\n" ATTEND_TWELVE(ATTEND_SET), ATTEND_MIXED, "")

PeakLoop peak_loop(Isa isa) {
  switch (isa) {
    case Isa::avx512: return {fma_zmm, 12 * 2 * 16};
    case Isa::avx2: return {fma_ymm, 12 * 2 * 8};
    default: return {multiply_add_xmm, 12 * 4};
  }
}

#elif defined(__aarch64__)

#define ATTEND_SIXTEEN(line)                                                                      \
  line("0") line("1") line("2") line("3") line("4") line("5") line("6") line("7")                 \
  line("16") line("17") line("18") line("19") line("20") line("21") line("22") line("23")
#define ATTEND_PEAK_LOOP(name, body)                                                                    \
  void name(std::int64_t iterations) {                                                                  \
    asm volatile("fmov v31.4s, #1.0\n" ATTEND_SIXTEEN(ATTEND_SET) "1:\n" body "subs %0, %0, #1\n b.ne 1b\n" \
                 : "+r"(iterations) : : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", \
                   "v18", "v19", "v20", "v21", "v22", "v23", "v31");                                    \
  }

#define ATTEND_SET(n) "fmov v" n ".4s, #1.0\n"
#define ATTEND_FMA(n) "fmla v" n ".4s, v31.4s, v31.4s\n"
#define ATTEND_MULTIPLY(n) "fmul v" n ".4s, v" n ".4s, v31.4s\n"
#define ATTEND_ADD(n) "fadd v" n ".4s, v" n ".4s, v31.4s\n"
#define ATTEND_MIXED                                                                      \
  ATTEND_MULTIPLY("0") ATTEND_ADD("1") ATTEND_MULTIPLY("2") ATTEND_ADD("3")               \
  ATTEND_MULTIPLY("4") ATTEND_ADD("5") ATTEND_MULTIPLY("6") ATTEND_ADD("7")               \
  ATTEND_MULTIPLY("16") ATTEND_ADD("17") ATTEND_MULTIPLY("18") ATTEND_ADD("19")           \
  ATTEND_MULTIPLY("20") ATTEND_ADD("21") ATTEND_MULTIPLY("22") ATTEND_ADD("23")

ATTEND_PEAK_LOOP(fma_neon, ATTEND_SIXTEEN(ATTEND_FMA))
ATTEND_PEAK_LOOP(multiply_add_neon, ATTEND_MIXED)

PeakLoop peak_loop(Isa isa) {
  return isa == Isa::neon ? PeakLoop{fma_neon, 16 * 2 * 4} : PeakLoop{multiply_add_neon, 16 * 4};
}

#else
#error "attend-bench knows the peak of x86-64 and aarch64 alone"
#endif

double peak_of_this_thread(const PeakLoop& loop) {
  constexpr std::int64_t iterations = 50000;  // some 0.1 ms
  double best = 0.0;
  const double begin = seconds_now();
  while (seconds_now() - begin < 10e-3) {
    const double start = seconds_now();
    loop.run(iterations);
    best = std::max(best, static_cast<double>(iterations) * loop.flops / (seconds_now() - start));
  }
  return best * 1e-9;
}

}  // namespace

double measure_peak(Isa isa, const Threads& threads) {
  const PeakLoop loop = peak_loop(isa);
  return sum_on_each_thread(threads, [&](int) { return peak_of_this_thread(loop); });
}

}  // namespace attend::bench
