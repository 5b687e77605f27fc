"""A contender's call and the time that it takes, measured as build/attend-bench does."""
import time

clock = time.perf_counter  # or time.process_time, of all threads


def fastest(run, seconds):
    """Seconds of one call: the fastest of two samples or more of at least 50 us, for at least so many seconds."""
    best, samples, calls, began = float("inf"), 0, 1, time.perf_counter()
    while samples < 2 or time.perf_counter() - began < seconds:
        start = clock()
        for _ in range(calls):
            run()
        taken = clock() - start
        if taken < 50e-6:
            calls *= 2
        else:
            best, samples = min(best, taken / calls), samples + 1
    return best


class Call:
    """What a contender computes: `run` does it once, `output` gives the result as an array, `time` the seconds of one run.

    keep: what they reach by its address alone. It lives as long as the call: run and output do not outlive that."""

    def __init__(self, run, output, keep=None):
        self.run, self.output, self.keep = run, output, keep

    def time(self, seconds):
        return fastest(self.run, seconds)
