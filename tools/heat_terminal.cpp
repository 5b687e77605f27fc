// HeatPicture on a terminal, whose ground may be dark or light: cells in colours have a ground of their own.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "heat_cells.h"
#include "heat_picture.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr int widest_of_sheet = 32;  // cells of a map on a sheet, which has many

std::string repeated(const char* letter, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += letter;
  return text;
}

/// The text in two colours of the 256-colour palette.
std::string coloured(int ground, int letters, const std::string& text) {
  return format("\033[38;5;%d;48;5;%dm", letters, ground) + text + "\033[0m";
}

std::string shaded(float shade, int width, bool colours) {
  if (colours) {  // from dark to bright
    constexpr int ramp[] = {233, 17, 18, 54, 90, 126, 162, 198, 203, 209, 215, 221, 228, 230};
    const int ground = ramp[std::lround(shade * static_cast<float>(std::size(ramp) - 1))];
    return coloured(ground, ground, repeated(" ", width));
  }
  constexpr const char* ramp[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
  return repeated(ramp[std::min(4, static_cast<int>(shade * 5.0f))], width);
}

std::string drawn(const HeatCells& cells, const HeatCells::Cell& cell, int width, bool colours) {
  if (!cell.hidden && !std::isnan(cell.weight)) return shaded(cells.shade(cell), width, colours);
  const std::string letters = repeated(cell.hidden ? "\u00b7" : "?", width);
  if (!colours) return letters;
  return cell.hidden ? coloured(240, 252, letters) : coloured(160, 231, letters);
}

/// Numbers of tokens over every fifth or tenth cell, as far as they fit above the cells and the right edge of their frame.
std::string numbers_above(const HeatCells& cells, int cell_width, int digits) {
  const std::size_t every = cell_width == 2 && digits < 4 ? 5 : 10, width = static_cast<std::size_t>(cell_width);
  std::string text;
  for (std::size_t cell = 0; cell < cells.count; cell += every) {
    const std::string number = std::to_string(cell * cells.step);
    if (cell * width + number.size() > cells.count * width + 1) break;
    text.resize(cell * width, ' ');
    text += number;
  }
  return text;
}

std::string without_blank_end(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

std::string HeatPicture::for_terminal(int columns, bool colours) const {
  const bool sheet = maps.size() > 1;
  const int n = static_cast<int>(tokens.size()), digits = static_cast<int>(std::to_string(n).size());
  std::vector<std::string> labels;
  int label_width = 0, title_width = 0;
  for (const std::string& token : tokens) {
    labels.push_back(token_label(token));
    label_width = std::max(label_width, display_width(labels.back()));
  }
  for (const HeatMap& map : maps) title_width = std::max(title_width, display_width(map.title));

  // A row: the query's number and label, for each map " |cells|", and behind a single one " > label 0.43".
  constexpr int frame = 3;
  const int before = digits + 1 + label_width, behind = sheet ? 0 : label_width + 8;
  const int room = std::max(16 + frame, columns - before - behind);
  const int most = sheet ? std::min(widest_of_sheet, room - frame) : room - frame;
  const HeatCells cells(*this, static_cast<std::size_t>(most));
  const auto width_of_map = [&](int cell_width) { return std::max(static_cast<int>(cells.count) * cell_width, title_width) + frame; };
  const int wished = std::min(static_cast<int>(maps.size()), 4);  // side by side
  const int cell_width = width_of_map(2) * wished <= room ? 2 : 1;  // 2: as wide as high
  const int map_width = width_of_map(cell_width);
  const std::size_t in_a_strip = static_cast<std::size_t>(std::max(1, room / map_width));

  std::string text = terminal_text(title) + "\n";
  if (cells.step > 1) text += cells.remark() + "\n";
  const std::string blank(static_cast<std::size_t>(before), ' ');
  for (std::size_t first = 0; first < maps.size(); first += in_a_strip) {
    const std::size_t end = std::min(maps.size(), first + in_a_strip);
    if (first > 0) text += "\n";
    const auto line_above = [&](const auto& of_map) {
      std::string line = blank;
      for (std::size_t map = first; map < end; ++map) {
        const std::string part = "  " + of_map(maps[map]);
        line += part + std::string(static_cast<std::size_t>(std::max(0, map_width - display_width(part))), ' ');
      }
      text += without_blank_end(line);
    };
    if (sheet) line_above([](const HeatMap& map) { return map.title; });
    line_above([&](const HeatMap&) { return numbers_above(cells, cell_width, digits); });
    for (std::size_t row = 0; row < cells.count; ++row) {
      const std::size_t token = row * cells.step;
      std::string line = format("%*zu %*s", digits, token, label_width - display_width(labels[token]), "") + labels[token];
      for (std::size_t map = first; map < end; ++map) {
        line += " |";
        for (std::size_t column = 0; column < cells.count; ++column) line += drawn(cells, cells.at(map, row, column), cell_width, colours);
        line += "|" + std::string(static_cast<std::size_t>(map_width - frame - static_cast<int>(cells.count) * cell_width), ' ');
      }
      if (!sheet && cells.step == 1) {
        const std::size_t key = strongest(maps[first], row);
        line += " > " + labels[key] + " " + weight_text(maps[first].weights[row * tokens.size() + key]);
      }
      text += without_blank_end(line);
    }
  }

  text += "row: query, column: key\nscale: 0 |";
  constexpr int scale_cells = 10;
  for (int i = 0; i < scale_cells; ++i) text += shaded(static_cast<float>(i) / (scale_cells - 1), 1, colours);
  text += "| " + weight_text(cells.largest);
  if (cells.some_hidden) text += "; dots: hidden";
  if (cells.some_invalid) text += "; ?: not a number";
  return text + "\n";
}

}  // namespace attend::tool
