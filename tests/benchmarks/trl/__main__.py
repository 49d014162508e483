"""Batches of the two sides in turn, medians of both, and their ratio.

Five processes live at a time: TRL, and `tiny_llm_rl` with single responses and with whole groups dealt into
minibatches, each with its default of measuring after every batch how far the policy went, and without, as TRL; one
works while the others wait for a line on their input. What is compared is a whole batch: prompts, sampling, rewards,
advantages, log-probabilities, updates. Time on the wall is what a user waits; time of the processor
does not count what other programs take, and is the one to quote on a busy machine with one thread, which is what all
cases have: with two on busy cores neither means much, as threads that wait for each other count too.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from pmdtheory.figures._data import processor
from tests.benchmarks.trl._workload import CONFIG, ROLLOUTS, TOKENS

ROOT = Path(__file__).parents[3]
# Threads, prompts of a batch, minibatches: the trainer's default batch, with larger parts, and a batch of one eighth.
CASES = ((1, 64, 16), (1, 64, 4), (1, 8, 2))
# Phases of the other side that are one part of a batch; the others are parts of their own.
PARTS = {"loss: log-probabilities": "loss and backward", "backward": "loss and backward"}
# What a minibatch is dealt, and the batches between measurements of the step; by name.
SIDES = {
    f"{how}, {words}": (how, every)
    for words, every in (("not measured", 10**6), ("measured", 1))
    for how in ("responses", "groups")
}
PACKAGES = {"ours": ("jax", "equinox", "optax", "numpy"), "theirs": ("torch", "trl", "transformers", "accelerate")}


class Child:
    """One side in a process of its own."""

    def __init__(self, python, module, case):
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", f"tests.benchmarks.trl.{module}", *map(str, case)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu", "TRANSFORMERS_VERBOSITY": "error"},
        )  # fmt: skip
        self.started = False

    def batch(self):
        """Its next record."""
        if self.started:
            self.say("go")
        self.started = True
        for line in self.process.stdout:
            if line.startswith("RECORD "):
                return json.loads(line[7:])
        raise RuntimeError(f"{self.process.args[4]} ended with status {self.process.wait()} and no record")

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def stop(self):
        said = "stop\n" if self.process.poll() is None else None
        self.process.communicate(said, timeout=60)


def summary(records):
    """Medians over batches; phases are means, so that they add up."""
    wall = statistics.median(record["wall"] for record in records)
    phases = {name for record in records for name in record["phases"]}
    return {
        "seconds": wall,
        "cpu_seconds": statistics.median(record["cpu"] for record in records),
        "spread": [min(record["wall"] for record in records), max(record["wall"] for record in records)],
        "tokens_a_second": records[0]["tokens"] / wall,
        "tokens_a_cpu_second": records[0]["tokens"] / statistics.median(record["cpu"] for record in records),
        "phases": {
            name: statistics.mean(record["phases"].get(name, 0.0) for record in records) for name in sorted(phases)
        },
        "parameters": records[0]["parameters"],
        "peak_bytes": max(record["peak_bytes"] for record in records),
    }


def compared(ours, theirs):
    """All sides, the ratios of their tokens a second by name, and the slowest part of the other side."""
    mine, other = {name: summary(records) for name, records in ours.items()}, summary(theirs)
    ratios = {
        ratio: {name: mine[name][key] / other[key] for name in mine}
        for ratio, key in (("ratio", "tokens_a_second"), ("cpu_ratio", "tokens_a_cpu_second"))
    }
    whole = {}
    for phase, seconds in other["phases"].items():
        whole[PARTS.get(phase, phase)] = whole.get(PARTS.get(phase, phase), 0.0) + seconds
    slowest = max(whole, key=whole.get)
    return {"tiny_llm_rl": mine, "trl": other, "slowest_part_of_trl": slowest} | ratios


def measure(case, there, batches, warm):
    """So many batches of each side in turn, after the warm ones."""
    children = {name: Child(sys.executable, "_ours", (*case, *side)) for name, side in SIDES.items()}
    children["theirs"] = Child(there, "_theirs", case)
    records = {name: [] for name in children}
    try:
        for k in range(warm + batches):
            for name, child in children.items():
                record = child.batch()
                if k >= warm:
                    records[name].append(record)
    finally:
        for child in children.values():
            child.stop()
    threads, prompts, minibatches = case
    shape = {"threads": threads, "prompts": prompts, "rollouts": ROLLOUTS, "tokens": TOKENS, "minibatches": minibatches}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return shape | {"load_average": load} | compared({name: records[name] for name in SIDES}, records["theirs"])


def versions(there):
    """Of the packages that do the work."""
    code = f"from importlib.metadata import version; print(*map(version, {PACKAGES['theirs']!r}))"
    said = subprocess.run([str(there), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    found = {name: version(name) for name in PACKAGES["ours"]}
    return found | dict(zip(PACKAGES["theirs"], said, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-trl/bin/python", help="an interpreter with TRL")
    parser.add_argument("--threads", type=int, nargs="*", help="only the cases of so many threads")
    parser.add_argument("--batches", type=int, default=15, help="measured batches of each side")
    parser.add_argument("--warm", type=int, default=3, help="batches before them")
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cases = []
    for case in CASES:
        if case[0] > cores or (chosen.threads and case[0] not in chosen.threads):
            print(f"left out: {case[0]} threads, {case[1]} prompts")
            continue
        cases.append(measure(case, chosen.python, chosen.batches, chosen.warm))
        print(
            "{threads} threads, {prompts} prompts, {minibatches} minibatches: ".format(**cases[-1])
            + "; ".join(
                f"{name}: {cases[-1]['ratio'][name]:.2f} on the wall, {cases[-1]['cpu_ratio'][name]:.2f} of the "
                "processor"
                for name in SIDES
            )
        )
    record = {
        "what": "a batch of GRPO, tiny_llm_rl against TRL: tokens sampled a second, end to end",
        "processor": processor(),
        "cores": cores,
        "versions": versions(chosen.python),
        "batches": chosen.batches,
        "config": CONFIG,
        "cases": cases,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "trl.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
