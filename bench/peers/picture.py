"""The picture: for each case, how many times as long the fastest peer takes. picture.py REPORT.json PICTURE.svg draws a report."""
import json
import sys
from html import escape

ROW, LEFT, WIDTH, RIGHT, TOP = 22, 210, 430, 150, 74

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .small { font-size: 12px; fill: #59636e; }
  .faster { fill: #1a7f6b; } .slower { fill: #bc4c00; } .grid { stroke: #d1d9e0; } .one { stroke: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; }
    .faster { fill: #3fb69d; } .slower { fill: #f0883e; } .grid { stroke: #3d444d; } .one { stroke: #f0f6fc; }
  }"""


def draw(report):
    rows = [case for case in report["cases"] if case["best_peer"] is not None]
    longest = max([1.0] + [case["best_ratio"] for case in rows])
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 50, 100) if longest / step <= 10)
    x = lambda ratio: LEFT + WIDTH * ratio / longest
    bottom = TOP + ROW * len(rows)
    width, height = LEFT + WIDTH + RIGHT, bottom + 50
    threads = "%d thread%s" % (report["threads"], "" if report["threads"] == 1 else "s")
    size = 'viewBox="0 0 %d %d" width="%d" height="%d"' % (width, height, width, height)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" %s role="img">' % size,
             "<title>Times of the fastest peer over those of attend</title>", "<style>%s\n</style>" % STYLE,
             text(16, 26, "Time of the fastest peer / time of attend", "title"),
             text(16, 46, "%s; float32, %s; %s" % (report["machine"], threads, report["date"]), "small")]
    for i in range(int(longest / step) + 1):
        ratio = i * step
        parts.append('<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (x(ratio), x(ratio), TOP - 6, bottom))
        parts.append(text(x(ratio), bottom + 16, "%g" % ratio, "small", "middle"))
    for i, case in enumerate(rows):
        y, ratio = TOP + ROW * i, case["best_ratio"]
        parts.append('<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>' % (
            "faster" if ratio >= 1 else "slower", LEFT, y, x(ratio) - LEFT, ROW - 6))
        parts.append(text(LEFT - 8, y + 13, case["case"], "", "end"))
        parts.append(text(x(ratio) + 6, y + 13, "%.2f  %s" % (ratio, case["best_peer"])))
    parts.append('<line class="one" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (x(1), x(1), TOP - 6, bottom))
    names = "; ".join("%s %s" % (name, version) for name, version in report["versions"].items())
    parts.append(text(16, bottom + 40, names + "; median of %d rounds" % report["rounds"], "small"))
    return "\n".join(parts) + "\n</svg>\n"


def text(x, y, words, kind="", anchor="start"):
    return '<text x="%.1f" y="%d" class="%s" text-anchor="%s">%s</text>' % (x, y, kind, anchor, escape(words))


if __name__ == "__main__":
    with open(sys.argv[1]) as source, open(sys.argv[2], "w") as target:
        target.write(draw(json.load(source)))
