// Biases: what is added to the scores of each key and lane, from every source at once.
//
// Rows are made along the keys, as masks lie in memory; squares of vectors are then turned about for the tile.

// An edge as an element of a vector, or its ends.
ATTEND_INLINE float within(std::int64_t edge) {
  return static_cast<float>(edge < 0 ? 0 : edge > lanes ? lanes : edge);
}

// By how much keys key .. key + lanes - 1 are farther from the position than the reference is; subtracts integers, for a float has no
// room for both a distance of 2^30 and a key's place in a block.
ATTEND_INLINE Vector farther_of(const LaneRules& lane, std::int64_t key) {
  const std::int64_t behind = lane.position - key, distance = lane.reference.distance;
  if (behind >= lanes - 1) return subtract(broadcast(static_cast<float>(behind - distance)), load(ascending));
  if (behind <= 0) return add(broadcast(static_cast<float>(-behind - distance)), load(ascending));
  const Vector away = subtract(broadcast(static_cast<float>(behind)), load(ascending));
  return subtract(maximum(away, subtract(zero(), away)), broadcast(static_cast<float>(distance)));
}

// What is added to keys key .. key + lanes - 1 of one lane, `count` of which exist; anything for hidden ones. Subtracts source by source
// before it adds: a mask of -1e9 on all keys leaves all else whole.
ATTEND_INLINE Vector added_of(const LaneRules& lane, const SequenceRules& sequence, std::int64_t key, std::int64_t count) {
  const Vector most = broadcast(0x1.fffffep+127f), least = broadcast(-0x1.fffffep+127f);
  Vector bias = zero(), additive = zero();
  if (lane.additive != nullptr) {
    additive = load_additive(lane, sequence, key, count);
    bias = subtract(additive, broadcast(lane.reference.additive));
  }
  if (lane.slope != 0.0f) bias = subtract(bias, multiply(broadcast(lane.slope), farther_of(lane, key)));
  if (lane.relative != nullptr) {  // last: the others may be large, and cancel
    std::int64_t distance = key - lane.position;
    distance = distance < -sequence.reach - lanes ? -sequence.reach - lanes : distance > sequence.reach ? sequence.reach : distance;
    bias = add(bias, subtract(load(lane.relative + distance), broadcast(lane.reference.relative)));
  }
  // Finite biases stay finite: only -inf hides, and numbers near the lowest float stand for "as good as hidden". NaN stays.
  bias = minimum(most, maximum(least, multiply_add(bias, broadcast(log2_e), broadcast(lane.shift))));
  return multiply_add(additive, zero(), bias);  // NaN of +inf, which makes its row NaN, and of -inf, which hides
}

// Biases with -inf at the keys, from a tree's root on, that are neither the lane's node nor one of its ancestors.
ATTEND_NOINLINE Vector without_strangers(Vector bias, const LaneRules& lane, const SequenceRules& sequence, std::int64_t root) {
  float seen[lanes];
  for (int i = 0; i < lanes; ++i) seen[i] = i < root ? 1.0f : 0.0f;
  for (std::int64_t node = lane.node; node >= 0; node = lane.parents[node * sequence.parent_stride]) {
    if (root + node >= 0 && root + node < lanes) seen[root + node] = 1.0f;
  }
  return select(unlike(load(seen), zero()), bias, broadcast(-__builtin_inff()));
}

// Biases with -inf where a range, a mask or a tree hides the key.
ATTEND_INLINE Vector hidden_of(Vector bias, const LaneRules& lane, const SequenceRules& sequence, std::int64_t key, std::int64_t count) {
  const Vector none = broadcast(-__builtin_inff());
  if (lane.additive != nullptr) bias = select(unlike(load_additive(lane, sequence, key, count), none), bias, none);
  if (lane.mask != nullptr) bias = select(left_by_mask(lane.mask, sequence.mask_stride, sequence.mask_hides, key, count), bias, none);
  if (sequence.padding != nullptr) {
    bias = select(left_by_mask(sequence.padding, sequence.padding_stride, sequence.mask_hides, key, count), bias, none);
  }
  const std::int64_t root = lane.position - lane.node - key;
  if (lane.parents != nullptr && root < lanes) bias = without_strangers(bias, lane, sequence, root);
  if (key < lane.begin || key + lanes > lane.end) {
    bias = select(less(load(ascending), broadcast(within(lane.end - key))), bias, none);
    bias = select(less(load(ascending), broadcast(within(lane.begin - key))), none, bias);
  }
  return bias;
}

// A tile's biases [key][lane], or one row's along its keys, -inf where hidden, of which it returns the largest. One function for both, for
// the code that adds up a bias is 1 KB.
ATTEND_NOINLINE float fill_rows(const BiasArguments& a, bool one_row) {
  Vector tops = broadcast(-__builtin_inff());
  for (std::int64_t first = 0; first < a.width; first += lanes) {
    const std::int64_t left = a.lane_count - first, rows = left < 0 ? 0 : left < lanes ? left : lanes;
    for (std::int64_t k = 0; k < a.key_count; k += lanes) {
      const std::int64_t count = a.key_count - k;
      Vector square[lanes];
      for (std::int64_t r = 0; r < rows; ++r) square[r] = added_of(a.lanes[first + r], a.sequence, a.key + k, count);
      for (std::int64_t r = rows; r < lanes; ++r) square[r] = zero();
      if (one_row) {
        Vector bias = hidden_of(square[0], *a.lanes, a.sequence, a.key + k, count);
        store_partial(a.bias + k, bias, count);
        if (count < lanes) bias = select(less(load(ascending), broadcast(static_cast<float>(count))), bias, tops);
        tops = maximum(bias, tops);
        continue;
      }
      transpose(square);
      for (std::int64_t i = 0; i < lanes && i < count; ++i) store(a.bias + (k + i) * a.width + first, square[i]);
    }
  }
  return one_row ? largest_of(tops) : 0.0f;
}

void fill_bias(const BiasArguments* arguments) { fill_rows(*arguments, false); }

float decode_bias(const DecodeBiasArguments* arguments) {
  const DecodeBiasArguments& a = *arguments;
  return fill_rows({a.lane, a.sequence, 1, 1, a.key, a.key_count, a.bias}, true);
}
