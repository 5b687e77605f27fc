// Finds products in lists of them.
#include "base/cpu.h"
#include "data/low_precision.h"

namespace attend {

const Product* usable_of(const Products* const* lists, Isa isa, int index) {
  for (; (*lists)->list != nullptr; ++lists) {
    if ((*lists)->isa != isa) continue;
    for (int i = 0; i < (*lists)->count; ++i) {
      const Product& product = (*lists)->list[i];
      if ((cpu_features() & product.features) == product.features && index-- == 0) return &product;
    }
  }
  return nullptr;
}

const Product* find_of(const Products* const* lists, WeightType weights, Arithmetic arithmetic, Isa isa) {
  for (int i = 0; const Product* product = usable_of(lists, isa, i); ++i) {
    if (product->weights == weights && product->arithmetic == arithmetic) return product;
  }
  return nullptr;
}

}  // namespace attend
