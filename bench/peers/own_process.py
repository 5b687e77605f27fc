"""A contender in a new process: from its start to the first result of bert-128, memory, libraries.

As a program (own_process.py MODULE FOLDER) it is that process: it loads the model that FOLDER holds, runs it, prints what it saw."""
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time

import isa_limits

CASE = "bert-128"
TRIES = 3


def measure(contenders, build, limited):
    """For each contender, and for attend's own program, the fastest of some processes.

    limited: also without the limits on the ISA, so that a contender that does not heed them shows."""
    import cases  # and numpy with it: what the child imports itself
    import weights_file
    case = next(case for case in cases.ALL if case.name == CASE)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        buffers = cases.Buffers(case)
        weights_file.write(buffers, folder)
        rows.append({"name": "Python with NumPy alone", **fastest(child, "-", folder)})
        for module in contenders:
            getattr(module, "save", lambda *_: None)(buffers, folder)
            package = module.DISTRIBUTION
            row = {"name": module.NAME + ("" if package else ", from Python"), **fastest(child, module.__name__, folder)}
            if limited:
                row["us_unlimited"] = fastest(child, module.__name__, folder, isa_limits.unlimited())["us"]
            rows.append({**row, "disk_mb": package_size(package) if package else stripped_size(build, "libattend.so")})
        words = [os.path.join(build, "attend"), "run", "--weights", folder + "/layer.safetensors", "--heads", str(case.heads),
                 "--query", folder + "/query.npy", "--out", folder + "/out.npy"]
        rows.append({"name": "attend run, a program", **fastest(program, words), "disk_mb": stripped_size(build, "attend")})
    return rows


def fastest(start, *arguments):
    return min((start(*arguments) for _ in range(TRIES)), key=lambda row: row["first_call_ms"])


def child(module, folder, environment=None):
    began = time.monotonic()
    result = subprocess.run([sys.executable, __file__, module, folder], capture_output=True, text=True, check=True, env=environment)
    row = json.loads(result.stdout.splitlines()[-1])
    row["first_call_ms"] = (row.pop("done") - began) * 1e3
    return row


# A small process between, for what a process has used counts from before it became another program.
LAUNCHER = """
import os, sys, time
began = time.monotonic()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(status, (time.monotonic() - began) * 1e3, usage.ru_maxrss)"""


def program(words):
    result = subprocess.run([sys.executable, "-I", "-S", "-c", LAUNCHER, *words], capture_output=True, text=True, check=True)
    status, milliseconds, kilobytes = result.stdout.split()[-3:]
    if status != "0":
        raise RuntimeError(" ".join(words) + ": " + result.stderr)
    return {"first_call_ms": float(milliseconds), "peak_mb": int(kilobytes) / 1024}


def package_size(distribution):
    """MB of all files of an installed distribution."""
    files = importlib.metadata.files(distribution)
    return sum(os.path.getsize(file.locate()) for file in files if os.path.isfile(file.locate())) / 2**20


def stripped_size(build, name):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        subprocess.run(["strip", "-o", path, os.path.join(build, name)], check=True)
        return os.path.getsize(path) / 2**20


def status_mb(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def main(module, folder):
    if module == "-":
        import numpy  # noqa: F401
        call = None
    else:
        import cases
        case = next(case for case in cases.ALL if case.name == CASE)
        call = importlib.import_module(module).first_call(folder, case)
        call.run()
    row = {"done": time.monotonic(), "peak_mb": status_mb("VmHWM")}
    if call is not None:
        row["us"] = call.time(0.5) * 1e6
    print(json.dumps(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
