// HeatCells: the maps of a picture, coarser where they have many tokens, on one scale.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "heat_picture.h"

namespace attend::tool {

struct HeatCells {
  struct Cell {
    float weight = 0.0f;  // the largest of a square of weights; NaN if one of them is
    bool hidden = false;  // all of them are
  };

  std::size_t step;      // tokens a cell
  std::size_t count;     // cells a side
  float largest = 0.0f;  // weight of all maps
  bool some_hidden = false, some_invalid = false;

  /// At most so many cells a side.
  HeatCells(const HeatPicture& picture, std::size_t most);

  const Cell& at(std::size_t map, std::size_t row, std::size_t column) const { return maps_[map][row * count + column]; }
  /// 0 to 1, where 1 is the largest weight; NaN where the weight is.
  float shade(const Cell& cell) const { return largest > 0.0f ? cell.weight / largest : cell.weight; }
  /// "each cell is the largest of 2 x 2 weights"; empty where each is one.
  std::string remark() const;

 private:
  std::vector<std::vector<Cell>> maps_;
};

}  // namespace attend::tool
