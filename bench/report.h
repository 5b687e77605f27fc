// How results are reported: as a table, as JSON.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "attend/attend.hpp"

namespace attend::bench {

struct Machine {
  std::string name;
  double peak_gflops;    // the highest that was measured
  double read_gb_per_s;
};

struct Result {
  std::string name;
  Isa isa;
  int threads;
  double us_min, us_median;
  double gflops;                          // in the fastest call
  std::optional<double> gb_per_s;         // in the fastest call, where reading is the bound
  double percent_of_peak;                 // the median of the rounds; where reading is the bound, of the bandwidth
  double percent_lowest, percent_highest; // of the rounds
  std::optional<double> times_scalar;
  double percent_in_huge_pages;           // at most, of what a call reads, where reading is the bound
};

/// Prints the machine, what the columns are and how long the cases will take, and their names.
void print_table_head(const Machine& machine, Isa isa, int threads, int rounds, std::size_t cases, double seconds);
void print_table_row(const Result& result, int rounds);

/// Throws where the file cannot be written.
void write_report(const std::string& path, const std::string& report);

std::string json_report(const Machine& machine, const std::vector<Result>& results);

}  // namespace attend::bench
