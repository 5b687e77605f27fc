// Weights times values: eight queries (or so) by a few vectors of value columns, over the keys of a block.

// One key of whole scalar groups. If another follows (`more`), each vector of its values and weights is loaded right after the last use
// of the vector before: in-order CPUs wait for loads.
template <int rows, int vectors, bool more>
ATTEND_INLINE void accumulate_key(Vector (&sums)[rows][vectors], Vector (&value)[vectors], Scalars (&groups)[rows / scalar_group],
                                  const float* next_values, const float* next_weights) {
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      sums[r][v] = multiply_add_scalar(groups[r / scalar_group], r % scalar_group, value[v], sums[r][v]);
      if (more && v == vectors - 1 && r % scalar_group == scalar_group - 1) {
        groups[r / scalar_group] = load_scalars(next_weights + r - r % scalar_group);
        keep_order(groups[r / scalar_group]);
      }
    }
    if (more) {
      value[v] = load(next_values + v * lanes);
      keep_order(value[v]);
    }
  }
}

// Runs all keys, two an iteration, which share the counting.
template <int rows, int vectors>
ATTEND_INLINE void accumulate_keys(Vector (&sums)[rows][vectors], const float* weights, std::int64_t width,
                                   const float* values, std::int64_t row_stride, std::int64_t count) {
  if (count == 0) return;
  Vector value[vectors];
  Scalars groups[rows / scalar_group];
  ATTEND_UNROLL
  for (int v = 0; v < vectors; ++v) value[v] = load(values + v * lanes);
  ATTEND_UNROLL
  for (int g = 0; g < rows / scalar_group; ++g) groups[g] = load_scalars(weights + g * scalar_group);
  for (; count > 2; count -= 2) {
    accumulate_key<rows, vectors, true>(sums, value, groups, values + row_stride, weights + width);
    values += 2 * row_stride;
    weights += 2 * width;
    accumulate_key<rows, vectors, true>(sums, value, groups, values, weights);
  }
  if (count > 1) accumulate_key<rows, vectors, true>(sums, value, groups, values + row_stride, weights + width);
  accumulate_key<rows, vectors, false>(sums, value, groups, values, weights);
}

template <int rows, int vectors, bool partial>
ATTEND_INLINE void accumulate_tile(const AccumulateArguments& a, std::int64_t lane,
                                   std::int64_t column) {
  const float* weights = a.weights + lane;
  const float* values = a.values + column;
  float* const output = a.output + lane * a.output_stride + column;
  const std::int64_t width = a.width, row_stride = a.value_row_stride;
  const float* const end = weights + a.key_count * width;
  const std::int64_t last = a.columns - column - (vectors - 1) * lanes;  // columns in the last vector
  const bool extends = a.accumulation == Accumulation::extend;
  const bool fetches = a.columns >= value_fetch_columns;
  Vector sums[rows][vectors];
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) sums[r][v] = extends ? load(output + r * a.output_stride + v * lanes) : zero();
  }
  if constexpr (scalar_group > 1 && rows % scalar_group == 0 && !partial) {
    accumulate_keys<rows, vectors>(sums, weights, width, values, row_stride, a.key_count);
    weights = end;  // no key is left
  }
  for (; weights != end; weights += width) {
    if (value_fetch > 0 && fetches) {
      ATTEND_UNROLL
      for (int c = 0; c < (vectors - partial) * lanes; c += 16) prefetch(values + value_fetch * row_stride + c);
    }
    Vector value[vectors];
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) {
      value[v] = partial && v == vectors - 1 ? load_partial(values + v * lanes, last)
                                             : load(values + v * lanes);
    }
    Scalars group;
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      const int within = r % scalar_group;
      const bool whole = r - within + scalar_group <= rows;  // whether a load stays within the lanes
      if (!whole) group = broadcast(weights[r]);
      if (whole && within == 0) group = load_scalars(weights + r);
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) {
        sums[r][v] = multiply_add_scalar(group, whole ? within : 0, value[v], sums[r][v]);
      }
    }
    values += row_stride;
  }
  if (a.accumulation == Accumulation::add) {
    ATTEND_UNROLL
    for (int r = 0; r < rows; ++r) {
      ATTEND_UNROLL
      for (int v = 0; v < vectors; ++v) sums[r][v] = add(load(output + r * a.output_stride + v * lanes), sums[r][v]);
    }
  }
  ATTEND_UNROLL
  for (int r = 0; r < rows; ++r) {
    ATTEND_UNROLL
    for (int v = 0; v < vectors; ++v) store(output + r * a.output_stride + v * lanes, sums[r][v]);
  }
}

