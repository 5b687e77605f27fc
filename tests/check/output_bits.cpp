// A line for each usable ISA: a hash of all numbers that the checks of whole calls would compare with the reference. Builds of the
// engine that print the same give the same bits. usage: output_bits ROUNDS
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/isas.h"
#include "checks/checks.h"
#include "reference/compare.h"

namespace {

std::uint64_t hash, numbers;

void add(double x) {
  std::uint64_t bits = 1;  // of every NaN: which of two operands gives its own is the compiler's choice
  if (x == x) std::memcpy(&bits, &x, sizeof bits);
  hash = (hash ^ bits) * 0x9e3779b97f4a7c15u;
  hash ^= hash >> 29;
  ++numbers;
}

}  // namespace

/// Linked in place of the library's, it finds everything right.
attend::reference::Comparison attend::reference::compare(const Array& actual, const Array&, const Array&) {
  for (const double x : actual.values) add(x);
  Comparison comparison;
  comparison.ok = true;
  return comparison;
}

int main(int, char** arguments) {
  const std::uint64_t rounds = std::strtoull(arguments[1], nullptr, 10);
  for (const attend::IsaEntry& entry : attend::isas) {
    if (!attend::isa_usable(entry.isa)) continue;
    hash = numbers = 0;
    for (std::uint64_t seed = 1; seed <= rounds; ++seed) {
      const attend::checks::Result result = attend::checks::check_calls(entry.isa, seed, 1);
      if (result.ok) continue;
      std::printf("%s: %s\n", entry.name, result.message);
      return 1;
    }
    std::printf("%-8s %016" PRIx64 " of %" PRIu64 " numbers\n", entry.name, hash, numbers);
  }
}
