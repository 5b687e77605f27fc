// HeatPicture: attention weights as a map of shades, for terminals and as SVG.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace attend::tool {

/// What each token attends to: a row for each query, a column for each key.
struct HeatPicture {
  std::string title;
  std::vector<std::string> tokens;  // any bytes: they are escaped
  std::vector<float> weights;       // [query][key], one for each pair of tokens
  std::vector<bool> hidden;         // the same: keys that a query may not see; empty: none

  /// The token that a row's largest weight is for.
  std::size_t strongest(std::size_t row) const;

  /// A map of at most `columns` columns, each row with the key of its largest weight. Long texts
  /// are shown coarser: a cell is then the largest weight of a square of them, hidden where all are.
  std::string for_terminal(int columns, bool colours) const;
  std::string as_svg() const;
};

/// The columns of the terminal on standard output; 100 if it is none.
int terminal_columns();
/// Whether standard output is a terminal that may be sent colours (NO_COLOR is not set).
bool terminal_has_colours();

}  // namespace attend::tool
