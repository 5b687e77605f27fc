"""attend beside PyTorch, ONNX Runtime, OpenVINO and ncnn: outputs compared, then timed in rounds; a table, JSON, a picture."""
import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time

import isa_limits

MODULES = ["with_attend", "with_torch", "with_onnxruntime", "with_openvino", "with_ncnn"]
TOLERANCE = 1e-4  # of the largest output, in float32
LARGEST_ERROR = 0.1  # of low precision: root of the mean square


class Contender:
    def __init__(self, module, kind=""):
        self.module, self.kind = module, kind
        self.name = module.NAME + (" " + kind if kind else "")

    def forms(self, buffers, threads):
        return self.module.forms(buffers, threads, *([self.kind] if self.kind else []))


def contenders_of(isa):
    """attend, then each peer that can be imported and kept to the ISA."""
    modules = isa_limits.limit(MODULES) if isa == "avx2" else MODULES
    for name in MODULES:
        if name not in modules:
            print("left out: %s: it cannot be kept to AVX2" % name[len("with_"):])
    if isa == "avx2" and not isa_limits.cpu_has_avx512():
        print("this CPU has no AVX-512: --isa avx2 changes nothing")
    found = []
    for name in modules:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if name == "with_attend":
                raise
            print("left out: %s: %s" % (name[len("with_"):], error), flush=True)
            continue
        found.append(Contender(module))
        if name == "with_openvino":
            found.append(Contender(module, module.STATIC))
    return found


def refuse(buffers, contender, form, output, expected):
    """Stops where an output is not what it has to be: attend's, in float32, or near the float64 result."""
    import exact
    import numpy as np
    if buffers.precision == "f32":
        limit = TOLERANCE * np.abs(expected).max()
        difference, of = np.abs(output.reshape(expected.shape) - expected).max(), "attend"
    else:
        limit = LARGEST_ERROR
        difference, of = exact.layer(buffers).error(output), "the float64 result"
    if not difference <= limit:
        sys.exit("%s: %s, %s: differs from %s by %g" % (buffers.case.name, contender.name, form, of, difference))


def prepare(contender, buffers, threads, expected):
    """A contender's fastest form, (name, call), or None; each form's output is compared, but for attend's own in float32."""
    calls = {}
    for form, make in contender.forms(buffers, threads).items():
        try:
            call = make()
            output = call.output()
        except Exception as error:  # of whatever kind a peer's are
            if contender.module.DISTRIBUTION is None:
                raise
            print("left out: %s, %s: %s" % (contender.name, form, str(error).strip().splitlines()[0]), flush=True)
            continue
        if expected is not None or buffers.precision != "f32":
            refuse(buffers, contender, form, output, expected)
        calls[form] = call
    if len(calls) > 1:
        times = {form: min(call.time(0.05) for _ in range(3)) for form, call in calls.items()}
        calls = {min(times, key=times.get): calls[min(times, key=times.get)]}
    return next(iter(calls.items()), None)


def measure_case(case, contenders, options):
    """One case's row of the report."""
    import cases
    import exact
    buffers = cases.Buffers(case)
    prepared, expected = {}, None
    for contender in contenders:
        made = prepare(contender, buffers, options.threads, expected)
        if made is not None:
            prepared[contender.name] = made
        if expected is None:
            expected = made[1].output().copy()
    times = {name: [] for name in prepared}
    order = list(prepared)
    for _ in range(options.rounds):
        for name in order:
            if options.threads > 1:
                time.sleep(0.05)  # until the threads of the one before no longer spin
            times[name].append(prepared[name][1].time(options.seconds) * 1e6)
        order.append(order.pop(0))  # each goes first in its turn
    ours = times[contenders[0].name]
    row = {"case": case.name, "precision": buffers.precision, "contenders": {}, "best_peer": None, "best_ratio": None}
    for name, (form, call) in prepared.items():
        ratios = [theirs / our for theirs, our in zip(times[name], ours)]
        row["contenders"][name] = {"form": form, "us_min": min(times[name]), "us": times[name],
                                   "ratio": statistics.median(ratios), "ratio_lowest": min(ratios), "ratio_highest": max(ratios)}
        if buffers.precision != "f32":
            row["contenders"][name]["error"] = exact.layer(buffers).error(call.output())
    peers = {c.name: row["contenders"][c.name]["ratio"] for c in contenders[1:] if c.name in prepared}
    if peers:
        row["best_peer"] = min(peers, key=peers.get)
        row["best_ratio"] = peers[row["best_peer"]]
    return row


