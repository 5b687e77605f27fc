// HeatPicture as SVG, on a white ground of its own: viewers may be dark or light.
#include <algorithm>
#include <cmath>

#include "heat_cells.h"
#include "heat_picture.h"
#include "text.h"

namespace attend::tool {

namespace {

constexpr double margin = 16.0, letter = 8.0;  // around all; the width of one, of 12 to the line
constexpr int most_cells = 200, most_of_all_maps = 80000;

/// From white to dark blue.
std::string shaded(float shade) {
  if (std::isnan(shade)) return "red";
  const auto mix = [&](int darkest) { return static_cast<int>(std::lround(255.0f + shade * static_cast<float>(darkest - 255))); };
  return format("#%02x%02x%02x", mix(8), mix(48), mix(107));
}

/// Without its end: "/>", or ">", what is in it, and "</rect>".
std::string rectangle(double x, double y, double width, double height, const std::string& fill) {
  return format("<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"", x, y, width, height) + fill + "\"";
}

/// Elements, and how wide what they show is.
struct Drawing {
  std::string body;
  double width = 0.0;

  void text(double x, double y, const std::string& text, int size = 12) {
    width = std::max(width, x + letter * size / 12.0 * display_width(terminal_text(text)));
    body += format("<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\">", x, y, size) + xml_text(text) + "</text>\n";
  }
  /// Around what is drawn there, as much of which may be white.
  void frame(double x, double y, double w, double h) { body += rectangle(x, y, w, h, "none") + " stroke=\"#aaaaaa\"/>\n"; }
  /// Where it stands is its middle ("middle") or its end ("end"); with a turn of -90 it reads upwards.
  void anchored(const char* anchor, double x, double y, int turn, int size, const std::string& text) {
    body += format("<text transform=\"translate(%.1f %.1f)%s\" font-size=\"%d\" text-anchor=\"%s\">", x, y, turn == 0 ? "" : " rotate(-90)", size, anchor) +
            xml_text(text) + "</text>\n";
  }
};

}  // namespace

std::string HeatPicture::as_svg() const {
  const bool sheet = maps.size() > 1;
  const double heads = static_cast<double>(maps.size());
  const HeatCells cells(*this, static_cast<std::size_t>(std::min<double>(most_cells, std::max(2.0, std::sqrt(most_of_all_maps / heads)))));
  const double count = static_cast<double>(std::max<std::size_t>(cells.count, 1));
  const double side = sheet ? std::clamp(std::floor(168.0 / count), 2.0, 24.0) : std::clamp(960.0 / count, 4.0, 24.0);
  const double map = side * count;
  // Labels stand beside every cell, or every so many that they do not touch.
  const std::size_t every = static_cast<std::size_t>(std::ceil(9.0 / side));
  const int label_size = side * static_cast<double>(every) < 14.0 ? 10 : 12;
  int label_width = 0, title_width = 0;
  for (std::size_t cell = 0; cell < cells.count; cell += every) label_width = std::max(label_width, display_width(token_label(tokens[cell * cells.step])));
  for (const HeatMap& one : maps) title_width = std::max(title_width, display_width(one.title));
  const double labels = letter * label_size / 12.0 * (label_width + 1), title_height = sheet ? 20.0 : 0.0;

  // Above the maps: the title, the axis of keys, in the first row titles over labels. Left of them: the axis of queries, labels.
  const std::size_t across = static_cast<std::size_t>(std::ceil(std::sqrt(heads))), rows = (maps.size() + across - 1) / across;
  const double step_x = std::max(map, letter * title_width) + margin, step_y = map + title_height + margin / 2.0;
  const double left = margin + 12.0 + labels, top = 56.0 + title_height + labels;
  const double all_x = static_cast<double>(across - 1) * step_x + map, all_y = static_cast<double>(rows - 1) * step_y + map;
  Drawing drawing;
  drawing.width = left + static_cast<double>(across - 1) * step_x + std::max(map, letter * title_width);
  drawing.text(margin, 22.0, title, 14);
  drawing.anchored("middle", left + all_x / 2.0, 44.0, 0, 12, "key");
  drawing.anchored("middle", margin + 8.0, top + all_y / 2.0, -90, 12, "query");
  for (std::size_t number = 0; number < maps.size(); ++number) {
    const bool first_row = number < across, first_column = number % across == 0;
    const double x = left + static_cast<double>(number % across) * step_x, y = top + static_cast<double>(number / across) * step_y;
    if (sheet) drawing.text(x, y - (first_row ? labels : 0.0) - 6.0, maps[number].title);
    for (std::size_t cell = 0; cell < cells.count; cell += every) {
      const double middle = side * (static_cast<double>(cell) + 0.5) + label_size / 3.0;
      const std::string label = token_label(tokens[cell * cells.step]);
      if (first_column) drawing.anchored("end", x - 6.0, y + middle, 0, label_size, label);
      if (first_row) drawing.anchored("start", x + middle, y - 6.0, -90, label_size, label);
    }
    for (std::size_t row = 0; row < cells.count; ++row) {
      for (std::size_t column = 0; column < cells.count; ++column) {
        const HeatCells::Cell& cell = cells.at(number, row, column);
        drawing.body += rectangle(x + side * static_cast<double>(column), y + side * static_cast<double>(row), side, side, cell.hidden ? "#cccccc" : shaded(cells.shade(cell))) +
                        "><title>" + xml_text(tokens[row * cells.step]) + " &#8594; " + xml_text(tokens[column * cells.step]) +
                        (cell.hidden ? ": hidden" : format(": %.3g", static_cast<double>(cell.weight))) + "</title></rect>\n";
      }
    }
    drawing.frame(x, y, side * static_cast<double>(cells.count), side * static_cast<double>(cells.count));
  }

  // Below them: the scale, from 0 to the largest weight, and what else cells may be.
  constexpr int scale_cells = 20;
  double line = top + all_y + 26.0;
  drawing.text(margin, line, "0");
  for (int i = 0; i < scale_cells; ++i) drawing.body += rectangle(28.0 + 6.0 * i, line - 10.0, 6.0, 12.0, shaded(static_cast<float>(i) / (scale_cells - 1))) + "/>\n";
  drawing.frame(28.0, line - 10.0, 6.0 * scale_cells, 12.0);
  drawing.text(34.0 + 6.0 * scale_cells, line, weight_text(cells.largest) + " attention weight");
  std::string rest = cells.some_hidden ? "grey: hidden" : "";
  for (const std::string& remark : {std::string(cells.some_invalid ? "red: not a number" : ""), cells.remark()}) {
    if (!remark.empty()) rest += (rest.empty() ? "" : "; ") + remark;
  }
  if (!rest.empty()) drawing.text(margin, line += 20.0, rest);
  return format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" font-family=\"monospace\" font-size=\"12\" fill=\"black\">\n",
                std::ceil(drawing.width + margin), line + margin) +
         "<title>" + xml_text(title) + "</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n" + drawing.body + "</svg>\n";
}

}  // namespace attend::tool
