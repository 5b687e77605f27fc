// Which lanes of a tile see each key of a block: a word a key, bit n for lane n.
//
// A range is a change at each of its ends, summed up along the keys. Words lie along the keys, as masks do: nothing is turned about.

static_assert(wide_vectors * lanes <= 32, "a bit for each lane");

// Which of the keys key .. key + lanes - 1, `count` of which exist, a bool mask leaves.
ATTEND_INLINE Mask left_by_mask(const std::uint8_t* mask, std::int64_t stride, bool hides, std::int64_t key, std::int64_t count) {
  std::uint8_t bytes[lanes];
  mask += key * stride;
  if (stride != 1 || count < lanes) {
    for (std::int64_t i = 0; i < lanes; ++i) bytes[i] = i < count ? mask[i * stride] : 0;
    mask = bytes;
  }
  const Mask nonzero = nonzero_bytes(mask);
  return hides ? unlike(select(nonzero, zero(), broadcast(1.0f)), zero()) : nonzero;
}

ATTEND_INLINE Vector load_additive(const LaneRules& lane, const SequenceRules& sequence, std::int64_t key, std::int64_t count) {
  return copy_in(lane.additive + key * sequence.additive_stride, count, sequence.additive_stride, 0.0f);
}

// Clears the bits of up to eight lanes where their bool masks hide a key.
void hide_masked(const VisibleArguments& a, std::int64_t first) {
  using Bytes = std::uint8_t __attribute__((vector_size(16)));
  constexpr int columns = (key_block + 15) / 16 * 16;
  const std::uint8_t* rows[8];
  std::uint8_t copies[8][columns];
  const std::int64_t stride = a.sequence.mask_stride;
  ATTEND_UNROLL_BY(1)
  for (int i = 0; i < 8; ++i) {
    const LaneRules& lane = a.lanes[first + i < a.lane_count ? first + i : first];
    rows[i] = lane.mask + a.key * stride;
    for (int ahead = 128; ahead < 128 + key_block; ahead += 64) prefetch(reinterpret_cast<const float*>(rows[i] + ahead));
    if (stride == 1 && a.key_count % 16 == 0) continue;
    ATTEND_UNROLL_BY(1)
    for (std::int64_t k = 0; k < a.key_count; ++k) copies[i][k] = rows[i][k * stride];
    rows[i] = copies[i];
  }
  for (std::int64_t k = 0; k < a.key_count; k += 16) {
    Bytes zeros = {};
    ATTEND_UNROLL
    for (int i = 0; i < 8; ++i) {
      Bytes mask;
      __builtin_memcpy(&mask, rows[i] + k, sizeof mask);
      const std::uint8_t bit = static_cast<std::uint8_t>(1 << i);  // an int would not become a vector under sanitizers
      zeros |= reinterpret_cast<Bytes>(mask == 0) & bit;
    }
    const Bytes hidden = a.sequence.mask_hides ? ~zeros : zeros;
    std::uint8_t bits[16];
    __builtin_memcpy(bits, &hidden, sizeof bits);
    ATTEND_UNROLL
    for (int i = 0; i < 16; i += lanes) take_bits(a.visible + k + i, bits + i, static_cast<int>(first));
  }
}

// Clears the bits of all lanes where the mask of padding hides a key.
void hide_padding(const VisibleArguments& a) {
  const SequenceRules& sequence = a.sequence;
  for (std::int64_t k = 0; k < a.key_count; k += lanes) {
    keep_bit(a.visible + k, left_by_mask(sequence.padding, sequence.padding_stride, sequence.mask_hides, a.key + k, a.key_count - k), ~0u);
  }
}

