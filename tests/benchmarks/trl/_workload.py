"""What both sides do: prompts of 16 symbols, 8 responses to each, of 21 tokens, none shorter."""

import json
import os
import resource
import sys
import time
from pathlib import Path

CONFIG = json.loads((Path(__file__).parent / "config.json").read_text(encoding="utf-8"))
SYMBOLS = "~$0123456789+=,#"  # padding, end, alphabet: those of the shipped base
ROLLOUTS, TOKENS = 8, 21


def pin(threads):
    """Hold the process to so many cores, before anything starts threads."""
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def case(arguments):
    """Threads, prompts of a batch, and minibatches, from a child's command line."""
    return tuple(map(int, arguments[:3]))


def prompt(rng):
    """Eight digits to be added."""
    return "+".join(map(str, rng.integers(0, 10, 8))) + "="


def reward(text):
    """Whether `1` occurs an odd number of times: any policy gets both answers in almost every group."""
    return float(text.count("1") % 2)


def reply(record):
    """Hand a record to the parent, and wait until it says to go on; False when it says to stop."""
    sys.stdout.write("RECORD " + json.dumps(record) + "\n")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "go"


class Clock:
    """Seconds on the wall and of the processor, and by phase."""

    def __init__(self):
        self.start()

    def start(self):
        self.phases = {}
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def add(self, phase, seconds):
        self.phases[phase] = self.phases.get(phase, 0.0) + seconds

    def record(self, **more):
        return {
            "wall": time.perf_counter() - self.wall,
            "cpu": time.process_time() - self.cpu,
            "phases": self.phases,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            **more,
        }
