// The bias tile: what is added to the scores of each key and lane, from every source at once.
//
// A row is made along the keys, where masks lie in memory; for the tile, squares of vectors are turned about.

// An edge as an element of a vector, or its ends.
ATTEND_INLINE float within(std::int64_t edge) {
  return static_cast<float>(edge < 0 ? 0 : edge > lanes ? lanes : edge);
}

// What is added to the keys key .. key + lanes - 1 of one lane, `count` of which exist; to hidden ones, anything.
ATTEND_INLINE Vector added_of(const BiasLane& lane, std::int64_t key, std::int64_t count) {
  Vector bias = broadcast(lane.shift);
  if (lane.relative != nullptr) {
    std::int64_t distance = key - lane.position;
    distance = distance < -lane.reach - lanes ? -lane.reach - lanes : distance > lane.reach ? lane.reach : distance;
    bias = add(bias, load(lane.relative + distance));
  }
  if (lane.slope != 0.0f) {
    const Vector away = add(broadcast(static_cast<float>(key - lane.position)), load(ascending));
    bias = subtract(bias, multiply(broadcast(lane.slope), maximum(away, subtract(zero(), away))));
  }
  if (lane.additive != nullptr) {
    bias = add(bias, multiply(load_additive(lane, key, count), broadcast(0x1.715476p+0f)));
  }
  // Finite ones stay so: only -inf hides, and numbers near the lowest float stand for "as good as hidden".
  return maximum(broadcast(-0x1.fffffep+127f), bias);
}

// The same, and -inf where a range or a mask hides the key: all but trees, of which one query has nothing to hide.
ATTEND_INLINE Vector bias_of(const BiasLane& lane, std::int64_t key, std::int64_t count) {
  const Vector none = broadcast(-__builtin_inff());
  Vector bias = added_of(lane, key, count);
  if (lane.additive != nullptr) bias = select(unlike(load_additive(lane, key, count), none), bias, none);
  if (lane.mask != nullptr) bias = select(left_by_mask(lane, key, count), bias, none);
  if (key < lane.begin || key + lanes > lane.end) {
    bias = select(less(load(ascending), broadcast(within(lane.end - key))), bias, none);
    bias = select(less(load(ascending), broadcast(within(lane.begin - key))), none, bias);
  }
  return bias;
}

void fill_bias(const BiasArguments* arguments) {
  const BiasArguments& a = *arguments;
  for (std::int64_t first = 0; first < a.width; first += lanes) {
    for (std::int64_t k = 0; k < a.key_count; k += lanes) {
      const std::int64_t count = a.key_count - k;
      Vector square[lanes];
      for (std::int64_t r = 0; r < lanes; ++r) {
        square[r] = first + r < a.lane_count ? added_of(a.lanes[first + r], a.key + k, count) : zero();
      }
      transpose(square);
      for (std::int64_t i = 0; i < lanes && i < count; ++i) store(a.bias + (k + i) * a.width + first, square[i]);
    }
  }
}