// Clears the bits of one lane where its additive mask is -inf. Returns whether the mask has something else than 0 and -inf, or `adds`.
bool hide_infinite(const VisibleArguments& a, std::int64_t n, bool adds) {
  const LaneRules& lane = a.lanes[n];
  for (std::int64_t k = 0; k < a.key_count; k += lanes) {
    prefetch(lane.additive + (a.key + k) * a.sequence.additive_stride + key_block);
    const Vector x = load_additive(lane, a.sequence, a.key + k, a.key_count - k);
    const Mask left = unlike(x, broadcast(-__builtin_inff()));
    adds = adds || any(both(left, unlike(x, zero())));
    keep_bit(a.visible + k, left, 1u << n);
  }
  return adds;
}

// Clears, from the root's position on, the bits of the keys that are neither a lane's node nor one of its ancestors. A tree's parents come
// before their children: a lane walks up to its first ancestor in the block, or takes that of its parent's lane; from there on, a key
// hands its lanes to its parent, 32 at a time. (Each lane walking all the way, a chain of 1024 took 12 times causal's time.)
ATTEND_NOINLINE void hide_strangers(const VisibleArguments& a) {
  const std::int64_t* const parents = a.lanes[0].parents;
  const std::int64_t root = a.lanes[0].position - a.lanes[0].node - a.key, stride = a.sequence.parent_stride, count = a.key_count;
  if (root >= count) return;
  std::uint32_t seen[key_block] = {};
  std::int64_t entries[32];  // the first node of each lane's way up that is not behind the block
  for (std::int64_t n = 0; n < a.lane_count; ++n) {
    std::int64_t node = a.lanes[n].node;
    if (root + node >= count) {
      const std::int64_t parent = parents[node * stride], lane = n - (node - parent);
      const bool known = lane >= 0 && lane < n && a.lanes[lane].node == parent && root + parent >= count;
      node = known ? entries[lane] : parent;
      while (root + node >= count) node = parents[node * stride];
    }
    entries[n] = node;
    if (node >= 0 && root + node >= 0) seen[root + node] |= 1u << n;
  }
  const std::int64_t first = root > 0 ? root : 0;
  for (std::int64_t k = count - 1; k >= first; --k) {
    a.visible[k] &= seen[k];
    if (seen[k] == 0) continue;  // maybe behind the last node
    const std::int64_t parent = parents[(k - root) * stride];
    if (parent >= 0 && root + parent >= 0) seen[root + parent] |= seen[k];
  }
}

int fill_visible(const VisibleArguments* arguments) {
  const VisibleArguments& a = *arguments;
  std::uint32_t* const visible = a.visible;
  const std::uint32_t used = 0xffffffffu >> (32 - a.lane_count);
  const std::int64_t count = a.key_count;
  for (std::int64_t k = 0; k < count; ++k) visible[k] = 0;
  for (std::int64_t n = 0; n < a.lane_count; ++n) {
    const LaneRules& lane = a.lanes[n];
    const std::int64_t begin = lane.begin - a.key, end = lane.end - a.key;
    if (begin >= end || begin >= count || end <= 0) continue;
    visible[begin > 0 ? begin : 0] ^= 1u << n;
    if (end < count) visible[end] ^= 1u << n;
  }
  std::uint32_t sum = 0;
  for (std::int64_t k = 0; k < count; ++k) visible[k] = sum ^= visible[k];
  if (a.lanes[0].parents != nullptr) hide_strangers(a);
  bool adds = false;
  for (std::int64_t n = 0; n < a.lane_count; ++n) {
    if (n % 8 == 0 && a.lanes[n].mask != nullptr) hide_masked(a, n);
    if (a.lanes[n].additive != nullptr) adds = hide_infinite(a, n, adds);
  }
  if (a.sequence.padding != nullptr) hide_padding(a);
  std::uint32_t some = 0, every = used;
  for (std::int64_t k = 0; k < count; ++k) {
    some |= visible[k] & used;
    every &= visible[k];
  }
  *a.seen |= some;
  return (some != 0 ? block_sees : 0) | (every != used ? block_hides : 0) | (adds ? block_adds : 0);
}
