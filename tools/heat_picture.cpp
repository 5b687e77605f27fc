// HeatPicture: attention weights as a map of shades, for terminals and as SVG.
#include "heat_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

#include "text.h"

namespace attend::tool {

namespace {

constexpr int widest_label = 16, widest_svg = 200;

/// The picture with squares of weights as one cell each.
struct Cells {
  std::size_t step;    // tokens a cell
  std::size_t count;   // cells a side
  std::vector<float> values;
  std::vector<bool> hidden;
  float largest = 0.0f;

  Cells(const HeatPicture& picture, std::size_t most) {
    const std::size_t n = picture.tokens.size();
    step = std::max<std::size_t>(1, (n + most - 1) / most);
    count = (n + step - 1) / step;
    values.assign(count * count, 0.0f);
    hidden.assign(count * count, !picture.hidden.empty());
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        const std::size_t at = i / step * count + j / step;
        float& cell = values[at];
        const float weight = picture.weights[i * n + j];
        if (hidden[at] && !picture.hidden[i * n + j]) hidden[at] = false;
        if (!(weight <= cell)) cell = weight;  // NaN stays
        if (weight > largest) largest = weight;
      }
    }
  }

  bool some_invalid() const {
    return std::any_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
  }
  bool some_hidden() const { return std::find(hidden.begin(), hidden.end(), true) != hidden.end(); }

  /// 0 to 1, where 1 is the largest of the picture; NaN where the weight is.
  float shade(std::size_t row, std::size_t column) const {
    const float value = values[row * count + column];
    return largest > 0.0f ? value / largest : value;
  }
};

std::string hidden_cell(int width, bool colours) {
  std::string dots;
  for (int i = 0; i < width; ++i) dots += "\u00b7";
  return colours ? "\033[38;5;240m" + dots + "\033[0m" : dots;
}

std::string terminal_cell(float shade, int width, bool colours) {
  if (std::isnan(shade)) return std::string(static_cast<std::size_t>(width), '?');
  if (colours) {  // of the 256-colour palette, from dark to bright
    constexpr int ramp[] = {233, 17, 18, 54, 90, 126, 162, 198, 203, 209, 215, 221, 228, 230};
    constexpr int last = static_cast<int>(std::size(ramp)) - 1;
    return format("\033[48;5;%dm%*s\033[0m", ramp[static_cast<int>(std::lround(shade * last))], width, "");
  }
  constexpr const char* ramp[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
  std::string cell;
  for (int i = 0; i < width; ++i) cell += ramp[std::min(4, static_cast<int>(shade * 5.0f))];
  return cell;
}

/// From white to dark blue.
std::string svg_colour(float shade) {
  if (std::isnan(shade)) return "red";
  const auto mix = [&](int darkest) { return static_cast<int>(std::lround(255.0f + shade * static_cast<float>(darkest - 255))); };
  return format("#%02x%02x%02x", mix(8), mix(48), mix(107));
}

}  // namespace

std::size_t HeatPicture::strongest(std::size_t row) const {
  const float* first = weights.data() + row * tokens.size();
  return static_cast<std::size_t>(std::max_element(first, first + tokens.size()) - first);
}

