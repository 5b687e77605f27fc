"""The picture: a panel an axis, the time of a unit of work at each point. picture.py REPORT.json PICTURE.svg [MACHINE] draws a report."""
import json
import math
import sys
import textwrap
from html import escape

COLUMNS, WIDTH, HEIGHT = 3, 330, 216                   # of panels, and of a panel's cell
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 56, 48              # from the cell's edges to the plot
HEAD = 84

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328; } .title { font-size: 16px; font-weight: 600; } .name { font-weight: 600; }
  .small { font-size: 11px; fill: #59636e; } .grid { stroke: #d1d9e0; stroke-width: 0.7; } .line { fill: none; stroke-width: 1.6; }
  .back { fill: #ffffff; }
  .isa0 { stroke: #0969da; } .isa1 { stroke: #1a7f6b; } .isa2 { stroke: #8250df; } .open { fill: #d1242f; }
  .known { fill: none; stroke: #9a6700; stroke-width: 1.4; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; } .grid { stroke: #3d444d; } .back { fill: #0d1117; }
    .isa0 { stroke: #58a6ff; } .isa1 { stroke: #3fb69d; } .isa2 { stroke: #bc8cff; }
    .open { fill: #ff6a69; } .known { stroke: #e3b341; }
  }"""


def draw(report, machine):
    axes = report["axes"]
    isas = list(axes[0]["us"])
    width, height = COLUMNS * WIDTH + 16, HEAD + HEIGHT * math.ceil(len(axes) / COLUMNS) + 24
    size = 'viewBox="0 0 %d %d" width="%d" height="%d"' % (width, height, width, height)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" %s role="img">' % size, "<title>Time of a unit of work along the axes of make bench-sweep</title>",
             "<style>%s\n</style>" % STYLE, '<rect class="back" width="100%" height="100%"/>',
             text(16, 26, "Picoseconds of a useful multiply-add, or of a byte that is read", "title"),
             text(16, 46, "%s; float32, one thread. The lower, the better; flat is without cliffs." % machine, "small")]
    x = 16
    for i, isa in enumerate(isas):
        parts += ['<line class="line isa%d" x1="%d" x2="%d" y1="64" y2="64"/>' % (i, x, x + 22), text(x + 28, 68, isa)]
        x += 100
    parts += [dot(x + 4, 64, False), text(x + 14, 68, "marked"), dot(x + 84, 64, True), text(x + 94, 68, "marked, for a known reason")]
    for index, axis in enumerate(axes):
        parts += panel(axis, isas, 8 + index % COLUMNS * WIDTH, HEAD + index // COLUMNS * HEIGHT)
    return "\n".join(parts) + "\n</svg>\n"


def panel(axis, isas, left, top):
    points, rows = axis["points"], {isa: [us / work * 1e6 for us, work in zip(axis["us"][isa], axis["work"])] for isa in isas}
    numbers = [float(point) for point in points] if all(point.isdigit() for point in points) else None
    dense = numbers and sorted(numbers) == list(range(int(min(numbers)), int(max(numbers)) + 1))
    x0, x1, y0, y1 = left + LEFT, left + WIDTH - RIGHT, top + HEIGHT - BOTTOM, top + TOP
    if numbers and not dense:
        x = scale([math.log(number) for number in numbers], x0, x1)
    else:
        x = scale(numbers or list(range(len(points))), x0, x1)
    lowest, highest = min(map(min, rows.values())), max(map(max, rows.values()))
    logarithmic = highest > 6 * lowest
    low, high = (math.log(lowest * 0.9), math.log(highest * 1.1)) if logarithmic else (0, highest * 1.08)
    y = lambda value: y0 - (y0 - y1) * ((math.log(value) if logarithmic else value) - low) / (high - low)
    parts = [text(left + 8, top + 16, axis["axis"], "name")] + lines(left + 8, top + 31, axis["what"])
    for value in ticks(lowest, highest, logarithmic):
        parts.append('<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>' % (x0, x1, y(value), y(value)))
        parts.append(text(x0 - 6, y(value) + 4, "%g" % value, "small", "end"))
    for i in labelled(numbers, dense, len(points)):
        name = points[i] if numbers else str(i + 1)
        parts.append(text(x[i], y0 + 14, name, "small", "middle"))
    if not numbers:
        parts += lines(left + 8, y0 + 28, ", ".join("%d %s" % (i + 1, point) for i, point in enumerate(points)))
    for i, isa in enumerate(isas):
        parts.append('<polyline class="line isa%d" points="%s"/>' % (i, " ".join("%.1f,%.1f" % (a, y(b)) for a, b in zip(x, rows[isa]))))
    drawn = {}
    for mark in axis["marks"]:  # an open one hides known ones at its point
        at = (points.index(mark["point"]), mark["isa"])
        drawn[at] = drawn.get(at, True) and mark["reason"] is not None
    return parts + [dot(x[point], y(rows[isa][point]), known) for (point, isa), known in drawn.items()]


def scale(values, begin, end):
    return [begin + (end - begin) * (value - min(values)) / (max(values) - min(values)) for value in values]


def ticks(lowest, highest, logarithmic):
    if logarithmic:
        steps = [digit * 10.0 ** power for power in range(-1, 6) for digit in (1, 2, 5)]
        return [step for step in steps if lowest * 0.9 <= step <= highest * 1.1]
    step = next(digit * 10.0 ** power for power in range(-3, 6) for digit in (1, 2, 5) if highest / (digit * 10.0 ** power) <= 5)
    return [i * step for i in range(int(highest / step) + 1)]


def labelled(numbers, dense, count):
    """The indices of the points that get a label: those that are far enough apart."""
    if not numbers:
        return range(count)
    if dense:
        step = max(1, math.ceil(count / 8))
        return [i for i, number in enumerate(numbers) if number % step == 0 or number == 1]
    return [i for i, number in enumerate(numbers) if number >= 1 and math.log2(number) % (1 if max(numbers) / min(numbers) < 600 else 2) == 0]


def dot(x, y, known):
    return '<circle class="%s" cx="%.1f" cy="%.1f" r="3"/>' % ("known" if known else "open", x, y)


def lines(x, y, words):
    return [text(x, y + 13 * i, line, "small") for i, line in enumerate(textwrap.wrap(words, 54))]


def text(x, y, words, kind="", anchor="start"):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (x, y, kind, anchor, escape(words))


if __name__ == "__main__":
    with open(sys.argv[1]) as source, open(sys.argv[2], "w") as target:
        loaded = json.load(source)
        target.write(draw(loaded, sys.argv[3] if len(sys.argv) > 3 else loaded["machine"]))
