"""The pictures: for each case, how many times as long the fastest peer takes; in low precision, each peer, with its error.

picture.py REPORT.json PICTURE.svg draws a report: the second picture, where it has cases for it, is PICTURE_low_precision.svg."""
import json
import os
import sys
from html import escape

ROW, LEFT, WIDTH, RIGHT, TOP = 22, 210, 430, 150, 74  # LEFT and RIGHT: at least
LETTER = 7

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; } .small { font-size: 12px; fill: #59636e; }
  .faster { fill: #1a7f6b; } .slower { fill: #bc4c00; } .grid { stroke: #d1d9e0; } .one { stroke: #1f2328; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; } .small { fill: #9198a1; }
    .faster { fill: #3fb69d; } .slower { fill: #f0883e; } .grid { stroke: #3d444d; } .one { stroke: #f0f6fc; }
  }"""


def write(report, path):
    float32 = [case for case in report["cases"] if case["precision"] == "f32"]
    low = [case for case in report["cases"] if case["precision"] != "f32"]
    root, extension = os.path.splitext(path)
    for cases, draw_cases, target in ((float32, fastest_peers, path), (low, all_peers, root + "_low_precision" + extension)):
        if cases:
            with open(target, "w") as file:
                file.write(draw_cases(report, cases))


def fastest_peers(report, cases):
    bars = [(case["case"], case["best_ratio"], case["best_peer"]) for case in cases if case["best_peer"] is not None]
    return draw(report, "Time of the fastest peer / time of attend", "float32", bars)


def all_peers(report, cases):
    """Peers in the order of their times."""
    bars = []
    for case in cases:
        (_, ours), *peers = case["contenders"].items()
        name = "%s, error %.2f %%" % (case["case"], 100 * ours["error"])
        for peer, found in sorted(peers, key=lambda pair: pair[1]["ratio"]):
            bars.append((name, found["ratio"], "%s, %.2f %%" % (peer, 100 * found["error"])))
            name = ""
    return draw(report, "Time of a peer / time of attend, and their errors", "low precision", bars)


def draw(report, title, precision, bars):
    """bars: name, ratio, words behind it."""
    longest = max([1.0] + [ratio for _, ratio, _ in bars])
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 50, 100) if longest / step <= 10)
    left = max([LEFT] + [LETTER * (len(name) + 4) for name, _, _ in bars])
    right = max([RIGHT] + [LETTER * (len(words) + 8) for _, _, words in bars])
    x = lambda ratio: left + WIDTH * ratio / longest
    bottom = TOP + ROW * len(bars)
    width, height = left + WIDTH + right, bottom + 50
    threads = "%d thread%s" % (report["threads"], "" if report["threads"] == 1 else "s")
    size = 'viewBox="0 0 %d %d" width="%d" height="%d"' % (width, height, width, height)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" %s role="img">' % size,
             "<title>%s</title>" % title, "<style>%s\n</style>" % STYLE,
             text(16, 26, title, "title"),
             text(16, 46, "%s; %s, %s; %s" % (report["machine"], precision, threads, report["date"]), "small")]
    for i in range(int(longest / step) + 1):
        ratio = i * step
        parts.append('<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (x(ratio), x(ratio), TOP - 6, bottom))
        parts.append(text(x(ratio), bottom + 16, "%g" % ratio, "small", "middle"))
    for i, (name, ratio, words) in enumerate(bars):
        y = TOP + ROW * i
        parts.append('<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>' % (
            "faster" if ratio >= 1 else "slower", left, y, x(ratio) - left, ROW - 6))
        parts.append(text(left - 8, y + 13, name, "", "end"))
        parts.append(text(x(ratio) + 6, y + 13, "%.2f  %s" % (ratio, words)))
    parts.append('<line class="one" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>' % (x(1), x(1), TOP - 6, bottom))
    names = "; ".join("%s %s" % (name, version) for name, version in report["versions"].items())
    parts.append(text(16, bottom + 40, names + "; median of %d rounds" % report["rounds"], "small"))
    return "\n".join(parts) + "\n</svg>\n"


def text(x, y, words, kind="", anchor="start"):
    return '<text x="%.1f" y="%d" class="%s" text-anchor="%s">%s</text>' % (x, y, kind, anchor, escape(words))


if __name__ == "__main__":
    with open(sys.argv[1]) as source:
        write(json.load(source), sys.argv[2])
