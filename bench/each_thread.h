// Measuring on all threads at once.
#pragma once

#include <numeric>
#include <vector>

#include "attend/attend.hpp"

namespace attend::bench {

/// The sum of rate(index) over the threads, each called on one of them.
template <class Rate>
double sum_on_each_thread(const Threads& threads, Rate rate) {
  if (threads.count == 1) return rate(0);
  struct Context {
    Rate* rate;
    std::vector<double> rates;
  } context = {&rate, std::vector<double>(static_cast<std::size_t>(threads.count))};
  threads.parallel_for(
      threads.pool, threads.count,
      [](void* pointer, int index) {
        Context& shared = *static_cast<Context*>(pointer);
        shared.rates[static_cast<std::size_t>(index)] = (*shared.rate)(index);
      },
      &context);
  return std::accumulate(context.rates.begin(), context.rates.end(), 0.0);
}

}  // namespace attend::bench