def measure_calls(contenders, options):
    """What calls cost: an empty one of each; the seed's case from C++."""
    import with_attend
    from timing import fastest
    empty = {c.name: c.module.empty_call(options.threads) for c in contenders if not c.kind}
    times = {name: min(fastest(call.run, options.seconds) for _ in range(options.rounds)) * 1e6 for name, call in empty.items()}
    seed = with_attend.InBench(with_attend.cases.ALL[0], options.threads)
    return {"empty_us": times, "seed_from_cpp_us": min(seed.time(options.seconds) for _ in range(options.rounds)) * 1e6}


def print_head(contenders):
    names = "".join("%24s" % c.name for c in contenders[1:])
    print("%-24s %17s" % ("case", contenders[0].name) + names + "   fastest peer / attend")


def print_row(row, contenders):
    """Times, ratios to attend's, and in low precision errors."""
    cells = []
    for contender in contenders:
        found = row["contenders"].get(contender.name)
        numbers = [] if found is None else ["%.1f" % found["us_min"]] + ["%.2f" % found["ratio"]] * (contender is not contenders[0])
        cells.append("  ".join(numbers + (["%.2f %%" % (100 * found["error"])] if found and "error" in found else [])) or "-")
    best = row["contenders"].get(row["best_peer"])
    summary = "   %.2f (%.2f to %.2f), %s" % (best["ratio"], best["ratio_lowest"], best["ratio_highest"], row["best_peer"]) if best else ""
    print("%-24s %17s" % (row["case"], cells[0]) + "".join("%24s" % cell for cell in cells[1:]) + summary, flush=True)


def print_calls(calls):
    print("\nus of an empty call from Python: " + ", ".join("%s %.2f" % pair for pair in calls["empty_us"].items()))
    print("us of attend's seed from C++: %.2f" % calls["seed_from_cpp_us"])


def print_processes(rows):
    print("\n%-26s %15s %10s %14s %14s %14s" % (
        "new process, bert-128", "first call, ms", "peak, MB", "on disk, MB", "us, fastest", "not limited"))
    for row in rows:
        print("%-26s %15.1f %10.1f" % (row["name"], row["first_call_ms"], row["peak_mb"]) +
              "".join("%15s" % ("%.2f" % row[key] if key in row else "-") for key in ("disk_mb", "us", "us_unlimited")))


def machine_name():
    with open("/proc/cpuinfo") as file:
        name = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "CPU")
    return "%s, %d CPUs" % (name, os.cpu_count())


def parse():
    parser = argparse.ArgumentParser(prog="bench_peers", description=__doc__)
    parser.add_argument("--case", help="these cases, NAME[,NAME]; default: all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each contender, case and round, at least; default: 0.2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--isa", choices=["best", "avx2"], default="best", help="avx2: all contenders that can be kept to AVX2")
    parser.add_argument("--cpu-time", action="store_true", help="the CPU time of the process: for a busy machine, with one thread")
    parser.add_argument("--machine", default=machine_name(), help="its name in the report")
    parser.add_argument("--json", help="writes the report there")
    parser.add_argument("--picture", help="draws the ratios there, as SVG; those of low precision into NAME_low_precision.svg")
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1 or (options.cpu_time and options.threads > 1):
        parser.error("--rounds and --threads are at least 1; --cpu-time goes with one thread")
    return options


def main():
    options = parse()
    contenders = contenders_of(options.isa)
    import cases
    import own_process
    import picture
    import timing
    import with_attend
    if options.cpu_time:
        timing.clock = time.process_time
    names = options.case.split(",") if options.case else [case.name for case in cases.ALL]
    unknown = set(names) - {case.name for case in cases.ALL}
    if unknown:
        sys.exit("no such case: " + ", ".join(sorted(unknown)))
    distributions = {c.module.DISTRIBUTION: None for c in contenders if c.module.DISTRIBUTION}
    report = {"machine": options.machine, "date": datetime.date.today().isoformat(), "threads": options.threads, "isa": options.isa,
              "rounds": options.rounds, "seconds": options.seconds,
              "versions": {name: importlib.metadata.version(name) for name in distributions}, "cases": []}
    print("%s; %d threads, %d rounds; us, fastest, ratio to attend, median of the rounds, and in low precision the error: the root of the "
          "mean square, as a share of the float64 result's" % (options.machine, options.threads, options.rounds))
    print_head(contenders)
    for case in cases.ALL:
        if case.name in names:
            report["cases"].append(measure_case(case, contenders, options))
            print_row(report["cases"][-1], contenders)
    report["calls"] = measure_calls(contenders, options)
    print_calls(report["calls"])
    modules = [c.module for c in contenders if not c.kind]
    report["processes"] = own_process.measure(modules, with_attend.BUILD, options.isa == "avx2")
    print_processes(report["processes"])
    if options.json:
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)
    if options.picture:
        picture.write(report, options.picture)


if __name__ == "__main__":
    main()
