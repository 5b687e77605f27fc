// HeatPicture: attention weights as maps of shades; heat_terminal.cpp and heat_svg.cpp draw them.
#include "heat_picture.h"

#include <algorithm>

#include "text.h"

namespace attend::tool {

std::size_t HeatPicture::strongest(const HeatMap& map, std::size_t row) const {
  const float* first = map.weights.data() + row * tokens.size();
  return static_cast<std::size_t>(std::max_element(first, first + tokens.size()) - first);
}

std::string weight_text(float weight) {
  return format(weight >= 0.01f || !(weight > 0.0f) ? "%.2f" : "%.2g", static_cast<double>(weight));
}

std::string token_label(const std::string& token) { return shortened(terminal_text(token), 16); }

}  // namespace attend::tool
