// HeatPicture: attention weights as maps of shades, for terminals and as SVG.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace attend::tool {

/// What each token attends to: a row for each query, a column for each key.
struct HeatMap {
  std::string title;           // stands above it on a sheet of several
  std::vector<float> weights;  // [query][key], one for each pair of tokens
  std::vector<bool> hidden;    // [query][key]: whether the query may not see the key; empty: it sees all
};

/// One map, or a sheet of several of the same tokens, whose shades mean the same in all.
struct HeatPicture {
  std::string title;
  std::vector<std::string> tokens;  // any bytes: they are escaped
  std::vector<HeatMap> maps;

  /// The token that a row's largest weight is for.
  std::size_t strongest(const HeatMap& map, std::size_t row) const;

  /// At most `columns` columns, as long as they are not too few for anything. Each row of a single map has the key of its largest
  /// weight beside it; several maps stand side by side as they fit. Long texts are shown coarser: a cell is then the largest weight
  /// of a square of them, hidden where all are.
  std::string for_terminal(int columns, bool colours) const;
  /// On a white ground of its own.
  std::string as_svg() const;
};

/// A weight in few letters: "0.43", "0.0012".
std::string weight_text(float weight);

/// What a picture shows of a token: the text, escaped, with its end cut off if it is long.
std::string token_label(const std::string& token);

}  // namespace attend::tool