template <int rows, int vectors, bool partial>
void accumulate_lanes_from(const AccumulateArguments& a, std::int64_t lane, std::int64_t column) {
  const std::int64_t end = a.lane_count;
  for (; lane + rows <= end; lane += rows) accumulate_tile<rows, vectors, partial>(a, lane, column);
  if constexpr (rows > 1) {
    if (lane < end) accumulate_lanes_from<fewer(rows), vectors, partial>(a, lane, column);
  }
}

// Takes the columns that are left, fewer than a full step, by as many vectors as they fill.
template <int vectors>
ATTEND_INLINE void accumulate_tail_from(const AccumulateArguments& a, std::int64_t column) {
  const std::int64_t left = a.columns - column;
  if (left > (vectors - 1) * lanes) {
    if (left == vectors * lanes) {
      accumulate_lanes_from<value_rows, vectors, false>(a, 0, column);
    } else if constexpr (lanes > 1) {
      accumulate_lanes_from<value_rows, vectors, true>(a, 0, column);
    }
  } else if constexpr (vectors > 1) {
    accumulate_tail_from<vectors - 1>(a, column);
  }
}

void accumulate(const AccumulateArguments* arguments) {
  const AccumulateArguments& a = *arguments;
  constexpr int step = value_vectors * lanes;
  std::int64_t column = 0;
  for (; column + step <= a.columns; column += step) {
    // Four vectors go two and two: three would leave one, at half speed.
    if (value_vectors == 3 && a.columns - column > step && a.columns - column <= 4 * lanes) {
      accumulate_lanes_from<value_rows, 2, false>(a, 0, column);
      column += 2 * lanes;
      break;
    }
    accumulate_lanes_from<value_rows, value_vectors, false>(a, 0, column);
  }
  if (column < a.columns) accumulate_tail_from<value_vectors>(a, column);
}

void rescale(const RescaleArguments* arguments) {
  const RescaleArguments& a = *arguments;
  for (std::int64_t lane = 0; lane < a.lane_count; ++lane) {
    if (a.factors[lane] == 1.0f) continue;
    const Vector factor = broadcast(a.factors[lane]);
    float* output = a.output + lane * a.output_stride;
    for (std::int64_t c = 0; c < a.columns; c += lanes) store(output + c, multiply(load(output + c), factor));
  }
}

void fold(const float* __restrict source, double* __restrict totals, std::int64_t count, bool first) {
  if (first) {
    for (std::int64_t i = 0; i < count; ++i) totals[i] = static_cast<double>(source[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) totals[i] += static_cast<double>(source[i]);
  }
}

void unfold(const double* totals, float* destination, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) destination[i] = static_cast<float>(totals[i]);
}

bool finish(const FinishArguments* arguments) {
  const FinishArguments& a = *arguments;
  Vector residue = zero();  // x - x is 0, or NaN where x is not finite
  for (std::int64_t lane = 0; lane < a.lane_count; ++lane) a.factors[lane] = 1.0f / static_cast<float>(a.sums[lane]);
  const std::int64_t side_by_side = a.stride == 1 ? a.columns : 0;
  for (std::int64_t lane = 0; lane < a.lane_count; ++lane) {
    const float* source = a.source + lane * a.source_stride;
    float* destination = a.destinations[lane];
    const Vector factor = broadcast(a.factors[lane]);
    Vector row_residue = zero();  // a chain for each row: one through all rows took as long as all else
    std::int64_t c = 0;
    for (; c + lanes <= side_by_side; c += lanes) {
      const Vector x = multiply(load(source + c), factor);
      row_residue = add(row_residue, subtract(x, x));
      store(destination + c, x);
    }
    for (; c < a.columns; c += lanes) {
      const Vector x = multiply(load(source + c), factor);
      row_residue = add(row_residue, subtract(x, x));
      copy_out(x, a.columns - c, destination + c * a.stride, a.stride);
    }
    residue = add(residue, row_residue);
  }
  return !any(unlike(residue, zero()));
}