std::string HeatPicture::for_terminal(int columns, bool colours) const {
  const std::size_t n = tokens.size();
  const int digits = static_cast<int>(std::to_string(n).size());
  std::vector<std::string> labels;
  int label_width = 0;
  for (const std::string& token : tokens) {
    labels.push_back(shortened(terminal_text(token), widest_label));
    label_width = std::max(label_width, display_width(labels.back()));
  }
  // A row: number, label, cells, and " > label 0.43".
  const int room = std::max(16, columns - 2 * label_width - digits - 12);
  const int cell_width = static_cast<int>(n) * 2 <= room ? 2 : 1;
  const Cells cells(*this, static_cast<std::size_t>(room / cell_width));
  std::string text = terminal_text(title) + "\n";
  if (cells.step > 1) text += format("each cell is the largest of %zu x %zu weights\n", cells.step, cells.step);
  // Column numbers, one over every fifth or tenth cell.
  std::string numbers(static_cast<std::size_t>(digits + label_width + 3), ' ');
  const std::size_t numbered = cell_width == 2 && digits < 4 ? 5 : 10;
  for (std::size_t cell = 0; cell < cells.count; cell += numbered) {
    text += cell == 0 ? numbers : "";
    text += format("%-*zu", static_cast<int>(numbered) * cell_width, cell * cells.step);
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  text += "\n";
  for (std::size_t row = 0; row < cells.count; ++row) {
    const std::size_t token = row * cells.step;
    text += format("%*zu %*s", digits, token, label_width - display_width(labels[token]), "") + labels[token] + " |";
    for (std::size_t cell = 0; cell < cells.count; ++cell) {
      text += cells.hidden[row * cells.count + cell] ? hidden_cell(cell_width, colours)
                                                     : terminal_cell(cells.shade(row, cell), cell_width, colours);
    }
    text += "|";
    if (cells.step == 1) {
      const std::size_t key = strongest(row);
      text += " > " + labels[key] + format(" %.2f", static_cast<double>(weights[row * n + key]));
    }
    text += "\n";
  }
  return text + format("row: query, column: key; strongest shade %.2f%s\n", static_cast<double>(cells.largest),
                       cells.some_hidden() ? "; dots: hidden" : "");
}

std::string HeatPicture::as_svg() const {
  const Cells cells(*this, widest_svg);
  const double side = std::max(4.0, std::min(24.0, 960.0 / static_cast<double>(std::max<std::size_t>(cells.count, 1))));
  const bool labelled = side >= 9.0;
  const auto label = [&](std::size_t cell) { return shortened(terminal_text(tokens[cell * cells.step]), widest_label); };
  int label_width = 0;
  for (std::size_t cell = 0; labelled && cell < cells.count; ++cell) label_width = std::max(label_width, display_width(label(cell)));
  const double labels = 8.0 * (label_width + 1);
  // Above the map: the title, the axis of keys, their labels; left of it: the axis of queries, their labels.
  const double left = 28.0 + labels, top = 56.0 + labels, map = side * static_cast<double>(cells.count), bottom = top + map;
  double width = left + map + 16.0;
  const auto text_at = [&](double x, double y, int size, const std::string& text) {
    width = std::max(width, x + 0.65 * size * display_width(terminal_text(text)) + 16.0);
    return format("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\">", x, y, size) + xml_text(text) + "</text>\n";
  };
  std::string body = text_at(16.0, 22.0, 14, title);
  body += format("<text x=\"%.1f\" y=\"44.0\" text-anchor=\"middle\">key</text>\n", left + map / 2.0);
  body += format("<text transform=\"translate(24.0 %.1f) rotate(-90)\" text-anchor=\"middle\">query</text>\n", top + map / 2.0);
  for (std::size_t cell = 0; labelled && cell < cells.count; ++cell) {
    const double middle = side * (static_cast<double>(cell) + 0.5) + 4.0;
    body += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", left - 6.0, top + middle) + xml_text(label(cell)) + "</text>\n";
    body += format("<text transform=\"translate(%.1f %.1f) rotate(-90)\">", left + middle, top - 6.0) + xml_text(label(cell)) + "</text>\n";
  }
  for (std::size_t row = 0; row < cells.count; ++row) {
    for (std::size_t column = 0; column < cells.count; ++column) {
      const float shade = cells.shade(row, column);
      const bool hidden = cells.hidden[row * cells.count + column];
      const std::string fill = hidden ? "#cccccc" : svg_colour(shade);
      body += format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"><title>",
                     left + side * static_cast<double>(column), top + side * static_cast<double>(row), side, side, fill.c_str());
      body += xml_text(tokens[row * cells.step]) + " &#8594; " + xml_text(tokens[column * cells.step]) +
              (hidden ? ": hidden" : format(": %.3f", static_cast<double>(cells.values[row * cells.count + column]))) + "</title></rect>\n";
    }
  }
  // Below the map: the scale, from 0 to the largest weight, and what else cells may be.
  constexpr int scale_cells = 20;
  double line = bottom + 26.0;
  body += text_at(16.0, line, 12, "0");
  for (int i = 0; i < scale_cells; ++i) {
    body += format("<rect x=\"%d\" y=\"%.1f\" width=\"6\" height=\"12\" fill=\"%s\"/>\n", 28 + 6 * i, line - 10.0,
                   svg_colour(static_cast<float>(i) / (scale_cells - 1)).c_str());
  }
  body += text_at(34.0 + 6.0 * scale_cells, line, 12, format("%.2f attention weight", static_cast<double>(cells.largest)));
  std::string rest;
  if (cells.some_hidden()) rest += "grey: hidden";
  if (cells.some_invalid()) rest += std::string(rest.empty() ? "" : "; ") + "red: not a number";
  if (cells.step > 1) rest += std::string(rest.empty() ? "" : "; ") + format("each cell is the largest of %zu x %zu weights", cells.step, cells.step);
  if (!rest.empty()) body += text_at(16.0, line += 20.0, 12, rest);
  return format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"monospace\" font-size=\"12\">\n",
                std::ceil(width), line + 16.0) +
         "<title>" + xml_text(title) + "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" + body + "</svg>\n";
}

int terminal_columns() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

bool terminal_has_colours() {
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

}  // namespace attend::tool
