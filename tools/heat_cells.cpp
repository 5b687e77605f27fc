// HeatCells: the maps of a picture, coarser where they have many tokens, on one scale.
#include "heat_cells.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "text.h"

namespace attend::tool {

HeatCells::HeatCells(const HeatPicture& picture, std::size_t most) {
  const std::size_t n = picture.tokens.size();
  step = std::max<std::size_t>(1, (n + most - 1) / most);
  count = (n + step - 1) / step;
  for (const HeatMap& map : picture.maps) {
    std::vector<Cell> cells(count * count, {0.0f, !map.hidden.empty()});
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        Cell& cell = cells[i / step * count + j / step];
        const float weight = map.weights[i * n + j];
        if (cell.hidden && !map.hidden[i * n + j]) cell.hidden = false;
        if (!(weight <= cell.weight)) cell.weight = weight;  // NaN stays
        if (weight > largest) largest = weight;
      }
    }
    for (const Cell& cell : cells) {
      some_hidden = some_hidden || cell.hidden;
      some_invalid = some_invalid || std::isnan(cell.weight);
    }
    maps_.push_back(std::move(cells));
  }
}

std::string HeatCells::remark() const {
  return step == 1 ? "" : format("each cell is the largest of %zu x %zu weights", step, step);
}

}  // namespace attend::tool
